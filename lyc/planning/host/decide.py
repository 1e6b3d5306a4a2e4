"""facts × host → Plan. What the engine stage has checked (options, quantization, draft) is taken as right here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lyc.errors import NoFit, SpecError
from lyc.planning.host import engine_args, memory
from lyc.planning.host.cards import ALL_OF_IT, Cards
from lyc.planning.host.on_cpu import HEADROOM, doubts, on_cpu
from lyc.planning.host.on_devices import on_devices
from lyc.planning.host.on_gpu import OnGpu, forecast, on_gpu
from lyc.planning.host.placement import CPU, kinds, placement
from lyc.records.deployment import DeploymentSpec
from lyc.records.model import ModelFacts
from lyc.records.plan import EngineBuild, HostFacts, Plan

_OLDEST_DRIVER = 580
"""Of CUDA 13 (its release notes), which the pinned torch is built with. Older ones need NVIDIA's compatibility package,
which cannot be seen from here: so this warns and does not refuse."""


def plan(
    spec: DeploymentSpec,
    facts: ModelFacts,
    host: HostFacts,
    *,
    draft: ModelFacts | None,
    build: EngineBuild,
    freed: int = 0,
    taken: Mapping[int, int] | None = None,
    own: Mapping[int, int] | None = None,
    holders: Mapping[int, Sequence[str]] | None = None,
) -> Plan:
    """How `spec` runs on `host`.

    freed: bytes of memory that replicas of this deployment hold now and give back if they must stop first. A plan that
    needs them fits, but `surge_fits` says that it does not fit beside them.
    taken: bytes by card that other deployments' replicas on the host hold, and holders: their names, as `held` tells
    them; own: those of this deployment's, given back as `freed`. With `taken`, or where the spec names cards, the plan
    says which cards (`devices`); without, the engine takes the first ones, as it does on this machine.
    Raises NoFit with figures when it does not, SpecError when the wish contradicts the model (`--max-model-len`) or
    the cards that it names.
    """
    if spec.gpus is not None:
        Cards(host).named(spec.gpus, spec.gpu)  # before the lack of any card makes this a plan for the CPU
    card = placement(spec.gpu, host)
    if (card.name == CPU) != build.on_cpu:
        raise NoFit(
            "engine-for-another-device",
            f"{build.id} does not run on {card.name}",
            where="--gpu",
            hint="choose --gpu cpu" if build.on_cpu else "choose --gpu auto",
        )
    warnings: list[str] = []
    context = _context(spec, facts, build, warnings)
    wish = spec.speculative
    base = Plan(
        engine=build,
        accelerator=card.name,
        max_model_len=context,
        quantization=spec.quantization,
        speculative_method=wish.method if wish else None,
        speculative_model=wish.model if wish else None,
        speculative_tokens=wish.tokens if wish else None,
        dtype="auto",
        enforce_eager=build.on_cpu and not engine_args.compiles(spec.engine_args),
        engine_args=dict(spec.engine_args),
        env=dict(spec.env),
    )
    if build.on_cpu:
        planned = on_cpu(spec, facts, draft, host, build=build, context=context, freed=freed)
        return replace(
            base,
            kv_cache_bytes=planned.kv_cache,
            memory_bytes=planned.memory,
            forecast=planned.forecast,
            warnings=(*warnings, *doubts(facts)),
        )
    if taken is None and spec.gpus is None:
        found = on_gpu(spec, facts, host, card, draft=draft, build=build, freed=freed)
    else:
        cards = Cards(host, taken or {}, own or {}, holders or {})
        found = _on_devices(spec, facts, cards, draft=draft, build=build)
        base = replace(base, accelerator=host.accelerators[(found.devices or (0,))[0]].name)
    told = (*warnings, *_driver_warnings(host), *_gpu_warnings(facts, found), *found.warnings)
    return replace(_on_cards(base, found), warnings=told)


def _on_devices(
    spec: DeploymentSpec, facts: ModelFacts, cards: Cards, *, draft: ModelFacts | None, build: EngineBuild
) -> OnGpu:
    """On the first kind of card that does; raises what the first kind says where none does."""
    first: NoFit | None = None
    for kind in kinds(spec, cards.host):
        try:
            return on_devices(spec, facts, cards, kind, draft=draft, build=build)
        except NoFit as problem:
            first = first or problem
    raise first or NoFit("no-such-gpu", f"{cards.host.name} has no GPU", where="--gpu", hint="choose --gpu cpu")


def _on_cards(base: Plan, found: OnGpu) -> Plan:
    args = dict(base.engine_args)
    if found.pp > 1 and engine_args.given(args, "pipeline-parallel-size") is None:
        args["pipeline-parallel-size"] = str(found.pp)
    if found.whole_experts and engine_args.given(args, "enable-expert-parallel") is None:
        args["enable-expert-parallel"] = "true"  # tp does not divide what is in them, so vLLM would not start
    if found.utilization is not None:
        args["gpu-memory-utilization"] = f"{float(found.utilization):.2f}"
    return replace(
        base,
        accelerator_count=found.count,
        tensor_parallel=found.count // found.pp,
        max_model_len=found.fit.serving.max_model_len if found.fit else base.max_model_len,
        memory_bytes=found.memory,
        forecast=forecast(found.fit) if found.fit else None,
        engine_args=args,
        devices=found.devices,
    )


def _gpu_warnings(facts: ModelFacts, found: OnGpu) -> tuple[str, ...]:
    if found.fit is None:
        return ("lyc does not know how this model is built, so it cannot foretell whether it fits",)
    unknown = [name for name in facts.unknown if name.startswith("tensors")]
    return (*found.fit.warnings, *(f"not known of the model: {name}" for name in unknown))


def surge_fits(planned: Plan, host: HostFacts, *, holding: Mapping[int, int] | None = None) -> bool:
    """Whether a replica of the plan fits beside those that run, by what is free on the host now.

    holding: bytes by card that replicas on the host hold, this deployment's too.
    """
    if planned.devices is not None:
        cards = Cards(host, holding or {})
        return all(cards.free(index) >= (planned.memory_bytes or ALL_OF_IT) for index in planned.devices)
    if planned.accelerator != CPU:
        needed = planned.memory_bytes or 0
        same = [card for card in host.accelerators if card.name == planned.accelerator]
        free = [card for card in same if needed and card.memory_free >= needed]
        return len(free) >= planned.accelerator_count
    return (planned.memory_bytes or 0) <= host.memory_available * HEADROOM


def _context(spec: DeploymentSpec, facts: ModelFacts, build: EngineBuild, warnings: list[str]) -> int | None:
    """The context length to serve; None leaves it to the engine, when neither the user nor the model says one."""
    own, wish = facts.max_position_embeddings, spec.max_model_len
    if wish is not None and wish < 1:
        raise SpecError(
            "bad-max-model-len",
            f"a context of {wish} tokens cannot be",
            where="--max-model-len",
            hint="give a positive number of tokens, like 4096 or 8k",
        )
    if wish is not None and own is not None and wish > own:
        raise SpecError(
            "max-model-len-too-large",
            f"the model cannot read {wish} tokens",
            why=f"its own limit is {own} (max_position_embeddings)",
            where="--max-model-len",
            hint=f"give --max-model-len {own} or less",
        )
    if wish is not None or own is None or not build.on_cpu or own <= memory.DEFAULT_CONTEXT:
        return wish or own
    warnings.append(
        f"the context is {memory.DEFAULT_CONTEXT} tokens on a CPU; the model can read {own}: --max-model-len {own}"
    )
    return memory.DEFAULT_CONTEXT


def _driver_warnings(host: HostFacts) -> list[str]:
    major = (host.driver or "").partition(".")[0]
    if major.isdigit() and int(major) < _OLDEST_DRIVER:
        return [
            f"the NVIDIA driver {host.driver} is older than {_OLDEST_DRIVER}, which the engine's CUDA 13 wants; "
            "the engine may not start"
        ]
    return []
