"""Holes that a walk over points does not find: two threads at once, trouble with one of many, what a user changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from lyc.control import rentals as module
from lyc.control.rentals import Rentals
from lyc.errors import Failed, LycError, Unreachable
from lyc.ports import Provider
from lyc.records.rental import Leftover, Order, Rental, RentalState
from lyc.renting.settle import released
from lyc.testing.clouds.faults import Fault
from tests.control.rented_world import FACTS, MARK, NAME, Front, World, served
from tests.control.shapes import SHAPES


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with served(tmp_path_factory.mktemp("lyceum")) as front:
        yield front


@pytest.fixture
def world(front: Front) -> World:
    return World(SHAPES["lyceum"], front)


class Watched:
    """A provider, and what somebody does just before or after one of its calls."""

    def __init__(self, real: Provider, call: str, meanwhile: Callable[..., object], *, after: bool = False) -> None:
        self._real = real
        self._call = call
        self._meanwhile = meanwhile
        self._after = after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name != self._call:
            return real

        def call(*args: Any) -> Any:
            if not self._after:
                self._meanwhile(*args)
            answer = real(*args)
            if self._after:
                self._meanwhile(*args)
            return answer

        return call


def watch(
    world: World, monkeypatch: pytest.MonkeyPatch, call: str, meanwhile: Callable[..., object], *, after: bool = False
) -> None:
    watched = Watched(world.account(), call, meanwhile, after=after)
    monkeypatch.setattr(world.deps.accounts, "open", lambda _name: watched)


def only(world: World) -> Rental:
    (rental,) = world.store.rentals()
    return rental


def test_a_machine_that_cannot_be_ended_keeps_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two, in the order in which they are looked at, is refused for ever."""
    assert world.deploy("one") is None
    assert world.deploy("two") is None
    stuck = min(world.store.rentals(), key=lambda one: one.run_id)

    def refuse(machine: str) -> None:
        if machine == stuck.machine:
            raise Failed("provider-refused", "no")

    watch(world, monkeypatch, "terminate", refuse)
    for name in ("one", "two"):
        world.down(name)
    assert [one.id for one in world.cloud.alive()] == [stuck.machine]
    assert [one.run_id for one in world.store.rentals(open_only=True)] == [stuck.run_id]
    swept = world.visit()
    assert swept.problem is not None
    assert swept.problem["ref"] == "provider-refused"


def test_what_renting_stores_while_a_visit_decides_is_not_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The visit has read the rental before it was a host, and learns of another address."""
    assert world.deploy() is None
    rental = only(world)
    assert world.store.change_rental(replace(rental, host=None, updated_at=rental.updated_at - 1), rental)
    machine = world.cloud.machines[str(rental.machine)]
    assert machine.address is not None
    machine.address = replace(machine.address, port=2222)

    def named() -> None:
        now = only(world)
        world.store.change_rental(replace(now, host=rental.host, updated_at=now.updated_at + 1), now)

    change = world.store.change_rental
    calls: list[Rental] = []

    def slow(rental: Rental, was: Rental | RentalState) -> bool:
        if not calls:
            calls.append(rental)
            named()
        return change(rental, was)

    monkeypatch.setattr(world.store, "change_rental", slow)
    world.visit()
    assert calls
    assert only(world).host == rental.host
    world.visit()
    assert (only(world).host, only(world).port) == (rental.host, 2222)
    world.check()


def test_a_machine_that_is_wanted_again_is_not_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deploy takes up a rental while a visit has found that nothing uses it."""
    assert world.deploy() is None
    rental = only(world)
    world.store.change_deployment(NAME, world.clock(), target=None)
    for replica in world.store.replicas(NAME):
        world.store.remove_replica(replica.id)
    change = world.store.change_rental
    claimed: list[LycError | None] = []

    def slow(after: Rental, was: Rental | RentalState) -> bool:
        if after.state is RentalState.RELEASING and not claimed:
            claimed.append(None)
            world.clock.pass_(1)
            claimed[0] = world.deploy()
        return change(after, was)

    monkeypatch.setattr(world.store, "change_rental", slow)
    monkeypatch.setattr(world.renter, "_pause", world.clock.pass_)
    world.visit()
    assert claimed == [None]
    assert (only(world).run_id, only(world).state) == (rental.run_id, RentalState.RENTED)
    world.rest()
    world.check()
    assert len(world.cloud.alive()) == 1


