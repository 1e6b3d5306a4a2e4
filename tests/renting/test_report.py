"""What was spent beside what was served: figures by hand, and that what is not known is left out."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.records.money import Rates
from lyc.records.rental import RentalState
from lyc.records.traffic import Served, Traffic
from lyc.renting.ledger import Grouping
from lyc.renting.report import Report, Row, report
from tests.renting.ledger_book import at, rental

BEGUN = at("2026-11-20T10:00")
NOW = BEGUN + 10_000
RATES = Rates({"USD": Decimal("1.25")}, "2026-11-20", "a bank")
SERVED = Traffic(
    served={
        ("support-8b", "2026-11-20"): Served(100, 3_000_000, 2_000_000),
        ("elsewhere", "2026-11-20"): Served(9, 9, 9),  # serves from a machine of the user's own
    },
    busy={"support-8b": ((BEGUN - 50, BEGUN + 1000), (BEGUN + 2000, BEGUN + 3500), (NOW - 10, NOW + 40))},
)  # fmt: skip


def only(found: Report) -> Row:
    (row,) = found.rows
    return row


def test_measured_beside_foretold_and_idle() -> None:
    found = report([rental(per_million=Decimal(4))], SERVED, NOW)  # 0.001 EUR a second
    row = only(found)
    assert row.line.totals == {"EUR": Decimal(10)}
    assert row.cost.amount == 10
    assert row.served == Served(100, 3_000_000, 2_000_000)
    assert row.per_million == 5
    assert row.foretold == 4
    assert row.idle == pytest.approx(1 - (1000 + 1500 + 10) / 10_000)
    assert (found.currency, found.served_since, found.per_hour) == ("EUR", None, {"EUR": Decimal("3.60")})
    assert found.total == replace(row, line=replace(row.line, key="total"))


def test_only_the_time_for_which_tokens_are_known_is_measured() -> None:
    kept = replace(SERVED, reaches=BEGUN + 5000)
    found = report([rental(per_million=Decimal(4))], kept, NOW)
    row = only(found)
    assert found.served_since == BEGUN + 5000
    assert row.cost.amount == 10
    assert row.per_million == Decimal("2.5")  # 5 EUR were spent in that time
    assert row.idle == pytest.approx(1 - 10 / 5000)
    later = report([rental(billed_from=BEGUN + 6000)], kept, NOW)
    assert later.served_since is None


def test_a_machine_that_went_before_the_log_begins_has_no_tokens_but_a_cost() -> None:
    gone = rental(state=RentalState.GONE, billed_until=BEGUN + 1000)
    row = only(report([gone], Traffic(reaches=BEGUN + 5000), NOW))
    assert (row.cost.amount, row.per_million, row.idle) == (1, None, None)


def test_no_tokens_is_no_price_of_tokens() -> None:
    row = only(report([rental()], Traffic(), NOW))
    assert (row.served, row.per_million, row.foretold, row.idle) == (Served(), None, None, 1.0)


def test_foretold_is_what_the_money_would_have_brought() -> None:
    two = [
        rental(per_million=Decimal(4)),
        rental("aaaaaaaa-00000002", price="7.20", per_million=Decimal(1)),  # 20 EUR
    ]
    assert only(report(two, SERVED, NOW)).foretold == Decimal(30) / (Decimal("2.5") + 20)
    unheard = [*two, rental("aaaaaaaa-00000003")]
    assert only(report(unheard, SERVED, NOW)).foretold is None


def test_currencies_are_told_apart_and_as_one() -> None:
    mixed = [
        rental(per_million=Decimal(4)),
        rental("aaaaaaaa-00000002", currency="USD", price="4.50", per_million=Decimal(5)),  # 12.50 USD = 10 EUR
    ]
    found = report(mixed, SERVED, NOW, rates=RATES)
    row = only(found)
    assert row.line.totals == {"EUR": Decimal(10), "USD": Decimal("12.50")}
    assert (row.cost.amount, row.cost.rates) == (20, ("1.25 USD/EUR of 2026-11-20",))
    assert (row.per_million, row.foretold) == (10, 4)
    assert found.per_hour == {"EUR": Decimal("3.60"), "USD": Decimal("4.50")}
    without = only(report(mixed, SERVED, NOW))
    assert without.cost.without
    assert (without.per_million, without.foretold) == (None, None)  # a part of the cost is unknown
    dollars = report(mixed[1:], SERVED, NOW)
    assert (dollars.currency, dollars.total.cost.amount) == ("USD", Decimal("12.50"))
    assert report([], SERVED, NOW).currency == "EUR"


def test_days_have_tokens_of_their_own() -> None:
    served = Traffic(
        served={
            ("support-8b", "2026-11-20"): Served(1, 0, 1_000_000),
            ("support-8b", "2026-11-21"): Served(1, 0, 4_000_000),
        },
    )
    now = at("2026-11-21T20:00")
    one = rental(price="1", billed_from=at("2026-11-20T14:00"))
    first, second = report([one], served, now, by=Grouping.DAY).rows
    assert (first.line.key, first.cost.amount, first.per_million) == ("2026-11-20", 10, 10)
    assert (second.line.key, second.cost.amount, second.per_million) == ("2026-11-21", 20, 5)
    assert (first.idle, second.idle) == (1.0, 1.0)


def test_by_host_nothing_is_told_of_tokens() -> None:
    found = report([rental()], SERVED, NOW, by=Grouping.HOST)
    row = only(found)
    assert (row.line.key, row.served, row.per_million, row.idle) == ("rent-01", None, None, None)
    assert found.total.per_million == 5


def test_machines_side_by_side_are_idle_together() -> None:
    """One stands for the first 6000 s, one for the last 8000, one within; requests run for 3000 of them."""
    two = [
        rental(state=RentalState.GONE, billed_until=BEGUN + 6000),
        rental("aaaaaaaa-00000002", billed_from=BEGUN + 2000),
        rental("aaaaaaaa-00000004", billed_from=BEGUN + 2500, billed_until=BEGUN + 3500, state=RentalState.GONE),
    ]
    busy = Traffic(busy={"support-8b": ((BEGUN + 3000, BEGUN + 6000),)})
    found = report(two, busy, NOW)
    assert only(found).idle == pytest.approx(0.7)
    assert only(found).line.seconds == 15_000
    apart = [*two, rental("aaaaaaaa-00000003", deployment="never-asked")]
    assert report(apart, busy, NOW).total.idle == pytest.approx(17 / 20)


def test_since_leaves_out_what_was_before() -> None:
    two = [rental(), rental("aaaaaaaa-00000002", state=RentalState.GONE, billed_until=BEGUN + 100, extra=("m-9",))]
    assert report(two, SERVED, NOW).further == 1
    found = report(two, SERVED, NOW, since=BEGUN + 1000)
    assert (found.total.line.rentals, found.total.cost.amount, found.further) == (1, 9, 0)
    assert report([], SERVED, NOW).rows == ()


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 200)), min_size=1, max_size=4))
def test_idle_time_is_what_no_request_fills(gaps: list[tuple[int, int]]) -> None:
    """One machine for 10,000 s; requests that run one after another, some beyond its end."""
    moment, busy = BEGUN - 300, []
    for gap, length in gaps:
        moment += gap
        busy.append((moment, moment + length))
        moment += length + 1
    filled = sum(max(min(end, NOW) - max(begin, BEGUN), 0) for begin, end in busy)
    row = only(report([rental()], Traffic(busy={"support-8b": tuple(busy)}), NOW))
    assert row.idle == pytest.approx(1 - filled / 10_000)
