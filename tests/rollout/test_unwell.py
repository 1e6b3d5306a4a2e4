"""An engine that runs but is of no use: it accepts and never answers, or lies about its health."""

from __future__ import annotations

from lyc.records.deployment import ReleaseState, ReplicaState
from lyc.rollout import Seen, Signal, decide, summarise
from lyc.rollout.actions import MoveReplica, StopProcess
from tests.rollout.world import HUNG, POLICY, World, served


def test_one_that_hangs_is_stopped_and_started_again_after_a_pause() -> None:
    world, number = served(2)
    bad, good = (replica.id for replica in world.ready(number))
    world.fail((bad, 1), "hung")
    (move,) = decide(world.situation(), world.now, POLICY)
    assert (move.replica, move.signal, move.error) == (bad, Signal.UNWELL, HUNG)  # type: ignore[union-attr]
    world.step()
    assert world.replicas[bad].state is ReplicaState.BACKOFF
    assert decide(world.situation(), world.now + 3600, POLICY) == (StopProcess(bad, POLICY.stop_grace),), (
        "never two engines of one replica"
    )
    world.come_up()
    assert world.replicas[bad].attempts == 2
    assert {replica.id for replica in world.ready(number)} == {bad, good}
    assert len(world.running()) == 2


def test_one_that_always_hangs_is_given_up_in_the_end() -> None:
    world, number = served(2)
    bad = world.ready(number)[0].id
    world.crash_until_given_up(bad, how="hung")
    assert sorted(world.states(number)) == ["failed", "ready"]
    assert world.replicas[bad].error == HUNG
    assert len(world.running()) == 1, "what was given up does not run on"
    assert world.releases[number].state is ReleaseState.ACTIVE


def test_while_its_host_is_silent_nobody_knows_whether_it_has_ended() -> None:
    world, number = served()
    (replica,) = world.ready(number)
    world.become("hung")
    world.step()
    world.away = True
    world.now += 3600
    world.settle()
    assert world.replicas[replica.id].state is ReplicaState.BACKOFF
    assert world.replicas[replica.id].attempts == 1
    world.away = False
    world.come_up()
    assert world.replicas[replica.id].attempts == 2
    assert len(world.running()) == 1


def test_a_release_that_hangs_before_it_was_ever_ready_has_failed() -> None:
    world, first = served()
    second = world.release()
    world.settle()
    world.become("hung", second)
    world.come_up()
    assert world.releases[second].state is ReleaseState.FAILED
    assert world.releases[second].error == HUNG
    assert len(world.ready(first)) == len(world.running()) == 1


def test_one_that_hangs_and_is_not_wanted_any_more_ends() -> None:
    world, number = served()
    world.become("hung")
    world.step()
    world.scale(0)
    world.settle()
    assert (world.states(number), world.running()) == (["stopped"], [])


def test_a_long_good_time_forgets_old_failures() -> None:
    world, number = served()
    for _ in range(4 * POLICY.crash_limit):
        world.become("hung")
        world.come_up()
        world.now += POLICY.stable_after
    assert len(world.ready(number)) == 1


def test_one_that_the_store_does_not_know_to_be_unwell_waits_for_the_next_look() -> None:
    world, number = served()
    (replica,) = world.ready(number)
    situation = world.situation()
    situation.seen[replica.id] = Seen("running")
    assert not [a for a in decide(situation, world.now, POLICY) if isinstance(a, MoveReplica)]
    assert summarise(situation) == "ready"


def test_nothing_is_known_of_a_world_without_replicas() -> None:
    assert decide(World().situation(), 0.0, POLICY) == ()
