"""An amount in the currency in which it is billed, and what currencies are worth on one day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Money:
    """currency: ISO 4217 code. Two of different currencies have no order: see `Rates`."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Rates:
    """What one euro is in other currencies. dated: ISO day."""

    per_euro: Mapping[str, Decimal]
    dated: str
    source: str

    def convert(self, amount: Decimal, currency: str, into: str) -> Decimal | None:
        """The amount in another currency, not rounded; itself where it is the same; None without a rate."""
        if currency == into:
            return amount
        one, other = self._of(currency), self._of(into)
        return None if one is None or other is None else amount / one * other

    def told(self, currency: str, into: str) -> str:
        """By what it was converted: `1.1533 USD/EUR of 2026-11-20`; empty where there is no rate."""
        one, other = self._of(currency), self._of(into)
        return (
            "" if one is None or other is None else f"{(one / other).normalize():.6g} {currency}/{into} of {self.dated}"
        )

    def _of(self, currency: str) -> Decimal | None:
        return Decimal(1) if currency == "EUR" else self.per_euro.get(currency)
