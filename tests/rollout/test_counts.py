"""How many replicas: up, down, to zero and back, pause."""

from __future__ import annotations

import dataclasses

import pytest

from lyc.records.deployment import ReleaseState, Replica, ReplicaState
from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.rollout import Seen, Signal, Situation, decide, desired, given_up, summarise
from lyc.rollout.actions import CreateReplica, MoveReplica
from lyc.spec.schedule import parse_schedule
from tests.rollout.world import FAILURE, POLICY, World, served

NOW = 5000.0
STATES = {
    "pending": ReplicaState.PENDING, "starting": ReplicaState.STARTING, "loading": ReplicaState.LOADING,
    "probing": ReplicaState.PROBING, "ready": ReplicaState.READY, "backoff": ReplicaState.BACKOFF,
    "lost": ReplicaState.UNREACHABLE,
}  # fmt: skip


def test_zero_drains_and_stops_and_a_wish_for_one_starts_another() -> None:
    world, number = served()
    (old,) = world.ready(number)
    world.in_flight[old.id] = 1
    world.scale(0)
    world.settle()
    assert world.replicas[old.id].state is ReplicaState.DRAINING
    assert world.running(), "the stream goes on"
    world.in_flight[old.id] = 0
    world.settle()
    assert (world.states(number), world.running()) == (["stopped"], [])
    assert summarise(world.situation()) == "idle"
    world.scale(1)
    world.step()
    assert summarise(world.situation()) == "waking"
    world.come_up()
    assert summarise(world.situation()) == "ready"
    assert world.states(number) == ["stopped", "ready"]
    assert world.cut == 0


def test_one_that_still_comes_up_is_stopped_at_zero() -> None:
    world, number = served()
    world.scale(2)
    world.settle()
    assert world.states(number) == ["ready", "starting"]
    world.scale(0)
    world.settle()
    assert (world.states(number), world.running()) == (["stopped", "stopped"], [])


def test_a_wish_while_it_drains_starts_another_beside_it_only_where_there_is_room() -> None:
    for surge, expected in ((True, ["draining", "ready"]), (False, ["draining"])):
        world, number = served(surge=surge)
        world.in_flight[world.ready(number)[0].id] = 1
        world.scale(0)
        world.settle()
        world.scale(1)
        world.settle()
        world.listen()
        world.step()
        world.step()
        assert world.states(number) == expected
        world.in_flight.clear()
        world.come_up()
        assert world.states(number) == ["stopped", "ready"]


def test_a_scaler_that_cannot_make_up_its_mind_does_not_pile_up_what_drains() -> None:
    world, number = served()
    for _ in range(8):
        for identity in [r.id for r in world.ready(number)]:
            world.in_flight[identity] = 1
        for count in (0, 1):
            world.scale(count)
            world.step()
            world.step()
        world.listen()
    assert len([state for state in world.states(number) if state != "stopped"]) <= 2


# (state, age in seconds) of each replica, wished → indices of those that go
VICTIMS = [
    ([("ready", 9), ("ready", 8), ("ready", 7)], 2, {2}),
    ([("ready", 9), ("ready", 8), ("ready", 7)], 1, {1, 2}),
    ([("starting", 9), ("ready", 8), ("ready", 7)], 2, {0}),
    ([("starting", 9), ("ready", 8), ("loading", 7)], 1, {0, 2}),
    ([("backoff", 9), ("starting", 1)], 1, {0}),
    ([("backoff", 9), ("lost", 5), ("starting", 1)], 1, {0, 2}),
    ([("lost", 9), ("ready", 1)], 1, {0}),
    ([("pending", 9), ("probing", 1)], 1, {1}),
    ([("ready", 9), ("probing", 8)], 2, set()),
    ([("ready", 9), ("probing", 8)], 0, {0, 1}),
]


@pytest.mark.parametrize(("states", "wish", "gone"), VICTIMS)
def test_who_goes_first(states: list[tuple[str, int]], wish: int, gone: set[int]) -> None:
    world, number = served()
    replicas = tuple(
        Replica(f"r{n}", "d", number, "local", STATES[state], NOW - age, NOW - age, "s", retry_at=NOW + 99)
        for n, (state, age) in enumerate(states)
    )
    seen = {r.id: Seen("running" if r.state is not ReplicaState.BACKOFF else "exited") for r in replicas}
    seen |= {r.id: Seen("unknown") for r in replicas if r.state is ReplicaState.UNREACHABLE}
    situation = Situation(world.deployment, tuple(world.releases.values()), replicas, seen, desired=wish)  # type: ignore[arg-type]
    taken = {
        int(a.replica[1:])
        for a in decide(situation, NOW, POLICY)
        if isinstance(a, MoveReplica) and a.signal in (Signal.DRAIN, Signal.STOP)
    }
    assert taken == gone


def test_the_one_that_was_just_seen_to_end_goes_before_the_one_that_serves() -> None:
    world, number = served(2)
    first, second = world.ready(number)
    world.processes[first.id, 1] = "exited"
    world.scale(1)
    world.settle()
    assert world.replicas[second.id].state is ReplicaState.READY
    assert world.replicas[first.id].state is ReplicaState.STOPPED


def test_one_bad_replica_does_not_take_the_others_down() -> None:
    world, number = served(3)
    bad = world.ready(number)[1].id
    world.crash_until_given_up(bad)
    assert sorted(world.states(number)) == ["failed", "ready", "ready"]
    assert world.releases[number].state is ReleaseState.ACTIVE
    assert summarise(world.situation()) == "degraded"
    world.scale(4)
    world.come_up()
    assert sorted(world.states(number)) == ["failed", "ready", "ready", "ready"]


