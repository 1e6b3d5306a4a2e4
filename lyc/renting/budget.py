"""How much may be spent a day, a week or a month, how near that is, and what is stopped when it is spent. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from lyc.errors import UsageError
from lyc.records.money import Money, Rates
from lyc.records.rental import Rental
from lyc.renting.ledger import cost_of, in_one
from lyc.renting.transitions import OPEN
from lyc.spec.money import parse_money
from lyc.spec.names import check_name

WARN_AT = Decimal("0.8")
"""Part of the budget at which it warns."""
_WHERE = "AMOUNT"
_HINT = "write it like lyc budget 50EUR/day; also /week and /month"
_STOP_WHERE = "--stop"
_STOP_HINT = f"write it like {_STOP_WHERE} idle,youngest, or with names: {_STOP_WHERE} batch,idle,keep:support-8b"


class Period(enum.StrEnum):
    """Of UTC's calendar: a day begins at midnight, a week on Monday, a month on its first."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Level(enum.StrEnum):
    OK = "ok"
    WARN = "warn"
    EXCEEDED = "exceeded"


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in each period."""

    limit: Money
    period: Period


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands. Amounts are in its currency. since, until: of the period that runs.

    spent: what is owed in it now. projected: what will be owed at its end if all that runs goes on (to its time limit).
    per_hour: what runs now. spent_at: when it will be spent at this pace, None = not in this period. rates: by which
    amounts were converted. without: what could not be, and is missing in every figure: then the level is `warn` at
    least, for nobody knows how much is left.
    """

    level: Level
    budget: Budget
    spent: Decimal
    projected: Decimal
    per_hour: Decimal
    since: float
    until: float
    spent_at: float | None = None
    rates: tuple[str, ...] = ()
    without: tuple[Money, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """A deployment on rented machines. per_hour: in the budget's currency, None = not known. since: when its youngest
    machine was rented. idle_since: when its last request ended, None = one runs, or nobody knows.
    """

    deployment: str
    per_hour: Decimal | None
    since: float
    idle_since: float | None = None


class Pick(enum.StrEnum):
    """A word of the order in which deployments are stopped. IDLE: those that serve nobody, the dearest first; all
    other words are of every deployment.
    """

    IDLE = "idle"
    DEAREST = "dearest"
    YOUNGEST = "youngest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True)
class StopOrder:
    """picks: words and names, one after another. keep: deployments that are never stopped. What no pick names stays:
    an order of `idle` alone stops nothing that serves.
    """

    picks: tuple[str, ...] = (Pick.IDLE, Pick.YOUNGEST)
    keep: frozenset[str] = frozenset()


def parse_budget(text: str, *, where: str = _WHERE) -> Budget:
    """`50EUR/day`, `300 usd/week`, `€1000/month`. Raises UsageError `invalid-amount`, `invalid-budget`."""
    amount, _, span = text.partition("/")
    word = span.strip().lower()
    if word not in Period.__members__.values():
        why = f"{span.strip()!r} is no span that lyc knows" if word else "it does not say for which span"
        raise UsageError("invalid-budget", f"{text!r} is not a budget", why=why, where=where, hint=_HINT)
    return Budget(parse_money(amount, where=where, hint=_HINT), Period(word))


def parse_stop_order(text: str, *, where: str = _STOP_WHERE) -> StopOrder:
    """`idle,youngest`; `batch,idle,keep:support-8b`: a word that is no `Pick` names a deployment.

    Raises UsageError `invalid-stop-order`, SpecError `invalid-name`.
    """
    picks: list[str] = []
    keep: set[str] = set()
    for part in text.split(","):
        word, kept, name = part.strip().partition(":")
        if kept:
            if word.lower() != "keep":
                what, why = f"{text!r} is no order", f"{word!r} is not keep"
                raise UsageError("invalid-stop-order", what, why=why, where=where, hint=_STOP_HINT)
            keep.add(check_name(name.strip(), where=where))
        elif word.lower() in Pick.__members__.values():
            picks.append(Pick(word.lower()))
        else:
            picks.append(check_name(word, where=where))
    return StopOrder(tuple(dict.fromkeys(picks)), frozenset(keep))


def period_of(period: Period, now: float) -> tuple[float, float]:
    """(beginning, end) of the period in which `now` is, in epoch seconds."""
    moment = datetime.fromtimestamp(now, UTC)
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case Period.DAY:
            end = start + timedelta(days=1)
        case Period.WEEK:
            start -= timedelta(days=start.weekday())
            end = start + timedelta(days=7)
        case Period.MONTH:
            start = start.replace(day=1)
            end = (start + timedelta(days=31)).replace(day=1)
    return start.timestamp(), end.timestamp()


def standing(budget: Budget, rentals: Sequence[Rental], now: float, rates: Rates | None) -> Standing:
    """How it stands. rentals: all that may have cost something in the period, those that have ended too."""
    currency = budget.limit.currency
    since, until = period_of(budget.period, now)
    spent = in_one(_by_currency(cost_of(one, now, since=since) for one in rentals), currency, rates)
    at_end = _by_currency(cost_of(one, _last(one, now, until), since=since) for one in rentals)
    pace = _by_currency(Money(one.offer.per_hour, one.offer.currency) for one in rentals if _runs(one))
    hourly = in_one(pace, currency, rates)
    level = _level(spent.amount, budget.limit.amount)
    without = tuple(dict.fromkeys((*spent.without, *hourly.without)))
    return Standing(
        Level.WARN if without and level is Level.OK else level,
        budget,
        spent.amount,
        in_one(at_end, currency, rates).amount,
        hourly.amount,
        since,
        until,
        _spent_at(budget.limit.amount - spent.amount, hourly.amount, now, until),
        tuple(dict.fromkeys((*spent.rates, *hourly.rates))),
        without,
    )


def running(
    rentals: Sequence[Rental], idle_since: Mapping[str, float], currency: str, rates: Rates | None
) -> tuple[Running, ...]:
    """The deployments that cost money now. idle_since: of those that serve nobody."""
    groups: dict[str, list[Rental]] = {}
    for one in rentals:
        if _runs(one):
            groups.setdefault(one.deployment, []).append(one)
    found: list[Running] = []
    for name, group in groups.items():
        cost = in_one(_by_currency(Money(one.offer.per_hour, one.offer.currency) for one in group), currency, rates)
        began = max(one.billed_from or one.intended_at for one in group)
        found.append(Running(name, None if cost.without else cost.amount, began, idle_since.get(name)))
    return tuple(found)


def to_stop(candidates: Sequence[Running], order: StopOrder) -> tuple[str, ...]:
    """Which deployments to stop when the budget is spent, the first first. Those that may not be are not among them."""
    may = [one for one in candidates if one.deployment not in order.keep]
    found = [one.deployment for pick in order.picks for one in _picked(may, pick)]
    return tuple(dict.fromkeys(found))


def _picked(candidates: Sequence[Running], pick: str) -> list[Running]:
    match pick:
        case Pick.IDLE:
            return sorted((one for one in candidates if one.idle_since is not None), key=_dearest)
        case Pick.DEAREST:
            return sorted(candidates, key=_dearest)
        case Pick.YOUNGEST:
            return sorted(candidates, key=lambda one: (-one.since, one.deployment))
        case Pick.OLDEST:
            return sorted(candidates, key=lambda one: (one.since, one.deployment))
    return [one for one in candidates if one.deployment == pick]


def _dearest(one: Running) -> tuple[bool, Decimal, float, str]:
    """What costs nobody knows how much comes first."""
    return one.per_hour is not None, -(one.per_hour or Decimal(0)), -one.since, one.deployment


def _runs(rental: Rental) -> bool:
    return rental.state in OPEN and rental.billed_from is not None and rental.billed_until is None


def _last(rental: Rental, now: float, until: float) -> float:
    """Until when it would run; one whose time is up already ends when it has been ended."""
    return until if rental.time_limit is None else max(min(until, rental.time_limit), now)


def _level(spent: Decimal, limit: Decimal) -> Level:
    if spent >= limit:
        return Level.EXCEEDED
    return Level.WARN if spent >= limit * WARN_AT else Level.OK


def _spent_at(left: Decimal, per_hour: Decimal, now: float, until: float) -> float | None:
    if left <= 0:
        return now
    if per_hour <= 0:
        return None
    at = now + float(left / per_hour * 3600)
    return at if at < until else None


def _by_currency(amounts: Iterable[Money]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for money in amounts:
        if money.amount:
            found[money.currency] = found.get(money.currency, Decimal(0)) + money.amount
    return dict(sorted(found.items()))
