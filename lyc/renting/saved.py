"""What was not spent because a machine that nobody needed was given back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from lyc.records.rental import Rental

UNUSED = "unused"
"""`Rental.reason` of one that was given back although its deployment stayed: it slept, or was paused."""
_HOUR = Decimal(3600)
_PLACES = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Saved:
    """seconds: for which deployments had no machine, added up. amounts: what the machines that they had before would
    have cost, by currency.
    """

    seconds: float = 0.0
    amounts: Mapping[str, Decimal] = field(default_factory=dict)


def saved(rentals: Sequence[Rental], alive: Collection[str], now: float, *, since: float | None = None) -> Saved:
    """From `since` (the beginning) until now. alive: deployments that are there now; one that is gone needs no machine,
    so nothing counts as saved after its last one.
    """
    seconds, amounts = 0.0, dict[str, Decimal]()
    for one in rentals:
        if one.reason != UNUSED or one.billed_until is None:
            continue
        later = [other.intended_at for other in rentals if _follows(other, one)]
        end = min(later, default=now if one.deployment in alive else one.billed_until)
        away = end - max(one.billed_until, since or 0.0)
        if away > 0:
            seconds += away
            currency = one.offer.currency
            amount = (one.offer.per_hour * Decimal(str(away)) / _HOUR).quantize(_PLACES)
            amounts[currency] = amounts.get(currency, Decimal(0)) + amount
    return Saved(seconds, dict(sorted(amounts.items())))


def _follows(other: Rental, one: Rental) -> bool:
    """Whether `other` was rented for the same deployment beside `one`, or after it: from then on nothing is saved."""
    stood = other.billed_until is None or one.billed_until is None or other.billed_until > one.billed_until
    return other.run_id != one.run_id and other.deployment == one.deployment and stood