def test_a_machine_is_given_up_while_its_answer_is_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The visit tells of it between the moment in which it was read and the one in which it is let go."""
    assert world.deploy() is None
    rental = only(world)
    change, raced = world.store.change_rental, []

    def slow(after: Rental, was: Rental | RentalState) -> bool:
        if not raced:
            raced.append(True)
            change(replace(rental, updated_at=rental.updated_at + 1), rental)
        return change(after, was)

    monkeypatch.setattr(world.store, "change_rental", slow)
    world.renter.release(rental, "host-unfit")
    assert raced
    assert (only(world).state, only(world).reason) == (RentalState.RELEASING, "host-unfit")


def test_a_machine_that_somebody_has_renamed_is_ours_still(world: World) -> None:
    """It is in no list of ours any more, and would run for ever."""
    assert world.deploy() is None
    (machine,) = world.cloud.alive()
    machine.name = "renamed-in-the-console"
    world.rest()
    assert only(world).state is RentalState.RENTED
    world.down()
    assert world.cloud.alive() == []
    assert only(world).state is RentalState.GONE


def test_a_dry_run_says_what_a_sweep_would_do(world: World) -> None:
    orphan = world.cloud.launch(f"lyc-{MARK}-0000000f", "on-demand.h100.1x")
    said = world.visit(leftovers=True, dry_run=True)
    assert [one.machine for one in said.ended] == [orphan.id]
    assert world.cloud.alive() == [orphan]
    assert world.cloud.calls_of("terminate") == []
    assert world.visit().ended == said.ended
    assert world.cloud.alive() == []


def test_a_machine_that_will_not_do_goes_back_and_no_larger_one_of_its_kind_is_tried(world: World) -> None:
    world.hosts.facts = replace(FACTS, driver="470.1", cuda=(11, 4))
    failure = world.deploy()
    assert failure is not None
    assert failure.ref == "no-capacity"
    tried = world.store.rentals()
    assert len(tried) == 1, "more cards do not mend a driver"
    assert {one.reason for one in tried} == {"host-unfit"}
    assert {one.state for one in tried} <= {RentalState.GONE, RentalState.RELEASING}
    world.visit()
    assert world.cloud.alive() == []


def test_a_record_is_closed_when_its_provider_says_so_and_no_sooner(world: World) -> None:
    """That a request to end it was taken is not yet its end."""
    assert world.deploy() is None
    world.cloud.linger = 6
    rental = only(world)
    assert world.store.change_rental(released(rental, "down", world.clock()), rental)
    seen = 0
    while only(world).state is not RentalState.GONE:
        assert only(world).state is RentalState.RELEASING
        world.clock.pass_(1)
        world.visit()
        seen += bool(world.cloud.alive())
    assert world.cloud.alive() == []
    assert seen >= 3


def test_a_credential_that_is_taken_away_gives_back_what_was_rented_with_it(world: World) -> None:
    assert world.deploy() is None
    world.credential(there=False)
    world.down()
    assert world.cloud.alive() == []
    assert world.visit().problem is not None


def test_without_a_credential_it_is_said_and_not_forgotten(world: World) -> None:
    """After a restart nothing can be done; the record stays until something can."""
    assert world.deploy() is None
    world.credential(there=False)
    world.restart(resume=True)
    world.down()
    swept = world.visit()
    assert swept.problem is not None
    assert swept.problem["ref"] == "no-provider-credential"
    assert only(world).state is RentalState.RENTED
    world.credential(there=True)
    world.rest()
    world.check()
    assert world.cloud.alive() == []


def test_a_host_that_was_stored_before_its_rental_knew_goes_too(world: World) -> None:
    assert world.deploy() is None
    rental = only(world)
    assert world.store.change_rental(replace(rental, host=None), rental)
    assert world.hosts.pinned
    world.down()
    assert world.store.hosts() == []
    assert world.hosts.pinned == {}


def test_what_a_new_machine_needs_is_not_swept_away(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine is ordered while a sweep lists what was left behind: what was made for it is in that list."""
    world = World(SHAPES["verda"], front)
    ordered: list[LycError | None] = []
    real = world.account()

    def order(_owner: str) -> None:
        if not ordered:
            ordered.append(None)
            monkeypatch.setattr(world.deps.accounts, "open", lambda _name: real)
            monkeypatch.setattr(world.renter, "_pause", world.clock.pass_)
            ordered[0] = world.deploy()

    watch(world, monkeypatch, "leftovers", order)
    swept = world.visit(leftovers=True)
    assert ordered == [None]
    assert swept.leftovers == ()
    kinds = {thing.kind for thing in world.cloud.things.values() if not thing.foreign}
    assert {"key", "script", "volume"} <= kinds


