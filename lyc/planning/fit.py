"""One candidate: a model on so many cards of one kind, split so → `Fit`, or the reasons why not. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lyc.planning import budget, cuda_graphs, defaults, parallelism
from lyc.planning.activation import activation
from lyc.planning.cache import kv_layout
from lyc.planning.catalogue.precision import BF16, runs
from lyc.planning.known import Known
from lyc.planning.non_torch import non_torch
from lyc.planning.weights.formats import WHILE_LOADING
from lyc.records.architecture import Architecture
from lyc.records.card import Card
from lyc.records.fit import Fit, Reason
from lyc.records.model import ModelFacts
from lyc.records.serving import CacheLayout, CacheSize, Serving, Term
from lyc.records.wish import Wish
from lyc.units import GIB

LEAST_CONTEXT = 2048
"""Tokens. A context that lyc shortens by itself is never shorter than this: such an endpoint would be of no use."""
STEP = 256
"""Tokens. A shortened context is a multiple of this."""


@dataclass(frozen=True, slots=True)
class _Sized:
    """One pipeline stage on its GPU. available: bytes left for the KV cache; may be negative."""

    terms: tuple[Term, ...]
    available: int
    layout: CacheLayout
    cache: CacheSize

    @property
    def band(self) -> int:
        """The terms' errors are taken as independent: the root of the sum of squares."""
        squares = (
            sum(term.band**2 for term in self.terms if term.inside) + (self.layout.band * max(self.available, 0)) ** 2
        )
        return int(math.sqrt(squares))

    @property
    def margin(self) -> int:
        """Bytes of KV cache beyond one request of full length."""
        return self.available - self.layout.request_bytes


def fit(
    facts: ModelFacts,
    wish: Wish,
    card: Card,
    *,
    tp: int,
    pp: int,
    quantization: str | None,
    known: Known | None = None,
) -> Fit:
    """`facts` on tp × pp cards. quantization: the method to apply, None = as the weights are. known: of earlier calls
    with the same facts and wish.

    `facts.architecture` must not be None. Refused are splits that vLLM refuses, methods that the card cannot run, and
    what falls short of the room for one request by more than the band of error; inside the band it warns.
    """
    architecture = facts.architecture
    if architecture is None:
        raise ValueError("a model without an architecture cannot be planned")
    serving = defaults.serving(facts, card, wish, tp=tp, pp=pp, quantization=quantization)
    changed = quantization if facts.quantization is None else None  # a checkpoint's own method changes nothing
    bare = Fit(card, tp * pp, serving, fits=False, quantization=changed, price=wish.prices.get(card.name))
    known = known or Known()
    if impossible := _impossible(facts, serving, card, known):
        return replace(bare, reasons=(impossible,))
    if known.many and (heavy := _too_heavy(facts, architecture, serving, card, known)):
        return replace(bare, reasons=(heavy[0],), terms=heavy[1])
    sized = _stages(facts, architecture, serving, card, known)
    warnings = _unlike(facts, quantization)
    if wish.max_model_len is None and (shorter := _shorter(sized, serving, wish)):
        warnings.append(f"the context is {shorter} tokens; the model's own {serving.max_model_len} do not fit")
        serving = replace(serving, max_model_len=shorter)
        sized = _stages(facts, architecture, serving, card, known)
    tight = _tightest(sized)
    room = Term("kv_cache", "KV cache", max(tight.available, 0), tight.layout.formula, tight.layout.source, tight.band)
    reasons, doubts = _judge(facts, serving, card, sized, wish)
    return replace(
        bare,
        serving=serving,
        fits=not reasons,
        reasons=reasons,
        warnings=(*warnings, *doubts),
        doubtful=bool(doubts),
        terms=(*tight.terms, room),
        band=tight.band,
        needed=tight.layout.request_bytes,
        cache=tight.cache,
    )


def _impossible(facts: ModelFacts, serving: Serving, card: Card, known: Known) -> Reason | None:
    if text := known.impossible(facts, serving.version, serving.tp, serving.pp):
        return Reason("impossible-split", text)
    if text := runs(card, serving.quantization, serving.version, facts.quantization_detail):
        return Reason("card-cannot-run", text)
    if serving.dtype == "bfloat16" and card.compute_capability is not None and card.compute_capability < BF16:
        return Reason("card-cannot-run", f"{card.product} has no bfloat16: ask for --dtype float16")
    if text := budget.start_refusal(card, serving):
        return Reason("too-much-asked", text)
    return None


def _too_heavy(
    facts: ModelFacts, architecture: Architecture, serving: Serving, card: Card, known: Known
) -> tuple[Reason, tuple[Term, ...]] | None:
    """The reason, and the terms of the heaviest stage, where weights alone are more than vLLM may use."""
    stages = parallelism.stages(architecture, serving.pp, serving.version)
    terms = max((known.weights_of(facts, serving, stage, card) for stage in stages), key=_total)
    may = budget.requested(card.cuda_total, serving)
    if _total(terms) - sum(term.band for term in terms) <= may:
        return None
    text = f"its weights need {_gib(_total(terms))}; vLLM may use {may / GIB:.2f} of {_gib(card.cuda_total)}"
    return Reason("no-room", text), terms