def test_more_than_the_policy_ever_allows_is_not_made() -> None:
    world, _ = served()
    assert world.deployment
    policy = ScalePolicy(0, 2, schedule=(parse_schedule("Mon-Fri 07-22 Europe/Berlin max=3"),))
    wild = dataclasses.replace(world.situation(), desired=50)
    assert wild.deployment.policy.maximum == 4
    assert desired(wild) == 4
    assert desired(dataclasses.replace(wild, deployment=dataclasses.replace(world.deployment, policy=policy))) == 3
    assert desired(dataclasses.replace(wild, desired=-1)) == 0
    assert desired(dataclasses.replace(wild, desired=None)) == 1


def test_a_release_must_prove_itself_even_if_nobody_asks_for_it() -> None:
    world = World()
    number = world.release(0)
    assert decide(world.situation(), world.now, POLICY) == (CreateReplica(number),)
    world.come_up()
    assert world.releases[number].state is ReleaseState.ACTIVE
    assert (world.states(number), world.running()) == (["stopped"], [])
    assert summarise(world.situation()) == "idle"


def test_paused_nothing_runs_and_a_release_that_was_not_proven_stays_so() -> None:
    for proven in (True, False):
        world = World()
        number = world.release(2)
        world.settle()
        if proven:
            world.come_up()
        world.change(paused=True)
        world.settle()
        assert world.running() == []
        assert summarise(world.situation()) == "paused"
        assert world.releases[number].state is (ReleaseState.ACTIVE if proven else ReleaseState.PENDING)
        world.change(paused=False)
        world.come_up()
        assert len(world.ready(number)) == 2
        assert world.releases[number].state is ReleaseState.ACTIVE


def test_a_wake_whose_engine_fails_again_and_again_ends_and_is_told() -> None:
    world, _ = served()
    world.scale(0)
    world.settle()
    world.scale(1)
    world.crash_until_given_up()
    assert summarise(world.situation()) == "failed"
    begun = world.created
    world.now += 1e6
    world.settle()
    assert world.created == begun, "as long as it is wished nothing is tried again"


def test_the_next_wake_is_tried_anew_but_later_each_time_and_in_the_end_never() -> None:
    world, _ = served()
    waits = []
    for wake in range(POLICY.wake_limit):
        world.scale(0)
        world.settle()
        assert summarise(world.situation()) == "idle"
        world.scale(1)
        failed_at = max(r.updated_at for r in world.replicas.values() if wake == 0 or given_up(r))
        begun = world.created
        while world.created == begun:
            assert summarise(world.situation()) == "waking"
            world.step()
            world.now += 1
        waits.append(world.now - failed_at)
        world.crash_until_given_up()
        world.now = max(r.updated_at for r in world.replicas.values())  # at once
        assert summarise(world.situation()) == "failed"
    assert waits[1] >= POLICY.wake_pause
    assert waits[2] >= 2 * POLICY.wake_pause
    world.scale(0)
    world.settle()
    world.now += 1e6
    world.scale(1)
    begun = world.created
    world.settle()
    assert world.created == begun
    assert summarise(world.situation()) == "failed"
    assert [r.error for r in world.replicas.values() if given_up(r)] == [FAILURE] * POLICY.wake_limit


def test_a_wake_of_several_is_one_wake() -> None:
    world, _ = served(3)
    for wake in range(POLICY.wake_limit):
        world.scale(0)
        world.settle()
        world.now += 1e5
        world.scale(3)
        begun = world.created
        world.step()
        assert world.created - begun == 3, f"wake {wake}"
        world.crash_until_given_up()
    assert summarise(world.situation()) == "failed"


def test_one_that_was_to_be_tried_again_when_nobody_asked_any_more_was_not_given_up() -> None:
    world, number = served()
    world.become("exited")
    world.step()
    assert world.states(number) == ["backoff"]
    world.scale(0)
    world.settle()
    assert world.states(number) == ["stopped"]
    assert not [r for r in world.replicas.values() if given_up(r)]


def test_a_wake_that_works_forgets_those_in_vain() -> None:
    world, number = served()
    for _ in range(3 * POLICY.wake_limit):
        for fails in (True, False):
            world.scale(0)
            world.settle()
            world.now += 1e5
            world.scale(1)
            if fails:
                world.crash_until_given_up()
            else:
                world.come_up()
                assert world.ready(number)


def test_what_a_person_paused_or_restarted_is_tried_anew() -> None:
    for again in ("pause", "restart"):
        world, number = served()
        world.crash_until_given_up()
        assert world.states(number) == ["failed"]
        if again == "pause":
            world.change(paused=True)
            world.settle()
            world.change(paused=False)
        else:
            world.restart()
        world.come_up()
        assert world.states(number) == ["stopped", "ready"]


def test_a_clock_that_is_set_back_does_not_hold_a_wake_up() -> None:
    world, number = served()
    world.crash_until_given_up()
    world.scale(0)
    world.settle()
    world.scale(1)
    world.now -= 86400
    world.come_up()
    assert len(world.ready(number)) == 1


def test_without_a_word_of_the_scaler_its_last_one_holds() -> None:
    world, number = served()
    assert world.deployment
    world.change(scaler=ScalerState(3))
    assert decide(world.situation(), world.now, POLICY) == (CreateReplica(number), CreateReplica(number))
    told = dataclasses.replace(world.situation(), desired=2)
    assert decide(told, world.now, POLICY) == (CreateReplica(number),)
