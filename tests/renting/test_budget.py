"""Budgets: what is written, how they stand, and whom they stop in which order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import LycError, UsageError
from lyc.records.money import Money, Rates
from lyc.records.rental import RentalState
from lyc.renting.budget import (
    Budget,
    Level,
    Period,
    Running,
    StopOrder,
    parse_budget,
    parse_stop_order,
    period_of,
    running,
    standing,
    to_stop,
)
from tests.renting.ledger_book import at, rental

RATES = Rates({"USD": Decimal("1.25")}, "2026-11-20", "a bank")
TEN = Budget(Money(Decimal(10), "EUR"), Period.DAY)
HOURLY = rental(price="2", granularity=3600)  # from 10:00 on


@pytest.mark.parametrize(
    ("text", "amount", "currency", "period"),
    [
        ("50EUR/day", "50", "EUR", "day"),
        ("300 usd / week", "300", "USD", "week"),
        ("€1000.50/month", "1000.50", "EUR", "month"),
    ],
)
def test_a_budget_as_it_is_written(text: str, amount: str, currency: str, period: str) -> None:
    assert parse_budget(text) == Budget(Money(Decimal(amount), currency), Period(period))


@pytest.mark.parametrize(
    "text", ["50EUR", "50/day", "50EUR/year", "EUR/day", "0EUR/day", "-5EUR/day", "", "/", "x/day"]
)
def test_what_is_no_budget_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_budget(text)
    assert caught.value.ref in ("invalid-budget", "invalid-amount")
    assert caught.value.where == "AMOUNT"
    assert "50EUR/day" in caught.value.hint


@pytest.mark.parametrize(
    ("period", "now", "since", "until"),
    [
        (Period.DAY, "2026-11-20T10:00", "2026-11-20", "2026-11-21"),
        (Period.DAY, "2026-11-20T00:00", "2026-11-20", "2026-11-21"),
        (Period.WEEK, "2026-11-22T23:59", "2026-11-16", "2026-11-23"),  # a Sunday
        (Period.WEEK, "2026-11-23T00:00", "2026-11-23", "2026-11-30"),
        (Period.MONTH, "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
        (Period.MONTH, "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
        (Period.MONTH, "2026-11-01T00:00", "2026-11-01", "2026-12-01"),
    ],
)
def test_periods_are_those_of_the_calendar(period: Period, now: str, since: str, until: str) -> None:
    assert period_of(period, at(now)) == (at(since), at(until))


@given(st.sampled_from(Period), st.floats(0, 4e9))
def test_a_moment_is_in_its_period(period: Period, now: float) -> None:
    since, until = period_of(period, now)
    assert since <= now < until
    assert period_of(period, until)[0] == until


@pytest.mark.parametrize(
    ("now", "level", "spent"),
    [
        ("2026-11-20T10:00", Level.OK, "0"),
        ("2026-11-20T10:30", Level.OK, "2"),
        ("2026-11-20T13:00", Level.OK, "6"),
        ("2026-11-20T13:01", Level.WARN, "8"),  # 80 %, as the fourth hour begins
        ("2026-11-20T14:01", Level.EXCEEDED, "10"),
        ("2026-11-20T23:59", Level.EXCEEDED, "28"),
        ("2026-11-21T00:30", Level.OK, "2"),  # a new day
    ],
)
def test_how_it_stands(now: str, level: Level, spent: str) -> None:
    found = standing(TEN, [HOURLY], at(now), RATES)
    assert (found.level, found.spent) == (level, Decimal(spent))


def test_it_is_foretold() -> None:
    found = standing(TEN, [HOURLY], at("2026-11-20T12:00"), RATES)
    assert (found.since, found.until) == (at("2026-11-20"), at("2026-11-21"))
    assert found.per_hour == 2
    assert found.projected == 28  # fourteen hours to midnight
    assert found.spent_at == at("2026-11-20T15:00")
    limited = rental(price="2", granularity=3600, time_limit=at("2026-11-20T12:00"))
    assert standing(TEN, [limited], at("2026-11-20T11:00"), RATES).projected == 4
    overdue = standing(TEN, [limited], at("2026-11-20T15:00"), RATES)
    assert overdue.projected == overdue.spent == 10


def test_what_has_ended_counts_as_spent_and_not_as_pace() -> None:
    gone = rental(price="4", state=RentalState.GONE, billed_until=at("2026-11-20T11:00"))
    found = standing(TEN, [gone], at("2026-11-20T12:00"), RATES)
    assert (found.spent, found.projected, found.per_hour, found.spent_at) == (4, 4, 0, None)


def test_other_currencies_are_converted_and_said() -> None:
    found = standing(TEN, [rental(price="2.50", currency="USD", granularity=3600)], at("2026-11-20T10:30"), RATES)
    assert (found.spent, found.rates) == (2, ("1.25 USD/EUR of 2026-11-20",))


def test_without_a_rate_nobody_knows_what_is_left() -> None:
    crowns = rental(price="1", currency="SEK")
    found = standing(TEN, [crowns], at("2026-11-20T11:00"), RATES)
    assert found.level is Level.WARN
    assert found.spent == 0
    assert {money.currency for money in found.without} == {"SEK"}
    assert standing(TEN, [HOURLY, crowns], at("2026-11-20T20:00"), RATES).level is Level.EXCEEDED


ALL = (
    Running("busy-old", Decimal(9), since=100.0),
    Running("idle-cheap", Decimal(1), since=200.0, idle_since=900.0),
    Running("idle-dear", Decimal(5), since=150.0, idle_since=800.0),
    Running("busy-young", Decimal(2), since=300.0),
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("idle,youngest", ["idle-dear", "idle-cheap", "busy-young", "busy-old"]),
        ("idle", ["idle-dear", "idle-cheap"]),
        ("oldest", ["busy-old", "idle-dear", "idle-cheap", "busy-young"]),
        ("dearest", ["busy-old", "idle-dear", "busy-young", "idle-cheap"]),
        ("busy-young,idle", ["busy-young", "idle-dear", "idle-cheap"]),
        ("idle,youngest,keep:busy-old,keep:idle-dear", ["idle-cheap", "busy-young"]),
        ("keep:busy-old", []),
        ("not-there,IDLE", ["idle-dear", "idle-cheap"]),
    ],
)
def test_whom_it_stops(words: str, expected: list[str]) -> None:
    assert list(to_stop(ALL, parse_stop_order(words))) == expected


def test_unless_told_otherwise_the_dearest_idle_first_then_the_youngest() -> None:
    assert to_stop(ALL, StopOrder()) == to_stop(ALL, parse_stop_order("idle,youngest"))
    assert to_stop(ALL, StopOrder())[0] == "idle-dear"
    assert set(to_stop(ALL, StopOrder())) == {one.deployment for one in ALL}


@pytest.mark.parametrize("text", ["", "idle,,youngest", "drop:x", "keep:", "Not A Name"])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(LycError) as caught:
        parse_stop_order(text)
    assert caught.value.where == "--stop"


def test_what_runs_is_told_by_deployment() -> None:
    rentals = [
        rental(price="2"),
        rental("aaaaaaaa-00000002", price="2.50", currency="USD", billed_from=at("2026-11-20T11:00")),
        rental("aaaaaaaa-00000003", deployment="gone", state=RentalState.GONE, billed_until=at("2026-11-20T11:00")),
        rental("aaaaaaaa-00000004", deployment="odd", currency="SEK"),
        rental("aaaaaaaa-00000005", deployment="unheard", state=RentalState.INTENDED, billed_from=None),
    ]
    found = {one.deployment: one for one in running(rentals, {"support-8b": 5.0}, "EUR", RATES)}
    assert set(found) == {"support-8b", "odd"}
    assert found["support-8b"] == Running("support-8b", Decimal(4), at("2026-11-20T11:00"), 5.0)
    assert found["odd"].per_hour is None
