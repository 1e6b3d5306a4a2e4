"""One release after another: canary, bake, way back, restart."""

from __future__ import annotations

import dataclasses

import pytest

from lyc.records.deployment import ReleaseState, ReplicaState
from lyc.rollout import decide, split, summarise
from lyc.rollout.actions import CreateReplica, MoveReplica, Retarget, SettleRelease
from tests.rollout.world import FAILURE, POLICY, World, served

ACTIVE, CANARY, FAILED, PENDING, SUPERSEDED = (
    ReleaseState.ACTIVE, ReleaseState.CANARY, ReleaseState.FAILED, ReleaseState.PENDING, ReleaseState.SUPERSEDED,
)  # fmt: skip


def updated(count: int = 1, *, surge: bool = True) -> tuple[World, int, int]:
    """A second release has just become active."""
    world, first = served(count, surge=surge)
    second = world.release(surge=surge)
    world.come_up()
    assert (world.releases[first].state, world.releases[second].state) == (SUPERSEDED, ACTIVE)
    world.releases[second] = dataclasses.replace(world.releases[second], active_at=world.now)
    return world, first, second


def share(world: World, number: int) -> float:
    weights = split(world.situation())
    mine = sum(weight for identity, weight in weights.items() if world.replicas[identity].release == number)
    return mine / sum(weights.values())


# Canary


@pytest.mark.parametrize(
    ("count", "part", "expected"), [(1, 0.1, 1), (4, 0.1, 1), (4, 0.3, 2), (4, 0.5, 2), (2, 0.9, 2)]
)
def test_a_canary_gets_its_share_until_it_is_promoted(count: int, part: float, expected: int) -> None:
    world, first = served(count)
    second = world.release(canary=part)
    world.settle()
    assert summarise(world.situation()) == "updating"
    assert share(world, first) == 1
    world.come_up()
    assert world.releases[second].state is CANARY
    assert (len(world.ready(first)), len(world.ready(second))) == (count, expected)
    assert summarise(world.situation()) == "canary"
    assert share(world, second) == pytest.approx(part, abs=0.01)
    world.change(canary=None)
    world.come_up()
    assert world.releases[second].state is ACTIVE
    assert (len(world.ready(first)), len(world.ready(second))) == (0, count)
    assert len(world.running()) == count
    assert summarise(world.situation()) == "ready"


def test_a_larger_share_takes_more_replicas() -> None:
    world, first = served(4)
    second = world.release(canary=0.1)
    world.come_up()
    world.change(canary=0.75)
    world.come_up()
    assert (len(world.ready(first)), len(world.ready(second))) == (4, 3)
    assert share(world, second) == pytest.approx(0.75, abs=0.01)


def test_a_canary_that_fails_goes_by_itself_and_the_old_one_is_never_touched() -> None:
    for at in ("before", "after"):
        world, first = served(2)
        before = {replica.id: replica for replica in world.ready(first)}
        second = world.release(canary=0.5)
        if at == "after":
            world.come_up()
            assert world.releases[second].state is CANARY
        world.settle()
        world.become("exited", second)
        world.come_up()
        assert world.releases[second].state is FAILED
        assert world.deployment
        assert (world.deployment.target, world.deployment.error) == (first, FAILURE)
        assert {replica.id: replica for replica in world.ready(first)} == before
        assert len(world.running()) == 2


def test_what_has_no_room_beside_another_is_no_canary() -> None:
    world, _first = served(surge=False)
    second = world.release(surge=False, canary=0.1)
    world.come_up()
    assert world.releases[second].state is ACTIVE


def test_a_first_release_is_no_canary() -> None:
    world = World()
    number = world.release(1, canary=0.1)
    world.come_up()
    assert world.releases[number].state is ACTIVE


def test_a_canary_sleeps_and_wakes_with_the_release_beside_it() -> None:
    world, first = served(2)
    second = world.release(canary=0.5)
    world.come_up()
    for zero in ({"paused": True}, {"desired": 0}):
        world.change(paused="paused" in zero)
        world.scale(0 if "desired" in zero else 2)
        world.settle()
        assert world.running() == []
        assert summarise(world.situation()) == ("paused" if "paused" in zero else "idle")
        world.change(paused=False)
        world.scale(2)
        world.come_up()
        assert (len(world.ready(first)), len(world.ready(second))) == (2, 1)
        assert world.releases[second].state is CANARY


def test_the_way_back_from_a_canary_is_a_step() -> None:
    world, first = served()
    second = world.release(canary=0.1)
    world.come_up()
    world.roll_back(first)
    world.come_up()
    assert (len(world.ready(first)), len(world.ready(second)), len(world.running())) == (1, 0, 1)
    assert world.releases[second].state is SUPERSEDED


def test_the_rest_serves_all_while_the_canary_does_not() -> None:
    world, first = served(2)
    second = world.release(canary=0.5)
    world.come_up()
    for replica in world.ready(first):
        world.replicas[replica.id] = dataclasses.replace(replica, state=ReplicaState.UNREACHABLE)
    assert set(split(world.situation())) == {replica.id for replica in world.ready(second)}


