"""Rentals in the store: money comes back to the last digit, and a move is made once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from lyc.records.rental import RentalState
from lyc.store import Store
from tests.renting.ledger_book import rental


def test_a_rental_comes_back_as_it_went_in(tmp_path: Path) -> None:
    path = tmp_path / "home" / "lyc.db"
    store = Store(path)
    full = rental(price="2.7900", per_million=Decimal("0.1234567890123456789"), extra=("m-2",), error={"ref": "x"})
    bare = rental("aaaaaaaa-00000002", billed_from=None, machine=None, host=None)
    for one in (full, bare):
        store.add_rental(one)
    store.close()
    again = Store(path)
    assert again.rentals() == [full, bare]
    kept = again.rental(full.run_id)
    assert kept is not None
    assert str(kept.offer.per_hour) == "2.7900"
    assert again.rental("aaaaaaaa-0000000f") is None


def test_of_two_moves_from_one_state_the_second_is_not_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "home" / "lyc.db")
    one = rental()
    store.add_rental(one)
    gone = replace(one, state=RentalState.GONE, billed_until=one.intended_at + 5)
    assert store.change_rental(gone, RentalState.RENTED)
    assert not store.change_rental(replace(one, state=RentalState.RELEASING), RentalState.RENTED)
    assert store.rental(one.run_id) == gone
    assert store.rentals(open_only=True) == []
    assert store.rentals(deployment="other") == []