def _total(terms: Sequence[Term]) -> int:
    return sum(term.size for term in terms)


def _stages(facts: ModelFacts, architecture: Architecture, serving: Serving, card: Card, known: Known) -> list[_Sized]:
    outside = non_torch(serving, card)
    graphs = cuda_graphs.cuda_graphs(facts, serving, card)
    found: list[_Sized] = []
    for stage in parallelism.stages(architecture, serving.pp, serving.version):
        terms = (
            *known.weights_of(facts, serving, stage, card),
            outside,
            *activation(facts, serving, card, stage),
            graphs,
        )
        available = budget.available(card.cuda_total, serving, terms)
        layout = known.layout_of(facts, serving, stage)
        found.append(_Sized(terms, available, layout, kv_layout.size(layout, max(available, 0), serving)))
    return found


def _shorter(sized: Sequence[_Sized], serving: Serving, wish: Wish) -> int | None:
    """The longest context that fits for sure where the model's own does not; None where it does, or none is of use."""
    if all(stage.margin >= 0 for stage in sized):
        return None
    sure = [max(stage.available - stage.band, 0) for stage in sized]
    longest = min(kv_layout.longest(stage.layout, room, serving) for stage, room in zip(sized, sure, strict=True))
    rounded = longest // STEP * STEP
    return rounded if max(LEAST_CONTEXT, wish.context or 0) <= rounded < serving.max_model_len else None


def _unlike(facts: ModelFacts, quantization: str | None) -> list[str]:
    """What vLLM may say of a method that the checkpoint does not know of."""
    if quantization is None or facts.quantization is not None or quantization in WHILE_LOADING:
        return []
    return [f"config.json says nothing of {quantization}, which vLLM does not make of weights while it loads them"]


def _tightest(sized: Sequence[_Sized]) -> _Sized:
    """The stage whose cache decides: vLLM gives all of them the fewest blocks of any."""
    return min(sized, key=lambda stage: (stage.cache.blocks, stage.margin))


def _judge(
    facts: ModelFacts, serving: Serving, card: Card, sized: Sequence[_Sized], wish: Wish
) -> tuple[tuple[Reason, ...], tuple[str, ...]]:
    """(reasons to refuse, doubts)."""
    tight = _tightest(sized)
    used = sum(term.size for term in tight.terms if term.inside)
    may = tight.available + used
    if tight.available + tight.band < 0:
        return (
            Reason(
                "no-room",
                f"needs {_gib(used)} and a KV cache; vLLM may use {may / GIB:.2f} of {_gib(card.cuda_total)}",
            ),
        ), ()
    if tight.margin + tight.band < 0:
        longest = min(kv_layout.longest(stage.layout, max(stage.available, 0), serving) for stage in sized)
        return (
            Reason(
                "kv-too-small",
                f"KV cache {_gib(max(tight.available, 0))}; {serving.max_model_len} tokens need "
                f"{tight.layout.request_bytes / GIB:.2f}, {longest} would fit",
            ),
        ), ()
    if reason := _load(facts, serving, sized, wish):
        return (reason,), ()
    doubts: list[str] = []
    if tight.margin < tight.band:
        doubts.append(
            f"it may not fit: {_gib(tight.margin)} are left beside one request, and the prediction may be off by "
            f"{_gib(tight.band)}"
        )
    if doubt := budget.warm_up_doubt(card, serving, tight.terms):
        doubts.append(doubt)
    return (), tuple(doubts)


def _load(facts: ModelFacts, serving: Serving, sized: Sequence[_Sized], wish: Wish) -> Reason | None:
    """Whether `--concurrency` requests of `--context` tokens have room at once."""
    if wish.concurrency is None:
        return None
    tokens = min(wish.context or serving.max_model_len, serving.max_model_len)
    held = held_at(facts, serving, min(s.cache.blocks for s in sized), tokens)
    if held >= wish.concurrency:
        return None
    return Reason(
        "too-few-at-once", f"the KV cache holds {held} requests of {tokens} tokens, {wish.concurrency} are wished"
    )


def held_at(facts: ModelFacts, serving: Serving, blocks: int, tokens: int, known: Known | None = None) -> int:
    """Requests of `tokens` tokens each that `blocks` hold at once, and that vLLM would run at once."""
    known = known or Known()
    if facts.architecture is None:
        return 0
    asked = replace(serving, max_model_len=tokens)
    stages = parallelism.stages(facts.architecture, serving.pp, serving.version)
    most = max((known.layout_of(facts, asked, stage).request_blocks for stage in stages), default=0)
    held = (blocks - 1) // most if most else serving.max_num_seqs
    return max(min(held, serving.max_num_seqs), 0)


def _gib(count: int) -> str:
    return f"{count / GIB:.2f} GiB"
