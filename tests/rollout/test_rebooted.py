"""Engines that end with their host, and a clock that is set: neither is a failure of anything."""

from __future__ import annotations

import dataclasses

import pytest

from lyc.records.deployment import ReleaseState, ReplicaState
from lyc.rollout import Situation, decide, shifted
from lyc.rollout.actions import MoveReplica, SettleRelease, StopProcess
from lyc.rollout.transitions import Signal
from tests.rollout.world import POLICY, World, served


def went_down(world: World) -> Situation:
    """All that ran has ended with this machine, and is seen by the first controller after."""
    world.become("exited")
    situation = world.situation()
    seen = {identity: dataclasses.replace(one, rebooted=True) for identity, one in situation.seen.items()}
    return dataclasses.replace(situation, seen=seen)


def moves(situation: Situation, now: float) -> list[MoveReplica]:
    return [one for one in decide(situation, now, POLICY) if isinstance(one, MoveReplica)]


def test_a_release_on_probation_is_not_taken_back_for_it() -> None:
    world, first = served()
    second = world.release()
    world.come_up()
    assert world.releases[first].state is ReleaseState.SUPERSEDED
    situation = went_down(world)
    actions = decide(situation, world.now, POLICY)
    assert not [one for one in actions if isinstance(one, SettleRelease)]
    for action in actions:
        world.apply(action)
    world.come_up()
    assert world.releases[second].state is ReleaseState.ACTIVE
    assert len(world.ready(second)) == 1


@pytest.mark.parametrize("loaded", [False, True])
def test_a_first_release_is_tried_again_after_it(loaded: bool) -> None:
    world = World()
    number = world.release(1)
    world.settle()
    if loaded:
        world.listen()
    (move,) = moves(went_down(world), world.now)
    assert (move.signal, move.until) == (Signal.DIED, world.now + POLICY.backoff_first)
    world.apply(move)
    world.come_up()
    assert world.releases[number].state is ReleaseState.ACTIVE


def test_a_machine_that_goes_down_again_and_again_is_not_given_up() -> None:
    world, number = served()
    for _ in range(3 * POLICY.crash_limit):
        world.now += 1
        for action in decide(went_down(world), world.now, POLICY):
            if not isinstance(action, StopProcess):
                world.apply(action)
        world.come_up()
    assert len(world.ready(number)) == 1


@pytest.mark.parametrize("leap", [-36000.0, 36000.0])
def test_a_drain_takes_as_long_as_it_would_have(leap: float) -> None:
    world, number = served()
    (replica,) = world.ready(number)
    world.in_flight[replica.id] = 1
    world.scale(0)
    world.step()
    world.now += leap
    world.replicas = {one.id: shifted(one, leap) for one in world.replicas.values()}
    assert world.deployment
    for _ in range(int(world.deployment.drain_timeout) - 1):
        world.now += 1
        world.step()
    assert world.replicas[replica.id].state is ReplicaState.DRAINING
    assert world.cut == 0
    world.now += 2
    world.settle()
    assert world.replicas[replica.id].state is ReplicaState.STOPPED


@pytest.mark.parametrize("leap", [-36000.0, 36000.0])
def test_a_pause_before_the_next_try_takes_as_long_as_it_would_have(leap: float) -> None:
    world, number = served()
    (replica,) = world.ready(number)
    world.become("exited")
    world.step()
    world.now += leap
    world.replicas = {one.id: shifted(one, leap) for one in world.replicas.values()}
    world.now += POLICY.backoff_first / 2
    world.step()
    assert world.replicas[replica.id].state is ReplicaState.BACKOFF
    world.now += POLICY.backoff_first
    world.come_up()
    assert len(world.ready(number)) == 1


def test_who_crashes_now_and_then_is_not_given_up_since_the_clock_was_set_back() -> None:
    """Ten minutes between two crashes are a clean slate, whatever the clock said at the first."""
    world, number = served()
    for _ in range(2 * POLICY.crash_limit):
        world.now -= 36000
        world.become("exited")
        world.come_up()
        world.now += 600
    assert len(world.ready(number)) == 1


def test_what_has_ended_stays_as_it_was() -> None:
    world, number = served()
    world.scale(0)
    world.settle()
    (one,) = world.replicas.values()
    assert one.state is ReplicaState.STOPPED
    assert shifted(one, 3600.0) == one
    assert world.releases[number].state is ReleaseState.ACTIVE
