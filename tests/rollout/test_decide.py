"""The decider against a world that is only arithmetic: one release after the other, deaths, silent hosts, the end."""

from __future__ import annotations

import dataclasses

import pytest

from lyc.errors import Bug
from lyc.records.deployment import ReleaseState, ReplicaState
from lyc.rollout import Signal, decide, move, summarise
from lyc.rollout.transitions import ENDED, TABLE
from tests.rollout.world import AWAY, FAILURE, POLICY, World, served


def test_a_first_release_comes_up_and_rests() -> None:
    world, _ = served()
    assert summarise(world.situation()) == "ready"
    assert len(world.running()) == 1
    assert decide(world.situation(), world.now, POLICY) == ()


def test_an_engine_that_dies_before_it_was_ever_ready_fails_the_release_at_once() -> None:
    world = World()
    number = world.release(1)
    world.settle()
    world.processes = dict.fromkeys(world.processes, "exited")
    world.settle()
    assert world.releases[number].state is ReleaseState.FAILED
    assert world.deployment
    assert world.deployment.target is None
    assert world.deployment.error == FAILURE
    assert summarise(world.situation()) == "failed"
    assert world.running() == []


def test_a_bad_second_release_leaves_the_first_serving() -> None:
    world, first = served()
    second = world.release()
    world.settle()
    assert summarise(world.situation()) == "updating"
    for key in world.running():
        if world.replicas[key[0]].release == second:
            world.processes[key] = "exited"
    world.settle()
    assert world.deployment
    assert world.deployment.target == first
    assert len(world.ready(first)) == 1
    assert summarise(world.situation()) == "ready"


def test_a_good_second_release_takes_over_when_ready_and_the_first_drains() -> None:
    world, first = served()
    world.in_flight[world.ready(first)[0].id] = 3
    second = world.release()
    world.settle()
    assert len(world.ready(first)) == 1
    world.listen()
    world.settle()
    assert len(world.ready(second)) == 1
    old = next(r for r in world.replicas.values() if r.release == first)
    assert old.state is ReplicaState.DRAINING
    world.in_flight[old.id] = 0
    world.settle()
    assert world.replicas[old.id].state is ReplicaState.STOPPED
    assert world.cut == 0
    assert len(world.running()) == 1


def test_without_room_for_two_the_old_one_ends_first() -> None:
    world, _ = served()
    world.release(surge=False)
    world.most_processes = 0
    world.settle()
    world.listen()
    world.settle()
    assert world.most_processes == 1
    assert len(world.ready(2)) == 1


def test_without_room_for_two_a_bad_release_brings_the_old_one_back() -> None:
    world, first = served()
    world.release(surge=False)
    world.settle()
    world.processes = dict.fromkeys(world.processes, "exited")
    world.settle()
    world.listen()
    world.settle()
    assert len(world.ready(first)) == 1


def test_a_crash_loop_backs_off_and_then_stops() -> None:
    world, number = served()
    pauses, died = [], world.now
    for _ in range(POLICY.crash_limit):
        world.processes = dict.fromkeys(world.processes, "exited")
        died = world.now
        while not world.running():
            world.step()
            world.now += 0.25
        pauses.append(world.now - died)
        world.step()
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 8 * POLICY.backoff_first
    world.processes = dict.fromkeys(world.processes, "exited")
    world.settle()
    assert summarise(world.situation()) == "failed"
    assert world.running() == []
    assert world.releases[number].state is ReleaseState.ACTIVE


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    world, number = served()
    world.processes = dict.fromkeys(world.processes, "exited")
    world.step()
    world.step()
    assert world.running() == []
    world.now -= 86400
    world.settle()
    assert len(world.running()) == 1
    world.listen()
    world.settle()
    in_flight = world.ready(number)[0].id
    world.in_flight[in_flight] = 1
    assert world.deployment
    world.deployment = dataclasses.replace(world.deployment, stopping=True, drain_timeout=30)
    world.settle()
    world.now -= 86400
    world.settle()
    assert len(world.running()) == 1, "but it cuts no stream"
    world.in_flight[in_flight] = 0
    world.settle()
    assert world.deployment is None


