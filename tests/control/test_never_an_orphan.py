"""The proof that no machine is left running: a controller dies, or an answer goes astray, at every point of renting.

A dry run finds the points: each write to the store, and each exchange with the provider. Then, at each of them, with
each provider: the controller is killed before it or after it, and the one that follows takes up what was begun, or
fails at it; or it is killed nowhere, and the exchange is lost, doubled or delayed. After each, once all is at rest, the
machines in the cloud are counted (`World.check`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lyc.records.deployment import ReleaseState
from tests.control.rented_world import NAME, Front, Killed, Mishap, Point, World, served
from tests.control.shapes import SHAPES

pytestmark = pytest.mark.slow
EVERY = bool(os.environ.get("LYC_EVERY_POINT"))
"""Whether points are walked too that leave nothing else than others do."""
CREATES = frozenset({
    "POST /vms/create", "POST /v1/instances", "POST /v1/pods", "POST /api/v1/instance-operations/launch",
    "POST /instance/v1/zones/fr-par-2/servers", "POST /launch",
})  # fmt: skip


@pytest.fixture(scope="module", params=SHAPES)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with served(tmp_path_factory.mktemp(request.param)) as front:
        front.name, front.shape = request.param, SHAPES[request.param]
        yield front


@dataclass(frozen=True, slots=True)
class Points:
    """Of a deploy, and of what follows: `lyc down`, and a sweep."""

    deploy: tuple[Point, ...]
    down: tuple[Point, ...]


@pytest.fixture(scope="module")
def points(front: Front) -> Points:
    world = World(front.shape, front)
    world.wire.counting = True
    assert world.deploy() is None
    deploy = len(world.wire.seen)
    world.down()
    world.visit(leftovers=True)
    seen = world.wire.seen
    assert len([one for one in seen if one.what == "write"]) > 15
    assert sum(one.changes for one in seen) >= 2
    return Points(tuple(seen[:deploy]), tuple(seen[deploy:]))


def worth(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Zones that are asked all at once are one point: nothing is changed between them."""
    return tuple(one for one in points if EVERY or "/zones/" not in one.what or "/fr-par-2/" in one.what)


def walk(front: Front, mishaps: tuple[Mishap, ...], *, resume: bool = True) -> World:
    """A deploy, a rest, a down and a sweep, with mishaps, and a new controller whenever one was killed."""
    world = World(front.shape, front)
    world.wire.mishaps = {one.point: one.kind for one in mishaps}
    world.wire.counting = True
    alive(world, world.deploy, resume=resume)
    world.wire.counting = False
    if world.wire.happened:
        world.rest()
    world.check()
    rented, before = len(world.cloud.ever), len(world.wire.happened)
    world.wire.counting = True
    if world.store.find_deployment(NAME) is not None:
        alive(world, world.down, resume=resume)
    if world.store.find_deployment(NAME) is not None:
        world.down()  # killed before the wish was stored: whoever wished it has heard of that, and asks again
    alive(world, lambda: world.visit(leftovers=True), resume=resume)
    world.wire.counting = False
    if len(world.wire.happened) > before:
        world.rest()
    world.check()
    world.check_nothing_left()
    assert len(world.cloud.ever) == rented
    assert [one.kind for one in mishaps] == [one.kind for one in world.wire.happened], "it never came to pass"
    return world


def alive(world: World, work: object, *, resume: bool) -> None:
    """Does it, and has a new controller take over as often as one dies."""
    assert callable(work)
    try:
        work()
        return
    except Killed:
        pass
    while True:
        with contextlib.suppress(Killed):
            world.restart(resume=resume)
            return


def each(kind: str, points: tuple[Point, ...]) -> list[Mishap]:
    """Who is killed before a point leaves what one leaves who is killed after the point before it, and what only reads
    leaves what was there. So each of these is done once, and all of them where that is asked for.
    """
    first = points[0]
    wanted = {
        "before": lambda one: one == first or one.changes,
        "after": lambda one: one.changes or one.what == "write",
    }
    return [Mishap(one, kind) for one in worth(points) if EVERY or wanted[kind](one)]


@pytest.mark.parametrize("kind", ["before", "after"])
def test_killed_and_taken_up_again(front: Front, points: Points, kind: str) -> None:
    """Nothing is rented a second time: one machine for the whole story."""
    for mishap in each(kind, points.deploy + points.down):
        with told(mishap):
            world = walk(front, (mishap,))
            unheard = mishap == Mishap(points.deploy[0], "before")  # of the wish itself nothing is known then
            assert len(world.cloud.ever) == (0 if unheard else 1)


