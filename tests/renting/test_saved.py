"""What giving machines back has saved."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from lyc.records.rental import Rental, RentalState
from lyc.renting.saved import Saved, saved
from tests.renting.ledger_book import rental

HOUR = 3600.0


def given_back(run_id: str, begin: float, end: float, reason: str = "unused", **more: object) -> Rental:
    one = replace(rental(run_id), intended_at=begin, billed_from=begin, billed_until=end, state=RentalState.GONE)
    return replace(one, reason=reason, **more)  # type: ignore[arg-type]


ONE = given_back("one", 0, HOUR)
EACH = ONE.offer.per_hour
NAME = ONE.deployment


def amount(found: Saved) -> Decimal:
    return sum(found.amounts.values(), Decimal(0))


def test_since_it_was_given_back() -> None:
    found = saved([ONE], {NAME}, 3 * HOUR)
    assert (found.seconds, amount(found)) == (2 * HOUR, 2 * EACH)


def test_until_it_is_rented_again() -> None:
    again = given_back("two", 2 * HOUR, 4 * HOUR)
    found = saved([ONE, again], {NAME}, 10 * HOUR)
    assert (found.seconds, amount(found)) == (7 * HOUR, 7 * EACH), "an hour between them, six after the second"


def test_one_that_was_taken_down_or_away_saves_nothing() -> None:
    assert saved([given_back("one", 0, HOUR, reason="down")], {NAME}, 9 * HOUR) == Saved()
    assert saved([given_back("one", 0, HOUR, reason="taken-back")], {NAME}, 9 * HOUR) == Saved()


def test_nothing_is_saved_for_a_deployment_that_is_gone() -> None:
    assert saved([ONE], set(), 9 * HOUR) == Saved()
    again = given_back("two", 2 * HOUR, 4 * HOUR)
    assert saved([ONE, again], set(), 9 * HOUR).seconds == HOUR


def test_one_that_gave_way_to_another_saves_nothing() -> None:
    """The deployment had moved: the other one stood all the time."""
    other = given_back("two", HOUR / 2, 9 * HOUR, reason="")
    assert saved([ONE, replace(other, billed_until=None)], {NAME}, 9 * HOUR) == Saved()


def test_since() -> None:
    assert saved([ONE], {NAME}, 3 * HOUR, since=2 * HOUR).seconds == HOUR
