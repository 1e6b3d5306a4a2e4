"""Rentals in the store: money comes back to the last digit, and a move is made once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from lyc.errors import Failed
from lyc.records.deployment import Deployment, ReleaseState
from lyc.records.rental import RentalState
from lyc.records.scaling import RELEASE_AFTER, ScalePolicy
from lyc.store import Store
from tests.renting.ledger_book import rental
from tests.store.test_store import release


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


def test_what_was_rented_before_there_was_a_policy_for_it_is_given_back_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "home" / "lyc.db"
    store, one = Store(path), rental()
    for name in (one.deployment, "own"):
        store.add_deployment(Deployment(name, 1.0, 1.0))
    store.add_rental(one)
    store.set_meta("schema", "6")
    store.close()
    again = Store(path)
    assert again.deployment(one.deployment).policy == ScalePolicy(idle_release=RELEASE_AFTER)
    assert again.deployment("own").policy == ScalePolicy()


def test_a_release_moves_to_another_host_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "home" / "lyc.db")
    store.add_deployment(Deployment("d", 1.0, 1.0))
    first = store.add_release(release(), surge=True)
    store.set_release_state("d", 1, ReleaseState.ACTIVE, at=5.0)
    plan = replace(first.plan, max_model_len=99)
    spec = replace(first.spec, host="rent-02")
    moved = replace(first, spec=spec, spec_digest="other", plan=plan, snapshot_path="/there")
    store.homes.move(moved, 7.0, surge=False)
    assert store.releases("d") == [replace(moved, state=ReleaseState.ACTIVE, active_at=5.0)], "it serves as before"
    assert store.deployment("d").surge is False
    second = store.add_release(replace(release(), spec_digest="b"), surge=True)
    with pytest.raises(Failed) as late:
        store.homes.move(first, 8.0, surge=True)
    assert late.value.ref == "taken-down"
    assert [one.spec.host for one in store.releases("d")] == ["rent-02", second.spec.host]
