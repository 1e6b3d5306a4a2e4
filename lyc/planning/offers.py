"""A model on what providers sell: each kind of machine is planned once, each offer gets its own cost. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lyc.planning import economics
from lyc.planning.catalogue.cards import CARDS
from lyc.planning.known import Known
from lyc.planning.survey import priced, smallest
from lyc.records.card import Card, Price
from lyc.records.fit import Fit, Reason
from lyc.records.model import ModelFacts
from lyc.records.rental import Offer
from lyc.records.serving import Serving
from lyc.records.wish import Wish

CPU = Card(
    name="cpu", product="no GPU", vendor="", memory=0, cuda_total=0, measured=False, bandwidth=0, bf16=0, fp16=0, fp8=0,
    fp4=0, compute_capability=None, link="", per_host=0, sources=(),
)  # fmt: skip
"""In the place of a card, for machines that have none."""
Planned = dict[tuple[str, int], Fit | Reason]
"""What came of a card × count; the reason is for what is not planned at all."""


def fits(
    facts: ModelFacts, wish: Wish, offers: Iterable[Offer], planned: Planned | None = None
) -> list[tuple[Offer, Fit | Reason]]:
    """Each offer with how the model sits on it, in their order. Raises nothing.

    Of a machine as many cards are used as the model needs, as on any host (`Fit.count` of `Offer.count`), while the
    cost is that of the whole machine, in its own currency, at the wished load. wish: its cards, if it names any, are
    the only ones that will do; its count is of cards that are used. planned: of earlier calls with the same facts and
    wish; what is new is added to it.

    A model whose build lyc does not know fits, with a doubt and without figures.
    """
    known, found = Known(), {} if planned is None else planned
    asked = {card.name for card in wish.cards}
    bare = replace(wish, cards=(), prices={})
    rows: list[tuple[Offer, Fit | Reason]] = []
    for offer in offers:
        kind = (offer.card, offer.count)
        if kind not in found:
            card = CPU if offer.card == CPU.name else CARDS.get(offer.card, CPU)
            found[kind] = _refused(offer, wish, asked) or _on(facts, bare, card, offer.count, known)
        result = found[kind]
        rows.append((offer, _with_cost(result, offer, wish) if isinstance(result, Fit) and result.fits else result))
    return rows


def _refused(offer: Offer, wish: Wish, asked: set[str]) -> Reason | None:
    if wish.on_cpu or offer.card == CPU.name:
        if wish.on_cpu and offer.card == CPU.name:
            return None
        what = "a machine with GPUs was not asked for" if wish.on_cpu else "it has no GPU"
        return Reason("card-not-asked", what)
    card = CARDS.get(offer.card)
    if card is None:
        return Reason("unknown-card", f"lyc does not know its GPU {offer.product!r}")
    if asked and card.name not in asked:
        return Reason("card-not-asked", f"{card.name} was not asked for, only {', '.join(sorted(asked))}")
    if card.vendor != "nvidia":
        return Reason("card-cannot-run", f"{card.name} does not run the engine that lyc installs, which is for CUDA")
    needed = wish.count or (wish.tp or 1) * (wish.pp or 1)
    if offer.count < needed:
        return Reason("too-few-cards", f"it has {offer.count} of the {needed} cards that were asked for")
    return None


def _on(facts: ModelFacts, wish: Wish, card: Card, count: int, known: Known) -> Fit:
    if card is CPU:
        doubt = "whether a model fits on a CPU is told by its machine alone"
        return Fit(CPU, 0, Serving(wish.version), fits=True, warnings=(doubt,), doubtful=True)
    if facts.architecture is None:
        used = wish.count or (wish.tp or 1) * (wish.pp or 1)
        serving = Serving(wish.version, tp=wish.tp or used, pp=wish.pp or 1, quantization=wish.quantization)
        doubt = "lyc does not know how this model is built, so it cannot foretell whether it fits"
        return Fit(card, used, serving, fits=True, quantization=wish.quantization, warnings=(doubt,), doubtful=True)
    last = smallest(facts, wish, replace(card, per_host=count), None, known)[-1]
    return priced(facts, wish, last, known) if last.fits else last


def _with_cost(one: Fit, offer: Offer, wish: Wish) -> Fit:
    """The machine is one price, whatever part of it is used: `Fit.price` is that of a card of it."""
    if not offer.per_hour.is_finite():
        return one
    whole = Price(offer.per_hour, offer.currency, "", offer.provider, offer.country, offer.region)
    cost = economics.cost(
        whole,
        1,
        one.speed,
        per_token_price=wish.per_token_price if offer.currency == wish.currency else None,
        active_hours=wish.active_hours,
    )
    return replace(one, price=replace(whole, amount=offer.per_hour / max(offer.count, 1)), cost=cost)
