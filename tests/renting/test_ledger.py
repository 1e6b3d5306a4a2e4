"""What rentals cost: the providers' rounding, parts that add up, and figures worked out by hand."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.records.money import Money, Rates
from lyc.records.rental import Billed, Rental, RentalState
from lyc.renting.ledger import (
    DAY,
    Grouping,
    billed_seconds,
    cost_of,
    differences,
    in_one,
    lines,
    paid_until,
    rented_seconds,
    totals,
)
from tests.renting.ledger_book import at, rental

BEGUN = at("2026-11-20T10:00")
RATES = Rates({"USD": Decimal("1.25")}, "2026-11-20", "a bank")
MICRO = Decimal("0.000001")


@pytest.mark.parametrize(
    ("granularity", "minimum", "used", "billed"),
    [
        (1, 0, 0, 0),
        (1, 0, 90, 90),
        (1, 0, 90.2, 91),
        (60, 0, 61, 120),
        (60, 0, 60, 60),
        (3600, 0, 1, 3600),
        (3600, 0, 3600, 3600),
        (3600, 0, 3601, 7200),
        (1, 60, 10, 60),  # as AWS: by the second, a minute at least
        (1, 60, 61, 61),
        (60, 3600, 30, 3600),
        (0, 0, 1.5, 1.5),
    ],
)
def test_rounding(granularity: int, minimum: int, used: float, billed: float) -> None:
    one = rental(granularity=granularity, minimum=minimum, billed_until=BEGUN + used)
    assert billed_seconds(one, BEGUN + 9e9) == Fraction(str(billed))


def test_by_hand() -> None:
    hourly = rental(price="2.50", granularity=3600)
    assert cost_of(hourly, BEGUN) == Money(Decimal(0), "EUR")
    assert cost_of(hourly, BEGUN + 1).amount == Decimal("2.50")
    assert cost_of(hourly, BEGUN + 3601).amount == Decimal("5.00")
    by_minute = rental(price="2.79", granularity=60)
    assert cost_of(by_minute, BEGUN + 90).amount == Decimal("0.093")
    third = rental(price="1")
    assert cost_of(third, BEGUN + 1).amount == Decimal("0.000278")  # 1/3600, rounded up


@given(st.integers(0, 10**7), st.integers(1, 48))
def test_the_last_digits_of_a_float_begin_no_hour(offset: int, hours: int) -> None:
    begun = BEGUN + offset / 1000
    one = rental(granularity=3600, billed_from=begun, billed_until=begun + hours * 3600)
    assert billed_seconds(one, 9e9) == hours * 3600


def test_at_its_first_instant_it_has_not_stood_yet() -> None:
    assert lines([rental()], BEGUN) == ()
    assert len(lines([rental()], BEGUN + 0.001)) == 1


@pytest.mark.parametrize("state", [RentalState.INTENDED, RentalState.REFUSED, RentalState.GONE])
def test_what_never_stood_costs_nothing(state: RentalState) -> None:
    one = rental(state=state, billed_from=None, machine=None)
    assert cost_of(one, BEGUN + DAY).amount == 0
    assert totals([one], BEGUN + DAY) == {}
    assert lines([one], BEGUN + DAY) == ()
    assert paid_until(one, BEGUN + DAY) is None


def test_an_hour_that_is_begun_is_a_cost_of_the_day_on_which_it_begins() -> None:
    one = rental(granularity=3600, billed_from=at("2026-11-20T23:30"), billed_until=at("2026-11-21T01:00"))
    found = lines([one], at("2026-11-22T12:00"), by=Grouping.DAY)
    assert [(line.key, line.totals, line.seconds) for line in found] == [
        ("2026-11-20", {"EUR": Decimal("3.60")}, 1800),
        ("2026-11-21", {"EUR": Decimal("3.60")}, 3600),
    ]


def test_a_day_ends_with_its_last_instant() -> None:
    one = rental(billed_from=at("2026-11-20T00:00"), billed_until=at("2026-11-21T00:00"))
    assert [line.key for line in lines([one], at("2026-12-01T00:00"), by=Grouping.DAY)] == ["2026-11-20"]


def test_days_between_two_rentals_are_told_too() -> None:
    two = [
        rental(billed_until=at("2026-11-20T11:00")),
        rental("aaaaaaaa-00000002", billed_from=at("2026-11-23T10:00"), billed_until=at("2026-11-23T11:00")),
    ]
    found = lines(two, at("2026-12-01T00:00"), by=Grouping.DAY)
    assert [(line.key, line.rentals) for line in found] == [
        ("2026-11-20", 1), ("2026-11-21", 0), ("2026-11-22", 0), ("2026-11-23", 1),
    ]  # fmt: skip


def test_currencies_are_never_mixed() -> None:
    both = [rental(), rental("aaaaaaaa-00000002", currency="USD"), rental("aaaaaaaa-00000003", currency="SEK")]
    found = totals(both, BEGUN + 1000)
    assert found == {"EUR": Decimal(1), "SEK": Decimal(1), "USD": Decimal(1)}
    (line,) = lines(both, BEGUN + 1000)
    assert (line.totals, line.rentals, line.seconds) == (found, 3, 3000)
    one = in_one(found, "EUR", RATES)
    assert one.amount == Decimal("1.8")
    assert one.rates == ("1.25 USD/EUR of 2026-11-20",)
    assert one.without == (Money(Decimal(1), "SEK"),)
    assert in_one(found, "EUR", None).without == (Money(Decimal(1), "SEK"), Money(Decimal(1), "USD"))
    assert in_one({"EUR": Decimal(2)}, "EUR", None).rates == ()


def test_by_deployment_and_host() -> None:
    three = [
        rental(),
        rental("aaaaaaaa-00000002", host=None, billed_from=BEGUN + 500),
        rental("aaaaaaaa-00000003", deployment="other", host="rent-01"),
    ]
    now = BEGUN + 1000
    found = {line.key: (line.totals["EUR"], line.rentals) for line in lines(three, now)}
    assert found == {"support-8b": (Decimal("1.5"), 2), "other": (Decimal(1), 1)}
    hosts = {line.key: line.totals["EUR"] for line in lines(three, now, by=Grouping.HOST)}
    assert hosts == {"rent-01": Decimal(2), "aaaaaaaa-00000002": Decimal("0.5")}


def test_a_span_counts_what_fell_due_in_it() -> None:
    one = rental(billed_until=BEGUN + 1000)
    assert cost_of(one, BEGUN + 5000, since=BEGUN + 400).amount == Decimal("0.6")
    assert cost_of(one, BEGUN + 5000, since=BEGUN + 400, until=BEGUN + 500).amount == Decimal("0.1")
    assert cost_of(one, BEGUN + 5000, since=BEGUN + 2000).amount == 0
    assert cost_of(one, BEGUN + 100, since=BEGUN + 400, until=BEGUN + 500).amount == 0  # not yet
    assert rented_seconds(one, BEGUN + 5000, since=BEGUN + 400, until=BEGUN + 500) == 100


def test_until_when_it_is_paid() -> None:
    hourly = rental(granularity=3600)
    assert paid_until(hourly, BEGUN + 10) == BEGUN + 3600
    assert paid_until(hourly, BEGUN + 3601) == BEGUN + 7200
    assert paid_until(rental(), BEGUN + 10) == BEGUN + 10


def test_beside_what_the_provider_bills() -> None:
    one = rental(billed_until=BEGUN + 1000)
    told = [
        Billed("m-aaaaaaaa-00000001", Decimal("1.10"), "EUR", BEGUN, BEGUN + DAY),
        Billed("somebody-else's", Decimal(9), "EUR", BEGUN, BEGUN + DAY),
    ]
    (found,) = differences([one], told, BEGUN + DAY)
    assert (found.run_id, found.ours.amount, found.theirs.amount) == (one.run_id, Decimal(1), Decimal("1.10"))


prices = st.decimals("0.01", "99.99", places=4)
rentals = st.builds(
    lambda price, granularity, minimum, begin, length: rental(
        price=str(price),
        granularity=granularity,
        minimum=minimum,
        billed_from=BEGUN + begin / 1000,
        billed_until=None if length is None else BEGUN + (begin + length) / 1000,
    ),
    prices,
    st.sampled_from([0, 1, 60, 300, 3600]),
    st.sampled_from([0, 60, 600, 3600]),
    st.integers(0, 5 * DAY * 1000),
    st.none() | st.integers(0, 5 * DAY * 1000),
)
moments = st.integers(-DAY, 12 * DAY).map(lambda seconds: BEGUN + seconds)


@given(rentals, st.lists(moments, min_size=2, max_size=8), moments)
def test_parts_add_up_to_the_whole_however_time_is_cut(one: Rental, cuts: list[float], now: float) -> None:
    cuts = sorted(cuts)
    whole = cost_of(one, now, since=cuts[0], until=cuts[-1])
    parts = [cost_of(one, now, since=a, until=b) for a, b in itertools.pairwise(cuts)]
    assert sum((part.amount for part in parts), Decimal(0)) == whole.amount
    assert all(part.amount >= 0 for part in parts)
    assert cost_of(one, now, since=BEGUN - 9 * DAY) == cost_of(one, now)


@given(st.lists(rentals, max_size=4), moments, st.none() | moments)
def test_days_deployments_and_hosts_all_add_up(some: list[Rental], now: float, since: float | None) -> None:
    whole = totals(some, now, since=since)
    for by in Grouping:
        found = lines(some, now, by=by, since=since)
        assert sum((line.totals.get("EUR", Decimal(0)) for line in found), Decimal(0)) == whole.get("EUR", 0)
        seconds = sum(rented_seconds(one, now, since=since) for one in some)
        assert sum(line.seconds for line in found) == pytest.approx(seconds)
        assert len({line.key for line in found}) == len(found)


@given(rentals, moments, moments)
def test_what_is_owed_never_shrinks(one: Rental, first: float, second: float) -> None:
    first, second = sorted((first, second))
    assert cost_of(one, first).amount <= cost_of(one, second).amount


@given(rentals, moments)
def test_it_is_never_less_than_the_time_used_nor_much_more(one: Rental, now: float) -> None:
    used = Fraction(str(round(rented_seconds(one, now), 3)))
    exact = used * Fraction(one.offer.per_hour) / 3600
    owed = Fraction(cost_of(one, now).amount)
    assert owed >= exact
    if used > 0:
        most = max(used + one.granularity, Fraction(one.minimum)) * Fraction(one.offer.per_hour) / 3600
        assert owed <= most + Fraction(MICRO)
        assert owed >= Fraction(one.minimum) * Fraction(one.offer.per_hour) / 3600
    else:
        assert owed == 0


@given(rentals, moments)
def test_amounts_are_exact_decimals_of_at_most_six_places(one: Rental, now: float) -> None:
    amount = cost_of(one, now).amount
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    assert exponent >= -6


@given(rentals, moments)
def test_what_is_paid_until_costs_no_more_when_it_ends_there(one: Rental, now: float) -> None:
    paid = paid_until(one, now)
    if paid is None:
        return
    assert paid >= now
    last = math.floor(paid * 1000) / 1000
    assert cost_of(one, max(last, now)).amount == cost_of(one, now).amount
