"""A machine is given back while nobody asks, and rented again when somebody does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lyc.control.autoscale import Autoscaler
from lyc.control.limits import BUDGET, Limits
from lyc.control.waking import Wakes
from lyc.gateway.verdict import Asked, Hold, Refuse, judge
from lyc.records.deployment import ReleaseState, ReplicaState
from lyc.records.operation import OperationKind, OperationState
from lyc.records.rental import RentalState
from lyc.testing.clouds.faults import Fault
from tests.control.rented_world import NAME, Front, World, served
from tests.control.shapes import SHAPES

HOUR = 3600.0


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with served(tmp_path_factory.mktemp("lyceum")) as front:
        yield front


@pytest.fixture
def world(front: Front) -> World:
    found = World(SHAPES["lyceum"], front)
    assert found.deploy() is None
    found.store.set_release_state(NAME, 1, ReleaseState.ACTIVE, at=found.clock())
    return found


def away(world: World) -> bool:
    return world.again.away(world.store.deployment(NAME), world.store.releases(NAME))


def failed(world: World) -> list[str]:
    done = [one for one in world.store.operations(NAME) if one.kind is OperationKind.EXPAND]
    return [str((one.error or {}).get("ref")) for one in done if one.state is OperationState.FAILED]


def test_it_is_given_back_and_rented_again_by_the_same_wish(world: World) -> None:
    (first,) = world.store.rentals()
    assert not away(world)
    world.fall_asleep()
    assert world.cloud.alive() == []
    assert away(world)
    assert world.again.tells(world.store.deployment(NAME)) == "its machine was given back"
    assert {one.reason for one in world.store.rentals()} == {"unused"}
    world.loop()
    assert world.cloud.alive() == [], "nobody asks"
    world.ask()
    assert not away(world)
    assert world.again.tells(world.store.deployment(NAME)) == ""
    (release,) = world.store.releases(NAME)
    (new,) = world.store.rentals(open_only=True)
    assert (release.spec.host, release.state) == (new.host, ReleaseState.ACTIVE)
    assert new.run_id != first.run_id
    assert [one.host for one in world.store.replicas(NAME) if one.state is ReplicaState.READY] == [new.host]
    world.loop()
    assert world.store.rentals(open_only=True)[0].ready_at is not None
    world.rest()
    world.check()
    world.down()
    world.check_nothing_left()


def test_it_goes_on_and_on(world: World) -> None:
    for _ in range(3):
        world.fall_asleep()
        world.ask()
    assert len(world.cloud.ever) == 4
    assert len(world.cloud.alive()) == 1
    assert len(world.store.releases(NAME)) == 1
    world.down()
    world.check_nothing_left()


def test_who_asks_while_it_is_being_given_back_gets_another(world: World) -> None:
    world.cloud.linger = 6
    (first,) = world.store.rentals()
    world.store.change_deployment(NAME, world.clock(), policy=world.store.deployment(NAME).policy)
    assert world.store.change_rental(replace(first, state=RentalState.RELEASING, reason="unused"), first)
    for one in world.store.replicas(NAME):
        world.store.put_replica(replace(one, state=ReplicaState.STOPPED))
    world.ask()
    assert world.store.releases(NAME)[0].spec.host != first.host
    world.rest()
    world.check()


def test_who_asks_just_before_it_is_given_back_keeps_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The visit has found that nothing uses the machine; before it says so, a request wakes the deployment."""
    (rental,) = world.store.rentals()
    change, asked = world.store.change_rental, []

    def slow(after: object, was: object) -> bool:
        if getattr(after, "state", None) is RentalState.RELEASING and not asked:
            asked.append(True)
            world.ask()
        return change(after, was)  # type: ignore[arg-type]

    monkeypatch.setattr(world.store, "change_rental", slow)
    with pytest.raises(AssertionError, match="does not go"):
        world.fall_asleep()
    assert asked
    assert world.store.rentals(open_only=True)[0].run_id == rental.run_id
    assert len(world.cloud.ever) == 1
    assert len(world.cloud.alive()) == 1


def test_sold_out_is_tried_again_later_and_later(world: World) -> None:
    world.fall_asleep()
    fault = Fault("create", "no-capacity", times=10_000)
    world.app.faults.add(fault)
    world.ask()
    assert failed(world) == ["no-capacity"], "not at once again"
    hope = world.again.hope(NAME)
    assert (hope.error or {})["ref"] == "no-capacity"
    assert 0 < hope.until - world.clock() <= 60
    said = world.again.tells(world.store.deployment(NAME))
    assert said == "no machine (nobody has a machine now that will do), again in 60 s"
    seen = []
    for _ in range(40):
        world.clock.pass_(30)
        world.loop()
        seen.append(len(failed(world)))
    assert seen[-1] == 5, "after 60, 120, 240 and 480 s; then every 600 s"
    assert not math.isinf(world.again.hope(NAME).until)
    world.app.faults.clear()
    world.clock.pass_(600)
    world.loop()
    assert not away(world)
    world.rest()
    world.check()


