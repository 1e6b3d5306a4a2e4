"""What rented machines cost, by each provider's own rounding: exact, in the currency that is billed. Pure.

What is owed for a rental grows in steps: at the beginning of each span that the provider bills in whole
(`Rental.granularity`) it is owed for all of that span, and from the first instant on for the least one
(`Rental.minimum`). The cost of any part of time is what was owed at its end less what was owed at its beginning, so
that parts add up to the whole to the last digit, however time is cut; an hour that is begun is a cost of the day on
which it begins. Amounts are rounded up to a millionth. Tax, disks, addresses and traffic are not in them, nor what a
second machine of one run id cost before it was ended (`Rental.extra`).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from lyc.records.money import Money, Rates
from lyc.records.rental import Billed, Rental

DAY = 86400
_HOUR, _MICROS = 3600, 10**6
_EPOCH = date(1970, 1, 1)


class Grouping(enum.StrEnum):
    """What the lines of a ledger are of. Days are those of UTC."""

    DAY = "day"
    DEPLOYMENT = "deployment"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Line:
    """What one day, deployment or host cost. seconds: for which machines stood, not rounded, added up over all of
    them. totals: by currency; two are never added up. rentals: how many there were.
    """

    key: str
    seconds: float
    totals: Mapping[str, Decimal]
    rentals: int


@dataclass(frozen=True, slots=True)
class InOne:
    """An amount in one currency. rates: by which parts of it were converted, each with its day; empty = none was.
    without: what could not be converted, and is not in the amount.
    """

    amount: Decimal
    currency: str
    rates: tuple[str, ...] = ()
    without: tuple[Money, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What lyc reckoned for a machine in a span, and what its provider says that it bills. theirs, in its currency."""

    run_id: str
    machine: str
    ours: Money
    theirs: Money
    since: float
    until: float


def cost_of(rental: Rental, now: float, *, since: float | None = None, until: float | None = None) -> Money:
    """What it costs from `since` (its beginning) to `until` (now, and never beyond)."""
    owed = _owed(rental, now if until is None else min(until, now))
    before = Decimal(0) if since is None else _owed(rental, since)
    return Money(max(owed - before, Decimal(0)), rental.offer.currency)


def rented_seconds(rental: Rental, now: float, *, since: float | None = None, until: float | None = None) -> float:
    """How long its machine stood in that span, not rounded."""
    if rental.billed_from is None:
        return 0.0
    begin = rental.billed_from if since is None else max(rental.billed_from, since)
    return max(min(_end(rental, now), now if until is None else until) - begin, 0.0)


