"""A deployment on the cards of this machine, which the engine picks itself: the smallest count that holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from lyc.errors import NoFit
from lyc.planning.catalogue.cards import CARDS
from lyc.planning.host import engine_args
from lyc.planning.parallelism import whole_experts
from lyc.planning.survey import smallest, survey
from lyc.records.card import Card
from lyc.records.deployment import DeploymentSpec
from lyc.records.fit import Fit
from lyc.records.model import ModelFacts
from lyc.records.plan import Accelerator, EngineBuild, Forecast, HostFacts
from lyc.records.serving import Draft
from lyc.records.wish import Wish
from lyc.units import GIB

_CUDA_KEEPS = 0.985
"""Part of what nvidia-smi shows that CUDA reports, over the catalogue's cards that were measured (0.981 … 0.992)."""


@dataclass(frozen=True, slots=True)
class OnGpu:
    """count: cards. memory: bytes that the engine takes of each. whole_experts: each expert stays on one GPU, as
    vLLM demands of some splits. fit: None where the model's build is unknown. devices: which cards, None = those that
    the engine sees first. utilization: part of each that the engine gets, None = as asked, or vLLM's default.
    """

    count: int
    pp: int
    memory: int | None
    fit: Fit | None
    whole_experts: bool = False
    devices: tuple[int, ...] | None = None
    utilization: Fraction | None = None
    warnings: tuple[str, ...] = ()


def on_gpu(
    spec: DeploymentSpec,
    facts: ModelFacts,
    host: HostFacts,
    card: Accelerator,
    *,
    draft: ModelFacts | None,
    build: EngineBuild,
    freed: int,
) -> OnGpu:
    """Where `spec` goes among the cards like `card`. Raises NoFit with figures and the nearest that would do.

    freed: bytes of each card that this deployment's replicas give back first.
    """
    alike = [one for one in host.accelerators if one.name == card.name]
    wish = asked_of(spec, draft, build, as_card(card, len(alike)))
    if facts.architecture is None:
        return OnGpu(wish.tp or 1, wish.pp or 1, None, None)
    found = smallest(facts, wish, wish.cards[0])
    last = found[-1]
    if not last.fits:
        raise no_fit(facts, wish, last)
    takes = int(last.serving.utilization * last.card.cuda_total)
    _check_free(alike, last, takes, freed, host)
    whole = whole_experts(facts.architecture, facts.quantization_detail, last.serving.tp)
    return OnGpu(last.count, last.serving.pp, takes, last, whole)


def forecast(one: Fit) -> Forecast | None:
    """What is kept with the release."""
    if one.cache is None:
        return None
    return Forecast(
        weights=one.size("weights"),
        kv_cache=one.size("kv_cache"),
        kv_tokens=one.cache.tokens,
        kv_blocks=one.cache.blocks,
        concurrency=one.cache.concurrency,
        non_torch=one.size("non_torch"),
        activation=one.size("activation"),
        cuda_graph=one.size("cuda_graph"),
        band=one.band,
    )


def asked_of(spec: DeploymentSpec, draft: ModelFacts | None, build: EngineBuild, card: Card) -> Wish:
    """What the spec asks of the planner, on one kind of card."""
    speculative = spec.speculative
    return replace(
        engine_args.asked(spec, build),
        cards=(card,),
        draft=Draft(speculative.method, speculative.tokens or 1, draft) if speculative else None,
        requantize=False,
    )


def as_card(found: Accelerator, count: int) -> Card:
    """The catalogue's entry, or one made of what the host says: then speed is unknown and memory is derived."""
    known = CARDS.get(found.name)
    if known is not None and abs(known.cuda_total - found.memory_total * _CUDA_KEEPS) < GIB:
        return replace(known, per_host=count)
    return Card(
        name=found.name,
        product=found.product,
        vendor="nvidia",
        memory=found.memory_total,
        cuda_total=int(found.memory_total * _CUDA_KEEPS),
        measured=False,
        bandwidth=known.bandwidth if known else 0,
        bf16=known.bf16 if known else 0,
        fp16=known.fp16 if known else 0,
        fp8=known.fp8 if known else 0,
        fp4=known.fp4 if known else 0,
        compute_capability=found.compute_capability,
        link=known.link if known else "pcie",
        per_host=count,
        sources=("read from the host",),
    )


def _check_free(alike: list[Accelerator], one: Fit, takes: int, freed: int, host: HostFacts) -> None:
    """vLLM looks at the free memory when it starts, and ends at once if its part is not free."""
    free = sorted((card.memory_free for card in alike), reverse=True)[: one.count]
    if free and min(free) + freed < takes:
        raise NoFit(
            "gpu-busy",
            f"the memory of {one.card.product} on {host.name} is taken by other work",
            why=f"the engine takes {takes / GIB:.1f} GiB ({float(one.serving.utilization):.0%} of the card), and "
            f"{min(free) / GIB:.1f} GiB are free",
            where="--gpu",
            hint="end what runs there (nvidia-smi shows it), or give the engine less: "
            "--engine-arg gpu-memory-utilization=0.5",
        )


def no_fit(facts: ModelFacts, wish: Wish, one: Fit) -> NoFit:
    """Why it does not fit, with the nearest that would."""
    nearest = survey(facts, wish).nearest
    name = f"{one.count} × {one.card.product}" if one.count > 1 else one.card.product
    return NoFit(
        one.reasons[0].ref,
        f"the model does not fit on {name}",
        why=one.reasons[0].text,
        where="--gpu",
        hint=f"what would fit: {said(nearest, wish)}" if nearest else "lyc plan MODEL shows what it needs",
        detail=tuple(f"{term.name} {term.size / GIB:.2f} GiB" for term in one.terms if term.part != "kv_cache"),
    )


def said(one: Fit, wish: Wish) -> str:
    """A fit as the flags that ask for it."""
    words = [f"--gpu {one.card.name}"]
    if one.count > 1:
        words.append(f"(× {one.count})")
    if one.quantization != wish.quantization and one.quantization:
        words.append(f"--quantization {one.quantization}")
    if one.serving.max_model_len != wish.max_model_len:
        words.append(f"--max-model-len {one.serving.max_model_len}")
    return " ".join(words)
