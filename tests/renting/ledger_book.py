"""Rentals as the tests of money need them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from lyc.records.rental import Offer, Rental, RentalState


def at(text: str) -> float:
    """`2026-11-20T10:00` in UTC → epoch seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def rental(run: str = "aaaaaaaa-00000001", price: str = "3.60", currency: str = "EUR", **more: object) -> Rental:
    """Per second, of 0.001 a second, from 2026-11-20T10:00 on, running."""
    offer = Offer("acme", "o1", "h100", "H100", 1, Decimal(price), currency, country="FI")
    begun = at("2026-11-20T10:00")
    base = Rental(
        run, "acme", "support-8b", offer, RentalState.RENTED, begun, begun, granularity=1, machine=f"m-{run}",
        host=f"rent-{run[-2:]}", billed_from=begun,
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]