def billed_seconds(rental: Rental, at: float) -> Fraction:
    """What of it is owed for at that moment, in seconds, rounded as the provider does. It never shrinks in time."""
    if rental.billed_from is None:
        return Fraction(0)
    used = _milliseconds(_end(rental, at)) - _milliseconds(rental.billed_from)
    if used <= 0:
        return Fraction(0)
    step = max(rental.granularity, 0) * 1000
    whole = -(-used // step) * step if step else used
    return Fraction(max(whole, rental.minimum * 1000), 1000)


def paid_until(rental: Rental, now: float) -> float | None:
    """Until when what is owed now would keep its machine: to end it sooner saves nothing. None where it ended."""
    if rental.billed_from is None or rental.billed_until is not None:
        return None
    return max(rental.billed_from + float(billed_seconds(rental, now)), now)


def lines(
    rentals: Iterable[Rental],
    now: float,
    *,
    by: Grouping = Grouping.DEPLOYMENT,
    since: float | None = None,
    until: float | None = None,
) -> tuple[Line, ...]:
    """What was spent from `since` to `until`: by day in their order, else the latest rented first."""
    found = [one for one in rentals if touches(one, now, since, until)]
    if by is Grouping.DAY:
        first, last = -math.inf if since is None else since, now if until is None else min(until, now)
        return tuple(
            _line(day, found, now, max(start, first), min(end, last)) for day, start, end in _days(found, first, last)
        )
    key: Callable[[Rental], str] = host_of if by is Grouping.HOST else lambda one: one.deployment
    groups: dict[str, list[Rental]] = {}
    for one in sorted(found, key=lambda one: -(one.billed_from or 0.0)):
        groups.setdefault(key(one), []).append(one)
    return tuple(_line(name, group, now, since, until) for name, group in groups.items())


def totals(
    rentals: Iterable[Rental], now: float, *, since: float | None = None, until: float | None = None
) -> dict[str, Decimal]:
    """By currency."""
    found: dict[str, Decimal] = {}
    for one in rentals:
        money = cost_of(one, now, since=since, until=until)
        if money.amount:
            found[money.currency] = found.get(money.currency, Decimal(0)) + money.amount
    return dict(sorted(found.items()))


def in_one(amounts: Mapping[str, Decimal], currency: str, rates: Rates | None) -> InOne:
    """Amounts by currency as one amount; it says by which rates of which day."""
    total, told, without = Decimal(0), [], []
    for code, amount in amounts.items():
        converted = amount if code == currency else None if rates is None else rates.convert(amount, code, currency)
        if converted is None:
            without.append(Money(amount, code))
            continue
        total += converted
        if code != currency and rates is not None:
            told.append(rates.told(code, currency))
    return InOne(total, currency, tuple(told), tuple(without))


def differences(rentals: Iterable[Rental], billed: Sequence[Billed], now: float) -> tuple[Difference, ...]:
    """Our figure beside the provider's, of each machine that both know, in the span that the provider names."""
    by_machine = {one.machine: one for one in rentals if one.machine is not None}
    found: list[Difference] = []
    for row in billed:
        rental = by_machine.get(row.machine)
        if rental is not None:
            ours = cost_of(rental, now, since=row.since, until=row.until)
            theirs = Money(row.amount, row.currency)
            found.append(Difference(rental.run_id, row.machine, ours, theirs, row.since, row.until))
    return tuple(found)


def _owed(rental: Rental, at: float) -> Decimal:
    exact = Fraction(rental.offer.per_hour) * billed_seconds(rental, at) / _HOUR
    return Decimal(math.ceil(exact * _MICROS)).scaleb(-6)


def _end(rental: Rental, at: float) -> float:
    return at if rental.billed_until is None else min(at, rental.billed_until)


def _milliseconds(seconds: float) -> int:
    """Differences of floats are off in their last digits, and would begin hours that nobody used."""
    return round(seconds * 1000)


def touches(rental: Rental, now: float, since: float | None = None, until: float | None = None) -> bool:
    """Whether its machine stood in that span."""
    if rental.billed_from is None or rental.billed_from >= min(now, until if until is not None else now):
        return False
    return since is None or _end(rental, now) > since


def _line(key: str, rentals: Sequence[Rental], now: float, since: float | None, until: float | None) -> Line:
    there = [one for one in rentals if touches(one, now, since, until)]
    seconds = sum(rented_seconds(one, now, since=since, until=until) for one in there)
    return Line(key, seconds, totals(there, now, since=since, until=until), len(there))


def host_of(rental: Rental) -> str:
    """The host that its machine became; its run id where it became none."""
    return rental.host or rental.run_id


def day_span(day: str) -> tuple[float, float]:
    """The beginning and the end of an ISO day of UTC, in epoch seconds."""
    begin = (date.fromisoformat(day) - _EPOCH).days * DAY
    return float(begin), float(begin + DAY)


def _days(rentals: Sequence[Rental], first: float, last: float) -> list[tuple[str, float, float]]:
    """(ISO day, its beginning, its end) of every day of UTC from the first to the last that has a rental."""
    spans = [(max(one.billed_from, first), _end(one, last)) for one in rentals if one.billed_from is not None]
    if not spans:
        return []
    start, stop = min(span[0] for span in spans), max(span[1] for span in spans)
    days = range(int(start // DAY), math.ceil(stop / DAY))  # the instant at which a day begins is no part of it
    return [((_EPOCH + timedelta(days=day)).isoformat(), float(day * DAY), float((day + 1) * DAY)) for day in days]