# Bake


def test_a_release_whose_engine_dies_within_its_bake_time_gives_way_to_the_one_before() -> None:
    for surge in (True, False):
        world, first, second = updated(surge=surge)
        world.now += 12
        world.become("exited")
        world.step()
        assert world.deployment
        assert world.deployment.target == first
        error = world.deployment.error
        assert error is not None
        assert error["ref"] == FAILURE["ref"]
        assert "it was bad; release 2 had served for 12 s, less than its bake time of 60 s" in str(error["why"])
        assert world.releases[second].error == error
        world.come_up()
        assert (world.releases[first].state, world.releases[second].state) == (ACTIVE, FAILED)
        assert (len(world.ready(first)), len(world.running())) == (1, 1)
        assert world.deployment
        assert world.deployment.error == error, "why is told until something else happens"


def test_what_is_back_is_not_on_probation_again() -> None:
    """Else a host that kills whatever runs on it would fail one release after the other."""
    world, first, second = updated()
    since = world.releases[second].active_at
    world.now += 3600
    third = world.release()
    world.come_up()
    world.become("exited")
    world.come_up()
    assert world.releases[second].active_at == since
    for _ in range(3):
        world.become("exited")
        world.come_up()
    assert [world.releases[n].state for n in (first, second, third)] == [SUPERSEDED, ACTIVE, FAILED]
    assert len(world.ready(second)) == 1


def test_what_is_back_after_a_kill_is_tried_again_as_what_has_served_is() -> None:
    world, _first, second = updated()
    world.now += 3600
    third = world.release()
    world.come_up()
    world.become("exited")
    world.step(1)
    assert world.releases[third].state is FAILED
    world.settle()
    assert world.releases[second].state is ACTIVE
    world.become("exited")
    world.come_up()
    assert world.releases[second].state is ACTIVE
    assert len(world.ready(second)) == 1


def test_after_its_bake_time_a_release_is_tried_again_instead() -> None:
    for bake in (60.0, 0.0):
        world, _first, second = updated()
        world.change(bake=bake)
        world.now += bake
        world.become("exited")
        world.come_up()
        assert world.releases[second].state is ACTIVE
        assert len(world.ready(second)) == 1


def test_a_first_release_has_nothing_to_go_back_to() -> None:
    world = World()
    number = world.release(1)
    world.come_up()
    world.become("exited")
    world.come_up()
    assert world.releases[number].state is ACTIVE
    assert len(world.ready(number)) == 1


def test_within_the_bake_time_one_bad_replica_of_several_is_tried_again() -> None:
    world, _first, second = updated(2)
    bad = world.ready(second)[0].id
    world.fail((bad, 1), "exited")
    world.come_up()
    assert world.releases[second].state is ACTIVE
    assert len(world.ready(second)) == 2


@pytest.mark.parametrize("how", ["hung", "exited", "gave-up"])
def test_however_the_last_one_fails_within_the_bake_time(how: str) -> None:
    world, first, second = updated(2)
    world.become(how)
    world.come_up()
    assert world.releases[second].state is FAILED
    assert (len(world.ready(first)), len(world.running())) == (2, 2)


def test_every_step_of_a_revert_may_be_cut_off() -> None:
    for cut in range(4):
        world, first, second = updated()
        world.become("exited")
        world.step(cut)
        world.now += 3600 if cut else 0
        world.come_up()
        assert world.deployment
        assert (world.deployment.target, world.releases[second].state) == (first, FAILED), cut
        assert world.releases[first].state is ACTIVE
        assert (len(world.ready(first)), len(world.running())) == (1, 1)


@pytest.mark.parametrize("dies", [False, True])
def test_one_that_goes_to_sleep_within_its_bake_time_has_not_failed(dies: bool) -> None:
    world, _, second = updated()
    world.scale(0)
    if dies:
        world.become("exited")
    world.settle()
    assert world.releases[second].state is ACTIVE
    assert summarise(world.situation()) == "idle"


# The way back, and restarts


def test_the_way_back_is_a_rollout_like_any_other() -> None:
    world, first, second = updated(2)
    world.roll_back(first)
    world.settle()
    assert summarise(world.situation()) == "updating"
    assert len(world.ready(second)) == 2
    world.come_up()
    assert (world.releases[first].state, world.releases[second].state) == (ACTIVE, SUPERSEDED)
    assert (len(world.ready(first)), len(world.running())) == (2, 2)


def test_a_way_back_that_fails_ends_where_it_began() -> None:
    for surge in (True, False):
        world, first, second = updated(surge=surge)
        world.roll_back(first)
        world.settle()
        world.become("exited", first)
        world.come_up()
        assert (world.releases[first].state, world.releases[second].state) == (FAILED, ACTIVE)
        assert (len(world.ready(second)), len(world.running())) == (1, 1)


