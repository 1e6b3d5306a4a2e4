"""Replicas for which there is no room get machines rented for them, which go back when they are not needed any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lyc.control.limits import Limits
from lyc.control.rentals import leaving_hosts
from lyc.records.deployment import ReleaseState, Replica, ReplicaState
from lyc.records.host import RENT
from lyc.records.placement import PlacementState
from lyc.records.rental import Rental
from lyc.records.scaling import RELEASE_AFTER, ScalePolicy, ScalerState
from lyc.renting.settle import released
from lyc.renting.wanted import SPARE_SECONDS
from lyc.spec.scale import with_machines
from tests.control.rented_world import NAME, Front, Killed, Mishap, Point, World, served
from tests.control.shapes import SHAPES


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with served(tmp_path_factory.mktemp("lyceum")) as front:
        yield front


def deployed(front: Front) -> World:
    """One replica on one machine, and two are wished."""
    world = World(SHAPES["lyceum"], front)
    assert world.deploy() is None
    now = world.clock()
    world.store.set_release_state(NAME, 1, ReleaseState.ACTIVE, at=now)
    policy = with_machines(ScalePolicy(0, 3, idle_release=RELEASE_AFTER))
    assert policy.hosts == (RENT,)
    world.store.change_deployment(NAME, now, policy=policy, scaler=ScalerState(2, last_request=now))
    return world


@pytest.fixture
def world(front: Front) -> World:
    return deployed(front)


def grow(world: World) -> None:
    """As the loop does where a replica is lacking."""
    ready = [one for one in world.store.placements.list(NAME) if one.state is PlacementState.READY]
    if not ready:
        world.expander.look_for(NAME, 1)
    for one in world.store.placements.list(NAME):
        if one.state is PlacementState.READY and one.host is not None:
            now = world.clock()
            world.store.put_replica(Replica(f"{NAME}-1-far", NAME, 1, one.host, ReplicaState.READY, now, now, "s"))


def shrink(world: World) -> None:
    """To one replica again: the one that was there last goes."""
    world.store.change_deployment(NAME, world.clock(), scaler=ScalerState(1, last_request=world.clock()))
    (far,) = [one for one in world.store.replicas(NAME) if one.id.endswith("far")]
    world.store.put_replica(replace(far, state=ReplicaState.STOPPED, updated_at=world.clock()))


def standing(world: World) -> list[Rental]:
    return world.store.rentals(open_only=True)


def test_one_more_machine_that_goes_when_its_replica_has_gone(world: World) -> None:
    (home,) = standing(world)
    grow(world)
    (placed,) = world.store.placements.list(NAME)
    assert len(world.cloud.alive()) == 2
    assert {one.host for one in standing(world)} == {home.host, placed.host}
    world.rest()
    world.check(most=2)
    assert len(world.cloud.alive()) == 2
    shrink(world)
    world.clock.pass_(SPARE_SECONDS - 10)
    world.visit()
    assert len(world.cloud.alive()) == 2, "the next burst may come soon"
    world.clock.pass_(20)
    world.rest()
    world.check()
    assert [one.host for one in standing(world)] == [home.host]
    assert world.store.placements.list(NAME) == [], "nothing is to be started there any more"


def test_nothing_begins_on_a_further_machine_that_is_being_given_back(world: World) -> None:
    (home,) = standing(world)
    grow(world)
    assert leaving_hosts(world.store, NAME) == frozenset()
    for one in standing(world):
        assert world.store.change_rental(released(one, "unused", world.clock()), one)
    (far,) = [one.host for one in standing(world) if one.host != home.host]
    assert leaving_hosts(world.store, NAME) == {far}, "what becomes of the first is decided elsewhere"


def test_all_go_while_nobody_asks_and_one_comes_back(world: World) -> None:
    grow(world)
    world.fall_asleep()
    assert world.cloud.alive() == []
    assert world.store.placements.list(NAME) == []
    world.ask()
    assert len(world.cloud.alive()) == 1
    world.rest()
    world.check()
    world.down()
    world.check_nothing_left()


def test_the_home_may_go_first(world: World) -> None:
    """Its machine is lost; the further one serves on, and no other is rented in its stead by itself."""
    (home,) = standing(world)
    grow(world)
    world.store.change_deployment(NAME, world.clock(), scaler=ScalerState(1, last_request=world.clock()))
    world.take(world.cloud.machines[str(home.machine)])
    for one in world.store.replicas(NAME):
        if one.host == home.host:
            world.store.put_replica(replace(one, state=ReplicaState.STOPPED))
    world.rest()
    for _ in range(3):
        world.loop()
    world.check()
    assert len(world.cloud.alive()) == 1
    assert not world.again.away(world.store.deployment(NAME), world.store.releases(NAME))


def test_the_budget_holds(world: World) -> None:
    Limits(world.deps, lambda _: None).set("0.01EUR/month", None)
    grow(world)
    (row,) = world.store.placements.list(NAME)
    assert (row.state, (row.error or {})["ref"]) == (PlacementState.FAILED, "budget-spent")
    assert len(world.cloud.alive()) == 1
    Limits(world.deps, lambda _: None).set("", None)


@pytest.mark.slow
def test_killed_at_every_point(front: Front) -> None:
    """One machine more, whenever the controller dies; and none when all is over."""
    dry = deployed(front)
    dry.wire.counting = True
    grow(dry)
    points = tuple(dry.wire.seen)
    assert sum(one.changes for one in points) >= 1
    for point in points:
        if point.what == "write" or point.changes:
            with told(point):
                walk(front, point)


def walk(front: Front, point: Point) -> None:
    world = deployed(front)
    world.wire.mishaps, world.wire.counting = {point: "after"}, True
    try:
        grow(world)
    except Killed:
        world.restart(resume=True)
    assert world.wire.happened == [Mishap(point, "after")]
    world.wire.counting = False
    grow(world)  # the loop goes on
    world.rest()
    world.check(most=2)
    assert len(world.cloud.alive()) == 2
    assert len(world.cloud.ever) == 2
    world.down()
    world.check_nothing_left()


@contextlib.contextmanager
def told(what: object) -> Iterator[None]:
    """Says at which point it went wrong."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"at {what}")
        raise