def test_what_a_request_is_told(world: World) -> None:
    """Held while there is hope; refused at once, with the reason and the time of the next try, where there is none."""
    world.fall_asleep()
    wakes = Wakes(world.deps, Autoscaler(world.deps, lambda *_: None, lambda _: None))
    wakes.rent_again = world.again
    asked = Asked(NAME, 10, 0.0, 0.0)
    said = wakes.wake(NAME)
    assert said.state == "waking"
    assert isinstance(judge(said, asked, 0.0, (0, 0)), Hold)
    assert world.store.deployment(NAME).scaler.desired == 1, "it is woken"
    world.app.faults.add(Fault("create", "no-capacity", times=10_000))
    world.loop()
    told = judge(wakes.wake(NAME), asked, 0.0, (0, 0))
    assert isinstance(told, Refuse)
    assert (told.status, told.code, told.retry_after) == (503, "deployment_failed", 60)
    assert told.message.startswith("Nobody has a machine now that will do")
    world.clock.pass_(60)
    assert wakes.wake(NAME).state == "waking"
    world.app.faults.clear()
    world.loop()
    assert wakes.wake(NAME).state == "waking", "it has a machine, and no replica yet"


def test_a_machine_that_never_does_is_not_paid_for_for_ever(world: World) -> None:
    world.fall_asleep()
    world.hosts.facts = replace(world.hosts.facts, driver="470.1", cuda=(11, 4))
    before = len(world.cloud.ever)
    for _ in range(400):
        world.ask()
        world.clock.pass_(60)
        world.visit()
    assert len(world.cloud.ever) - before == 3
    assert math.isinf(world.again.hope(NAME).until)
    assert world.again.tells(world.store.deployment(NAME)).endswith("no more until lyc deploy")
    world.hosts.facts = replace(world.hosts.facts, driver="580.95.05", cuda=(13, 0))
    world.ask()
    assert away(world)
    assert world.deploy() is None, "a person has asked"
    world.rest()
    world.check()


def test_a_machine_on_which_it_never_gets_ready_is_one_in_vain(world: World) -> None:
    """Its engine loads and loads: nothing has failed, and yet each costs until `--ready-timeout`."""
    world.fall_asleep()
    before = len(world.cloud.ever)
    for _ in range(60):
        world.ask()
        for one in world.store.replicas(NAME):
            if one.state is ReplicaState.READY:
                world.store.put_replica(replace(one, state=ReplicaState.LOADING, ready_at=None))
        if world.cloud.alive():
            (rental,) = world.store.rentals(open_only=True)
            world.store.change_rental(replace(rental, ready_at=None), rental)
        world.clock.pass_(1000)
        world.visit()
        for one in world.store.replicas(NAME):
            if not world.cloud.alive():
                world.store.put_replica(replace(one, state=ReplicaState.STOPPED))
    assert len(world.cloud.ever) - before == 3
    assert (world.again.hope(NAME).error or {})["ref"] == "never-ready"


def test_nothing_is_rented_when_the_budget_is_spent(world: World) -> None:
    world.fall_asleep()
    Limits(world.deps, lambda _: None).set("0.01EUR/month", None)
    world.ask()
    assert failed(world) == ["budget-spent"]
    assert world.cloud.alive() == []
    world.store.set_meta(BUDGET, "")


def test_its_time_counts_from_the_deploy(world: World) -> None:
    """`--ttl 8h`, asleep for six of them: what is rented again ends two hours later."""
    (release,) = world.store.releases(NAME)
    (rental,) = world.store.rentals()
    spec = replace(release.spec, rent=replace(release.spec.rent, ttl=8 * HOUR))
    world.store.homes.move(replace(release, spec=spec), world.clock(), surge=False)
    limit = world.clock() + 8 * HOUR
    assert world.store.change_rental(replace(rental, time_limit=limit), rental)
    world.fall_asleep()
    world.clock.pass_(6 * HOUR)
    world.ask()
    (again,) = world.store.rentals(open_only=True)
    assert again.time_limit == limit
    world.fall_asleep()
    ended: list[str] = []
    limits = Limits(world.deps, ended.append)
    limits.enforce()
    assert ended == []
    world.clock.pass_(2 * HOUR)
    limits.enforce()
    assert ended == [NAME], "though nothing is rented for it"


def test_who_ends_it_in_the_console_finds_no_other_there(world: World) -> None:
    """Until somebody asks again."""
    (machine,) = world.cloud.alive()
    world.take(machine)
    for _ in range(5):
        world.clock.pass_(200)
        world.visit()
    for one in world.store.replicas(NAME):
        world.store.put_replica(replace(one, state=ReplicaState.STOPPED))
    for _ in range(5):
        world.loop()
    assert world.cloud.alive() == []
    assert away(world)
    world.clock.pass_(10)
    world.ask()
    assert len(world.cloud.alive()) == 1
    world.check()


def test_never_is_never(world: World) -> None:
    found = world.store.deployment(NAME)
    policy = replace(found.policy, minimum=0, idle_release=None)
    scaler = replace(found.scaler, desired=0, last_request=world.clock())
    world.store.change_deployment(NAME, world.clock(), policy=policy, scaler=scaler)
    for _ in range(10):
        world.loop()
        world.clock.pass_(24 * HOUR)
        world.visit()
    assert len(world.cloud.alive()) == 1


def test_lent_credentials_stay_while_they_may_be_needed(world: World) -> None:
    settled: list[set[str]] = []
    world.deps.accounts.settle = lambda names: settled.append(set(names))  # type: ignore[method-assign]
    world.fall_asleep()
    world.rentals._tidy()
    assert world.provider in settled[-1]
    world.down()
    world.rentals._tidy()
    assert settled[-1] == set()
