"""What the cards of a plan cost, and which of them may be had where the prompts must stay. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lyc.planning.catalogue.cards import CARDS
from lyc.records.fit import Fit, Reason
from lyc.records.serving import Serving
from lyc.records.wish import Wish

if TYPE_CHECKING:
    from lyc.planning.catalogue.prices import PriceBook

CURRENCY = "EUR"
"""In which all is told, unless every `--price`, or `--per-token-price`, names another one."""


@dataclass(frozen=True, slots=True)
class Market:
    """The wish with its prices, and without the cards that cannot be had; those stand in `elsewhere`, refused."""

    wish: Wish
    elsewhere: tuple[Fit, ...]

    @property
    def empty(self) -> bool:
        """Whether no card is left to look at. (A wish without cards would mean every card.)"""
        return bool(self.elsewhere) and not self.wish.cards


def market(wish: Wish, book: PriceBook, *, residency: str | None, currency: str | None) -> Market:
    """currency: of `--per-token-price`. residency: `--residency` as written; UsageError `unknown-residency`."""
    from lyc.spec.residency import parse_residency

    told = currency or _only_one([price.currency for price in book.given.values()]) or CURRENCY
    allowed = None if residency is None else parse_residency(residency)
    prices = book.table(CARDS.values(), currency=told, residency=allowed)
    priced = replace(wish, prices=prices, currency=told)
    if allowed is None:
        return Market(priced, ())
    looked_at = wish.cards or tuple(CARDS.values())
    there = tuple(card for card in looked_at if card.name in prices)
    reason = Reason("no-offer-there", f"no offer is known of which it is sure that the machine stands in {residency}")
    elsewhere = (
        Fit(
            card,
            wish.count or 1,
            Serving(wish.version, tp=wish.tp or 1, pp=wish.pp or 1),
            fits=False,
            quantization=wish.quantization,
            reasons=(reason,),
        )
        for card in looked_at
        if card.name not in prices
    )
    anywhere = tuple(card for card in CARDS.values() if card.name in prices)
    return Market(replace(priced, cards=there, others=anywhere), tuple(elsewhere))


def _only_one(currencies: Sequence[str]) -> str | None:
    return currencies[0] if len(set(currencies)) == 1 else None