@pytest.mark.parametrize("kind", ["before", "after"])
def test_killed_and_not_taken_up_again(front: Front, points: Points, kind: str) -> None:
    for mishap in each(kind, points.deploy):
        with told(mishap):
            assert len(walk(front, (mishap,), resume=False).cloud.ever) <= 1


def test_an_answer_is_lost(front: Front, points: Points) -> None:
    for point in worth(points.deploy + points.down):
        if point.what != "write":
            with told(point):
                made = len(walk(front, (Mishap(point, "lost"),)).cloud.ever)
                # What had to be there before the machine may be in doubt too; then none is ordered.
                assert made == 1 or (made == 0 and point.changes and point.what not in CREATES)


@pytest.mark.parametrize("kind", ["doubled", "delayed"])
def test_a_request_acts_twice_or_later(front: Front, points: Points, kind: str) -> None:
    """A second machine may come of it; it goes."""
    for point in points.deploy + points.down:
        if point.changes:
            with told(point):
                world = walk(front, (Mishap(point, kind),))
                assert len([one for one in world.cloud.ever if one.ended_at is None]) == 0
                assert len(world.cloud.ever) <= 2


@pytest.mark.parametrize("kind", ["lost", "doubled", "delayed"])
def test_a_create_goes_astray_and_the_controller_dies(front: Front, points: Points, kind: str) -> None:
    """At every point from there on."""
    if not EVERY and front.name != "lyceum":
        pytest.skip("as with lyceum; LYC_EVERY_POINT=1 walks it too")
    create = next(one for one in points.deploy if one.what in CREATES)
    later = points.deploy[points.deploy.index(create) + 1 :]
    for point in worth(later):
        if point.what != "write":
            continue
        with told((create, kind, point)):
            world = World(front.shape, front)
            world.wire.mishaps = {create: kind, point: "after"}
            world.wire.counting = True
            alive(world, lambda world=world: world.deploy(), resume=True)
            world.wire.counting = False
            world.rest()
            world.check()
            assert len(world.cloud.ever) <= 2
            if world.store.find_deployment(NAME) is not None:
                world.down()
            world.rest()
            world.check()
            world.check_nothing_left()


@pytest.fixture(scope="module")
def wake(front: Front) -> tuple[Point, ...]:
    """Points of a request for a deployment whose machine was given back."""
    world = asleep(front)
    world.wire.counting = True
    world.ask()
    assert len(world.cloud.ever) == 2
    return tuple(world.wire.seen)


def asleep(front: Front) -> World:
    """Deployed, and given back since."""
    world = World(front.shape, front)
    assert world.deploy() is None
    world.store.set_release_state(NAME, 1, ReleaseState.ACTIVE, at=world.clock())
    world.fall_asleep()
    return world


def walk_wake(front: Front, mishap: Mishap) -> World:
    """A request, a rest, a down and a sweep."""
    world = asleep(front)
    world.wire.mishaps, world.wire.counting = {mishap.point: mishap.kind}, True
    alive(world, world.ask, resume=True)
    world.wire.counting = False
    for _ in range(4):  # the loops go on, and whoever asked asks again
        world.rest()
        world.ask()
        world.clock.pass_(700)
    world.rest()
    world.check()
    assert world.wire.happened == [mishap], "it never came to pass"
    assert len(world.cloud.alive()) == 1, "it serves again"
    world.down()
    world.check_nothing_left()
    return world


@pytest.mark.parametrize("kind", ["before", "after"])
def test_killed_while_it_rents_again(front: Front, wake: tuple[Point, ...], kind: str) -> None:
    """One machine, whenever the controller dies."""
    if not EVERY and front.name != "lyceum":
        pytest.skip("as with lyceum; LYC_EVERY_POINT=1 walks it too")
    for mishap in each(kind, wake):
        with told(mishap):
            assert len(walk_wake(front, mishap).cloud.ever) == 2


def test_an_answer_is_lost_while_it_rents_again(front: Front, wake: tuple[Point, ...]) -> None:
    """A machine of which nobody has heard in time goes, and another comes."""
    if not EVERY and front.name != "lyceum":
        pytest.skip("as with lyceum; LYC_EVERY_POINT=1 walks it too")
    for kind in ("lost", "doubled", "delayed"):
        for point in worth(wake):
            if point.changes:
                with told((point, kind)):
                    assert len(walk_wake(front, Mishap(point, kind)).cloud.ever) <= 4


@contextlib.contextmanager
def told(what: object) -> Iterator[None]:
    """Says at which point it went wrong."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"at {what}")
        raise
