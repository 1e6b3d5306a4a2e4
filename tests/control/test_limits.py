"""What ends deployments by itself: their time, and the budget of the home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from lyc.control.deps import Deps
from lyc.control.limits import Limits
from lyc.errors import LycError
from lyc.records.deployment import Deployment
from lyc.records.rental import RentalState
from lyc.renting.budget import Level
from lyc.spec.settings import resolve
from lyc.store import Store
from tests.renting.ledger_book import at, rental

NOON = at("2026-11-20T12:00")


class World:
    """As much of `Deps` as limits touch."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = Store(tmp_path / "lyc.db")
        self.settings = resolve({"HOME": str(tmp_path), "LYC_HOME": str(tmp_path)})
        self.now = NOON
        self.down: list[str] = []
        self.limits = Limits(cast("Deps", self), self._down)

    def clock(self) -> float:
        return self.now

    def _down(self, name: str) -> None:
        self.down.append(name)
        self.store.change_deployment(name, self.now, stopping=True)

    def rents(self, name: str, run: str, **more: object) -> None:
        """3.60 EUR an hour, since ten o'clock."""
        self.store.add_deployment(Deployment(name, at("2026-11-20T10:00"), at("2026-11-20T10:00")))
        self.store.add_rental(replace(rental(run), deployment=name, **more))  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_deployment_whose_time_is_up_is_taken_down_once(world: World) -> None:
    world.rents("a", "aaaaaaaa-00000001", time_limit=NOON + 10)
    world.rents("b", "aaaaaaaa-00000002")
    world.limits.enforce()
    assert world.down == []
    world.now += 10
    world.limits.enforce()
    world.limits.enforce()
    assert world.down == ["a"]
    (entry,) = world.store.journal.list("a")
    assert (entry.actor, entry.action, entry.cause) == ("ttl", "down", "its time is up (--ttl)")


def test_a_budget_that_is_spent_takes_down_in_the_order_that_was_set(world: World) -> None:
    world.rents("old", "aaaaaaaa-00000001")
    world.rents("young", "aaaaaaaa-00000002", billed_from=at("2026-11-20T11:00"))
    world.limits.set("12EUR/day", "youngest,keep:old")
    found = world.limits.standing()
    assert found is not None
    assert (found.level, found.spent) == (Level.WARN, 3 * rental().offer.per_hour)
    world.limits.enforce()
    assert world.down == []
    world.now += 3600
    world.limits.enforce()
    assert world.down == ["young"], "the other one is kept"


def test_a_budget_is_of_its_period(world: World) -> None:
    world.rents("a", "aaaaaaaa-00000001", state=RentalState.GONE, billed_until=NOON)
    world.limits.set("7EUR/day", None)
    assert world.limits.standing().level is Level.EXCEEDED  # type: ignore[union-attr]
    world.now += 86400
    assert world.limits.standing().level is Level.OK  # type: ignore[union-attr]


def test_a_budget_ends_and_a_wrong_one_changes_nothing(world: World) -> None:
    world.limits.set("7EUR/day", "dearest")
    for budget, order in (("seven", None), ("8EUR/year", None), ("8EUR/day", "Not A Name")):
        with pytest.raises(LycError):
            world.limits.set(budget, order)
    assert world.limits.budget() is not None
    assert world.limits.budget().limit.amount == 7  # type: ignore[union-attr]
    world.limits.set("", None)
    assert world.limits.budget() is None
    assert world.limits.order().picks == ("dearest",)