def test_what_a_release_failed_with_before_does_not_count_when_it_is_the_target_again() -> None:
    world, first, second = updated()
    identity = f"r{world.created}"
    world.replicas[identity] = dataclasses.replace(
        world.ready(second)[0], id=identity, release=first, state=ReplicaState.FAILED, error=FAILURE
    )
    world.step()
    world.releases[first] = dataclasses.replace(world.releases[first], state=PENDING)
    world.change(target=first)
    world.come_up()
    assert world.releases[first].state is ACTIVE


def test_a_release_that_has_failed_never_stays_the_target() -> None:
    """A kill between the two steps, or a controller of before that was killed there."""
    world, first = served()
    second = world.release()
    world.releases[second] = dataclasses.replace(world.releases[second], state=FAILED, error=FAILURE)
    assert decide(world.situation(), world.now, POLICY) == (Retarget(first, FAILURE),)


def test_two_active_releases_are_one_too_many() -> None:
    world, first, second = updated()
    world.releases[first] = dataclasses.replace(world.releases[first], state=ACTIVE)
    assert decide(world.situation(), world.now, POLICY) == (SettleRelease(first, SUPERSEDED),)
    assert world.deployment
    assert world.deployment.target == second


def test_an_update_while_it_scales_up_keeps_what_serves() -> None:
    world, first = served()
    world.scale(3)
    world.settle()
    second = world.release()
    world.settle()
    assert len(world.ready(first)) == 1
    world.come_up()
    assert (len(world.ready(second)), len(world.running())) == (3, 3)


def test_as_many_as_served_before_take_over_and_the_rest_follows() -> None:
    world, first = served()
    second = world.release()
    world.scale(3)
    world.settle()
    (one, *_) = world.running(second)
    world.processes[one] = "listening"
    world.settle()
    assert world.releases[second].state is ACTIVE
    assert (len(world.ready(first)), len(world.ready(second))) == (0, 1)
    world.come_up()
    assert len(world.ready(second)) == 3


def test_the_old_ones_wait_for_as_many_as_they_are() -> None:
    world, first = served(3)
    second = world.release()
    world.settle()
    one, two, three = world.running(second)
    world.processes[one] = world.processes[two] = "listening"
    world.settle()
    assert (len(world.ready(first)), len(world.ready(second))) == (3, 2)
    world.processes[three] = "listening"
    world.settle()
    assert (len(world.ready(first)), len(world.ready(second))) == (0, 3)


def test_a_second_update_while_the_first_is_under_way() -> None:
    world, first = served()
    second = world.release()
    world.settle()
    third = world.release()
    world.settle()
    assert len(world.ready(first)) == 1
    world.come_up()
    assert [world.releases[n].state for n in (first, second, third)] == [SUPERSEDED, SUPERSEDED, ACTIVE]
    assert len(world.running()) == 1


def test_a_restart_replaces_one_after_the_other() -> None:
    world, number = served(3)
    old = {replica.id for replica in world.ready(number)}
    world.restart()
    fewest, most = 3, 0
    for _ in range(60):
        world.step()
        world.listen()
        world.now += 0.3
        fewest = min(fewest, len(world.ready(number)))
        most = max(most, len(world.running()))
    assert (fewest, most) == (3, 5)  # one more comes, and one drains
    assert len(world.ready(number)) == 3
    assert not old & {replica.id for replica in world.ready(number)}
    assert world.releases[number].state is ACTIVE


def test_a_restart_without_room_takes_one_at_a_time() -> None:
    for count in (1, 3):
        world, number = served(count, surge=False)
        old = {replica.id for replica in world.ready(number)}
        world.restart()
        fewest, most = count, 0
        for _ in range(60):
            world.step()
            world.listen()
            world.now += 0.3
            fewest = min(fewest, len(world.ready(number)))
            most = max(most, len(world.running()))
        assert (fewest, most) == (count - 1, count)
        assert len(world.ready(number)) == count
        assert not old & {replica.id for replica in world.ready(number)}


def test_a_restart_whose_first_replica_fails_goes_no_further() -> None:
    for surge in (True, False):
        world, number = served(3, surge=surge)
        world.restart()
        begun = world.created
        for _ in range(POLICY.crash_limit + 3):
            world.settle()
            for key in world.running():
                if int(key[0][1:]) >= begun:
                    world.fail(key, "exited")
            world.now += POLICY.backoff_longest
        world.settle()
        assert world.created == begun + 1
        assert len(world.ready(number)) == (3 if surge else 2)


def test_a_restart_that_was_asked_for_before_the_clock_was_set_back_waits() -> None:
    world, number = served()
    world.restart()
    world.now -= 3600
    assert decide(world.situation(), world.now, POLICY) == ()
    world.now += 3600
    assert decide(world.situation(), world.now, POLICY) == (CreateReplica(number),)


def test_nothing_is_done_with_a_replica_on_its_way_out_of_a_release_that_serves() -> None:
    world, _first, second = updated()
    world.in_flight[world.ready(second)[0].id] = 2
    third = world.release()
    world.come_up()
    assert world.states(second) == ["draining"]
    assert not [a for a in decide(world.situation(), world.now, POLICY) if isinstance(a, MoveReplica)]
    assert world.releases[third].state is ACTIVE
