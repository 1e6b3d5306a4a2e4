"""Which of a host's cards a deployment gets, or its CPU."""

from __future__ import annotations

from lyc.errors import NoFit
from lyc.planning.catalogue.cards import canonical
from lyc.records.deployment import DeploymentSpec
from lyc.records.plan import Accelerator, HostFacts

CPU = "cpu"
AUTO = "auto"


def placement(gpu: str, host: HostFacts) -> Accelerator:
    """The accelerator for the wish `gpu` (auto, cpu, or a name of a card): the one with most memory free.

    Raises NoFit, naming what the host has.
    """
    cards = host.accelerators
    if gpu == CPU or (gpu == AUTO and not cards):
        _check_cpu(host)
        return Accelerator(CPU, memory_total=host.memory_total, memory_free=host.memory_available)
    wanted = [card for card in cards if gpu == AUTO or card.name in (gpu, canonical(gpu))]
    if not wanted:
        has = ", ".join(sorted({card.product or card.name for card in cards}))
        raise NoFit(
            "no-such-gpu",
            f"{host.name} has no GPU of the kind {gpu}",
            why=f"it has {has}" if has else "it has no GPU that nvidia-smi shows",
            where="--gpu",
            hint=f"choose --gpu {cards[0].name}" if cards else "choose --gpu cpu, or another host",
        )
    return max(wanted, key=lambda card: card.memory_free)


def kinds(spec: DeploymentSpec, host: HostFacts) -> list[Accelerator]:
    """A card of each kind that the wish allows, that of the emptiest card first. Cards that it names must be there."""
    if spec.gpus is not None:
        return [host.accelerators[spec.gpus[0]]]
    wanted = [card for card in host.accelerators if spec.gpu in (AUTO, card.name) or card.name == canonical(spec.gpu)]
    emptiest = sorted(wanted, key=lambda card: -card.memory_free)
    return list({card.name: card for card in reversed(emptiest)}.values())[::-1]


def _check_cpu(host: HostFacts) -> None:
    """vLLM's CPU build for x86-64 uses AVX2 throughout; without it the engine dies of an illegal instruction."""
    if host.machine in ("x86_64", "AMD64") and host.cpu_flags and "avx2" not in host.cpu_flags:
        raise NoFit(
            "cpu-too-old",
            f"the CPU of {host.name} is too old for the engine",
            why="it lacks AVX2 (x86-64-v3)",
            where="--gpu cpu",
            hint="use a machine whose CPU is of 2015 or later, or one with a GPU",
        )