def test_a_key_of_all_machines_stays_while_one_is_created(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its intent is not stored yet when the sweep has looked, but it has begun."""
    world = World(SHAPES["verda"], front)
    world.cloud.put("key", f"lyc-{MARK}", content=world.hosts.own_key()[1])
    with world.rentals.creating(f"{MARK}-00000001"):
        world.visit(leftovers=True)
    assert [thing.kind for thing in world.cloud.things.values() if not thing.foreign] == ["key"]
    world.visit(leftovers=True)
    assert [thing for thing in world.cloud.things.values() if not thing.foreign] == []


def test_a_leftover_that_cannot_be_removed_keeps_no_other(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(SHAPES["verda"], front)
    for number in (1, 2, 3):
        world.cloud.put("script", f"lyc-{MARK}-0000000{number}", content="x")
    refused: list[str] = []

    def refuse(one: Leftover) -> None:
        if not refused:
            refused.append(one.id)
            raise Unreachable("provider-busy", "later")

    watch(world, monkeypatch, "remove", refuse)
    swept = world.visit(leftovers=True)
    assert swept.problem is not None
    assert swept.problem["ref"] == "provider-busy"
    assert [one.id for one in world.cloud.things_of("script")] == refused


def test_a_provider_that_breaks_in_its_own_way_is_told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a plugin, which may raise anything."""

    def broken(_owner: str) -> None:
        raise KeyError("instances")

    watch(world, monkeypatch, "list_owned", broken)
    swept = world.visit()
    assert swept.problem is not None
    assert swept.problem["ref"] == "internal-error"


def test_an_order_that_was_refused_and_seen_all_the_same_is_let_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some create a machine before they find that there is none, and take it back: a visit may see it meanwhile."""

    def seen(order: Order) -> None:
        world.cloud.capacity.clear()
        rental = world.store.rental(order.run_id)
        assert rental is not None
        there = replace(rental, state=RentalState.RENTED, machine="m-1", billed_from=world.clock())
        assert world.store.change_rental(there, rental)

    watch(world, monkeypatch, "create", seen)
    assert world.deploy() is not None
    assert {one.state for one in world.store.rentals()} == {RentalState.RELEASING}
    world.visit()
    assert {one.state for one in world.store.rentals()} == {RentalState.GONE}


class Rounds:
    """The thread that looks after machines, on a real clock and with short spans."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("BUSY_SECONDS", "QUIET_SECONDS", "SWEEP_SECONDS", "LEAST_SECONDS"):
            monkeypatch.setattr(module, name, 0.02)
        self.world = world

        def clock() -> float:
            world.clock.pass_(0.005)
            return world.clock()

        self.rentals = Rentals(replace(world.deps, clock=clock))

    def until(self, condition: Callable[[], bool]) -> None:
        waited = threading.Event()
        for _ in range(1000):
            if condition():
                return
            waited.wait(0.01)
        raise AssertionError("it does not come to pass")


def test_the_rounds_go_on_whatever_happens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential that cannot be read, a store that is busy, a provider that is out: none of them ends the sweep."""
    assert world.deploy() is None
    rental = only(world)
    assert world.store.change_rental(released(rental, "down", world.clock()), rental)
    rounds = Rounds(world, monkeypatch)
    trouble: list[str] = []
    sources, rentals = world.deps.accounts.sources, world.store.rentals

    def unreadable() -> dict[str, str]:
        if len(trouble) < 3:
            trouble.append("sources")
            raise Failed("credentials-unreadable", "no")
        return dict(sources())

    def busy(**options: Any) -> list[Rental]:
        if len(trouble) in (3, 4, 5):
            trouble.append("store")
            raise OSError("database is locked")
        return rentals(**options)

    monkeypatch.setattr(world.deps.accounts, "sources", unreadable)
    monkeypatch.setattr(world.store, "rentals", busy)
    world.app.faults.add(Fault("list", "status", times=6, code=503))
    rounds.rentals.start()
    try:
        rounds.until(lambda: world.cloud.alive() == [] and not rentals(open_only=True))
    finally:
        rounds.rentals.close()
    assert trouble == ["sources"] * 3 + ["store"] * 3


def test_rounds_sweep_what_is_left_behind(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks and scripts of machines that are gone cost, or litter: nobody has to ask for that."""
    world = World(SHAPES["verda"], front)
    world.cloud.put("volume", f"lyc-{MARK}-00000001", size=100)
    theirs = world.cloud.put("volume", "models", foreign=True)
    rounds = Rounds(world, monkeypatch)
    rounds.rentals.start()
    try:
        rounds.until(lambda: world.cloud.things_of("volume") == [theirs])
    finally:
        rounds.rentals.close()


def test_one_that_hangs_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers are visited side by side."""
    rounds = Rounds(world, monkeypatch)
    hung, visited, go = threading.Event(), threading.Event(), threading.Event()

    def visit(name: str, **_options: Any) -> None:
        if name == "slow":
            hung.set()
            go.wait(20)
        else:
            visited.set()

    monkeypatch.setattr(rounds.rentals, "visit", visit)
    monkeypatch.setattr(rounds.rentals, "_providers", lambda: ["slow", "swift"])
    rounds.rentals.start()
    try:
        assert hung.wait(10)
        visited.clear()
        assert visited.wait(10)
    finally:
        go.set()
        rounds.rentals.close()


def test_who_calls_often_is_not_answered_each_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lyc down` calls as long as it waits; the provider is not to be asked without a pause."""
    rounds = Rounds(world, monkeypatch)
    monkeypatch.setattr(module, "LEAST_SECONDS", 1000.0)
    visits: list[str] = []
    monkeypatch.setattr(rounds.rentals, "visit", lambda name, **_: (visits.append(name), rounds.rentals.wake()))
    rounds.rentals.start()
    try:
        rounds.until(lambda: bool(visits))
        threading.Event().wait(0.2)
        assert len(visits) == 1
        rounds.rentals.wake()
        rounds.until(lambda: len(visits) == 2)
    finally:
        rounds.rentals.close()
