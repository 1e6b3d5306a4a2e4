"""One model over all cards: which fit, which is cheapest, and why the others do not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from lyc.planning import economics, parallelism, performance
from lyc.planning.catalogue.cards import CARDS, runs
from lyc.planning.fit import fit, held_at
from lyc.planning.known import Known
from lyc.records.card import Card
from lyc.records.fit import Fit, Survey
from lyc.records.model import ModelFacts
from lyc.records.wish import Wish

COUNTS = (1, 2, 4, 8)
"""Cards of one replica that are tried, as machines are sold."""
LOAD = 32
"""Requests at once at which speed and cost are told when the user names no load; fewer where fewer fit."""
LOAD_CONTEXT = 2048
"""Tokens of each of them."""
REQUANTIZED = "fp8"
"""What vLLM can make of 16-bit weights while it loads them, on cards with 8-bit floating point."""


def survey(facts: ModelFacts, wish: Wish) -> Survey:
    """Every card of the wish (all of the catalogue when it names none), in the fewest cards that do.

    Raises nothing: what cannot be planned is rejected with its reason. `facts.architecture` must not be None.
    """
    cards = wish.cards or tuple(CARDS.values())
    known = Known(many=len(cards) > 1)
    found = [one for card in cards for one in _of_card(facts, wish, card, known)]
    fits = sorted((priced(facts, wish, one, known) for one in found if one.fits), key=_rank)
    rejected = sorted((one for one in found if not one.fits), key=_distance)
    chosen = _chosen(fits, wish.quantization if facts.quantization is None else None)
    nearest = None if chosen else _nearest(facts, wish, fits)
    return Survey(tuple(fits), tuple(rejected), chosen, nearest, _notes(facts))


def priced(facts: ModelFacts, wish: Wish, one: Fit, known: Known | None = None) -> Fit:
    """With speed and cost at the wished load, or at `LOAD` requests of `LOAD_CONTEXT` tokens where none is wished."""
    architecture = facts.architecture
    if architecture is None or one.cache is None:
        return one
    known = known or Known()
    serving = one.serving
    context = min(wish.context or LOAD_CONTEXT, serving.max_model_len)
    held = held_at(facts, serving, one.cache.blocks, context, known)
    concurrency = wish.concurrency or max(min(LOAD, held), 1)
    at_load = replace(serving, max_model_len=context)
    stages = parallelism.stages(architecture, serving.pp, serving.version)
    per_request = sum(known.layout_of(facts, at_load, stage).request_bytes for stage in stages)
    speed = performance.speed(
        facts,
        serving,
        one.card,
        concurrency=concurrency,
        context=context,
        active_bytes=known.active_of(facts, serving, concurrency),
        kv_token_bytes=per_request * serving.tp / context,
    )
    cost = economics.cost(
        one.price, one.count, speed, per_token_price=wish.per_token_price, active_hours=wish.active_hours
    )
    return replace(one, speed=speed, cost=cost)


def smallest(
    facts: ModelFacts, wish: Wish, card: Card, quantization: str | None = None, known: Known | None = None
) -> list[Fit]:
    """Ever more cards of one kind until it fits: what fell short, and last what fits (or the largest that does not)."""
    found: list[Fit] = []
    known = known or Known()
    for tp, pp in _splits(facts, wish, card, known):
        method = quantization or wish.quantization
        found.append(fit(facts, wish, card, tp=tp, pp=pp, quantization=method, known=known))
        if found[-1].fits:
            break
    return found


def _of_card(facts: ModelFacts, wish: Wish, card: Card, known: Known) -> Iterator[Fit]:
    """As the weights are, and requantized."""
    yield from smallest(facts, wish, card, None, known)
    if _may_requantize(facts, wish, card):
        yield from smallest(facts, wish, card, REQUANTIZED, known)


def _may_requantize(facts: ModelFacts, wish: Wish, card: Card) -> bool:
    fixed = wish.quantization or facts.quantization or wish.tp or wish.pp or wish.count or not wish.requantize
    return not fixed and card.fp8 > 0 and runs(card, REQUANTIZED, wish.version) is None


def _splits(facts: ModelFacts, wish: Wish, card: Card, known: Known) -> Iterator[tuple[int, int]]:
    """(tp, pp) to try, smallest first. What the user fixed is kept even where vLLM refuses it: the reason is told."""
    if wish.tp or wish.pp:
        tp, pp = wish.tp or 0, wish.pp or 0
        if wish.count:
            tp, pp = tp or wish.count // max(pp, 1), pp or wish.count // max(tp, 1)
        yield tp or 1, pp or 1
        return
    for count in (wish.count,) if wish.count else [n for n in COUNTS if n <= card.per_host]:
        yield _split(facts, wish, count, known)


def _split(facts: ModelFacts, wish: Wish, count: int, known: Known) -> tuple[int, int]:
    """Tensor parallel if the model allows it, else as much of it as it allows and pipeline stages for the rest."""
    for pp in (n for n in range(1, count + 1) if count % n == 0):
        if not known.impossible(facts, wish.version, count // pp, pp):
            return count // pp, pp
    return count, 1


def _rank(one: Fit) -> tuple[bool, Decimal, int, bool, str]:
    hourly = one.cost.per_hour if one.cost else Decimal(0)
    return one.cost is None, hourly, one.count, one.quantization is not None, one.card.name


def _distance(one: Fit) -> tuple[int, float, int]:
    """Refused for want of memory before what cannot be at all; the smaller the want, the nearer."""
    if not one.terms:
        return 1, 0.0, one.count
    return 0, (sum(t.size for t in one.terms if t.part != "kv_cache") + one.needed) / one.card.cuda_total, one.count


def _chosen(fits: Sequence[Fit], quantization: str | None) -> Fit | None:
    """The cheapest that is what was asked: weights as they are (or as asked) and, if there is one, without a doubt."""
    asked = [one for one in fits if one.quantization == quantization]
    sure = [one for one in asked if not one.doubtful]
    return next(iter([*sure, *asked]), None)


def _nearest(facts: ModelFacts, wish: Wish, fits: Sequence[Fit]) -> Fit | None:
    """What would fit if one part of the wish were given up: the precision, the context, the count, the card."""
    if fits:
        return fits[0]
    freed = replace(wish, tp=None, pp=None, count=None)
    others = wish.others or tuple(CARDS.values())
    relaxed = (
        replace(wish, max_model_len=None, concurrency=None),
        freed,
        replace(freed, max_model_len=None, concurrency=None),
        replace(freed, cards=others),
        replace(freed, cards=others, max_model_len=None, concurrency=None),
    )
    for other in relaxed:
        if other == wish:
            continue
        cards: Iterable[Card] = other.cards or CARDS.values()
        known = Known(many=True)
        found = [one for card in cards for one in _of_card(facts, other, card, known) if one.fits]
        if found:
            told = [priced(facts, other, one, known) for one in found]
            return min(told, key=lambda one: (one.quantization != wish.quantization, *_rank(one)))
    return None


def _notes(facts: ModelFacts) -> tuple[str, ...]:
    notes = [f"unknown: {name}" for name in facts.unknown]
    architecture = facts.architecture
    if architecture is not None and not architecture.known:
        said = "it is planned as a plain decoder, with a wide band"
        notes.append(f"{architecture.name} is not a family that lyc knows: {said}")
    return tuple(notes)