def test_down_waits_for_streams_but_not_beyond_the_deadline() -> None:
    world, number = served()
    world.in_flight[world.ready(number)[0].id] = 1
    assert world.deployment
    world.deployment = dataclasses.replace(world.deployment, stopping=True, drain_timeout=30)
    world.settle()
    assert len(world.running()) == 1
    world.now += 31
    world.settle()
    assert world.deployment is None
    assert world.running() == []


def test_a_host_that_does_not_answer_makes_a_replica_unready_and_nothing_else() -> None:
    world, number = served()
    world.away = True
    world.settle()
    (replica,) = world.replicas.values()
    assert replica.state is ReplicaState.UNREACHABLE
    assert replica.error == AWAY
    assert summarise(world.situation()) == "degraded"
    world.away = False
    world.settle()
    assert [one.id for one in world.ready(number)] == [replica.id]
    assert world.replicas[replica.id].error is None


def test_why_a_host_cannot_be_asked_is_told_as_it_is_now() -> None:
    world, _ = served()
    world.away = True
    world.settle()
    world.why = {"ref": "host-key-changed", "what": "it is another"}
    world.settle()
    (replica,) = world.replicas.values()
    assert (replica.state, replica.error, replica.ready_at) == (ReplicaState.UNREACHABLE, world.why, None)


def test_a_host_that_was_not_heard_yet_goes_on_serving() -> None:
    world, number = served()
    world.away = world.unheard = True
    world.settle()
    assert len(world.ready(number)) == 1
    world.unheard = False
    world.settle()
    assert summarise(world.situation()) == "degraded"


def test_a_host_that_was_not_heard_yet_is_not_abandoned() -> None:
    world, _ = served()
    world.away = world.unheard = True
    assert world.deployment
    world.deployment = dataclasses.replace(world.deployment, stopping=True, abandon=True)
    world.now += 60
    world.settle()
    assert world.deployment is not None
    world.unheard = False
    world.settle()
    world.now += 60  # the drain is over
    world.settle()
    assert world.deployment is None


def test_a_host_that_booted_has_to_prove_its_replica_again() -> None:
    world, number = served()
    (key,) = world.running()
    world.host_starts_again(key)
    world.settle()
    assert not world.ready(number)
    assert summarise(world.situation()) == "degraded"
    world.listen()
    world.settle()
    assert len(world.ready(number)) == 1
    assert len(world.running()) == 1


def test_a_host_that_was_installed_anew_gets_its_replica_again() -> None:
    world, number = served()
    world.away = True
    world.settle()
    world.processes.clear()
    world.away = False
    world.settle()
    world.listen()
    world.settle()
    assert len(world.ready(number)) == 1


def test_what_its_host_has_given_up_is_not_started_by_the_controller_either() -> None:
    world, _ = served()
    (key,) = world.running()
    world.processes[key] = "gave-up"
    world.settle()
    assert summarise(world.situation()) == "failed"
    assert world.running() == []


def test_down_waits_for_a_host_that_does_not_answer_unless_it_is_abandoned() -> None:
    world, _ = served()
    world.away = True
    world.settle()
    assert world.deployment
    world.deployment = dataclasses.replace(world.deployment, stopping=True)
    world.settle()
    assert world.deployment
    assert summarise(world.situation()) == "stopping"
    world.deployment = dataclasses.replace(world.deployment, abandon=True)
    world.settle()
    assert world.deployment is None


def test_the_table_knows_no_way_out_of_the_end() -> None:
    """Of what was given up only the failure is put by."""
    assert [pair for pair in TABLE if pair[0] in ENDED] == [(ReplicaState.FAILED, Signal.PUT_BY)]
    with pytest.raises(Bug):
        move(ReplicaState.STOPPED, Signal.START)
