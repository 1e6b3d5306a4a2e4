"""Replicas over several hosts: where they go, what a lost host means, which go first."""

from __future__ import annotations

import dataclasses

import pytest

from lyc.records.deployment import ReleaseState, ReplicaState
from lyc.rollout import decide, preview, words
from lyc.rollout.actions import CreateReplica, Expand, StartProcess
from lyc.rollout.situation import Place
from lyc.rollout.spread import choose
from tests.rollout.hosts_world import HOME, HostsWorld, several
from tests.rollout.world import POLICY


def test_where_the_next_one_goes() -> None:
    a, b = Place(1, "a", 2), Place(1, "b", 2)
    assert choose((a, b), {}, 2, home="a") == ["a", "b"]
    assert choose((a, b), {"a": 1}, 1, home="a") == ["b"], "the loss of one host must not be the loss of all"
    assert choose((a, b), {"a": 1, "b": 1}, 2, home="b") == ["b", "a"]
    cheap, dear = dataclasses.replace(a, cost=1.0), dataclasses.replace(b, cost=2.0)
    assert choose((cheap, dear), {"a": 1, "b": 1}, 2, home="b") == ["a", "a"]
    bare = dataclasses.replace(a, holds=False)
    assert choose((bare, dear), {}, 1, home="a") == ["b"], "before the price: who holds the weights is there first"
    roomy = dataclasses.replace(b, room=8)
    assert choose((a, roomy, Place(1, "c", 1)), {}, 1, home="x") == ["b"]
    assert choose((a, b), {}, 9, home="a") == ["a", "b", "a", "b"], "never more than there is room"
    assert choose((), {}, 1, home="a") == []


def test_replicas_are_spread_over_hosts() -> None:
    world, number = several(4, {HOME: 4, "b": 2, "c": 1})
    assert world.on(number) == {"b": 1, "c": 1, HOME: 2}
    world.scale(5)
    world.come_up()
    assert world.on(number) == {"b": 1, "c": 1, HOME: 2}, "the policy's maximum holds"


def test_fewer_leave_the_rented_machine_first() -> None:
    world, number = several(4, {HOME: 2, "r1": 2, "r2": 2}, {"r1": 3.0, "r2": 3.0})
    assert world.on(number) == {HOME: 2, "r1": 1, "r2": 1} or world.on(number) == {HOME: 1, "r1": 2, "r2": 1}
    world.scale(2)
    world.come_up()
    assert world.on(number) == {HOME: 2} or world.on(number) == {HOME: 1, "r1": 1}
    world.scale(1)
    world.come_up()
    assert world.on(number) == {HOME: 1}


def test_of_machines_that_cost_nothing_the_fullest_one_gives() -> None:
    world, number = several(4, {HOME: 2, "b": 2})
    world.scale(2)
    world.come_up()
    assert world.on(number) == {HOME: 1, "b": 1}


def test_without_room_one_more_host_is_looked_for_once() -> None:
    world = HostsWorld({HOME: 1, "b": 2})
    number = world.release(1)
    world.come_up()
    world.scale(3)
    actions = decide(world.situation(), world.now, POLICY)
    assert actions == (Expand(number, 2),)
    assert "one more host" in words(actions[0])
    world.settle()
    assert world.searches == 1, "while it is looked for, nothing else is done"
    world.found("b")
    world.come_up()
    assert world.on(number) == {HOME: 1, "b": 2}


def test_what_is_all_on_one_host_is_spread_as_soon_as_there_is_another() -> None:
    world = HostsWorld({HOME: 4, "b": 2})
    number = world.release(2)
    world.come_up()
    assert world.on(number) == {HOME: 2}, "nobody waits for the other host"
    assert world.looking_for == number, "but it is looked for"
    world.found("b")
    least = 2
    for _ in range(12):
        world.step()
        world.listen()
        world.now += 0.2
        least = min(least, len(world.ready(number)))
    world.come_up()
    assert (world.on(number), least) == ({HOME: 1, "b": 1}, 2)
    assert world.created == 3


def test_nothing_is_rented_to_be_apart() -> None:
    world = HostsWorld({HOME: 4, "r": 2}, {"r": 2.0})
    number = world.release(2)
    world.everywhere(number)
    world.replicas.clear()
    world.ready_on.clear()
    world.come_up()
    before = dataclasses.replace(world.situation(), expansion="rented")
    assert decide(before, world.now, POLICY) == ()
    world.everywhere(number)
    world.come_up()
    assert world.on(number) == {HOME: 2}, "nor is a machine kept for it that costs"


def test_for_what_is_lost_no_machine_is_rented() -> None:
    world, number = several(2, {HOME: 1, "b": 1})
    world.silent["b"] = world.now - 60
    world.settle()
    there = dataclasses.replace(world.situation(), expansion="rented")
    assert decide(there, world.now, POLICY) == ()
    world.capacity["c"] = 1
    world.allowed.add("c")
    assert decide(world.situation(), world.now, POLICY) == (Expand(number, 1),), "one that is known is another matter"


def test_a_search_in_vain_leaves_what_there_is() -> None:
    world = HostsWorld({HOME: 1, "b": 1})
    number = world.release(2)
    world.come_up()
    world.found(None)
    world.come_up()
    assert world.on(number) == {HOME: 1}
    assert world.releases[number].state is ReleaseState.ACTIVE, "it serves with what it has"
    world.in_vain = False
    world.settle()
    world.found("b")
    world.come_up()
    assert world.on(number) == {HOME: 1, "b": 1}


def test_another_host_takes_over_from_one_that_is_lost_and_gives_way_to_nobody() -> None:
    world, number = several(2, {HOME: 1, "b": 1, "c": 2})
    lost = next(iter({"b", "c"} & set(world.on(number))), "")
    world.silent[lost] = world.now
    world.settle()
    assert world.states(number).count("unreachable") == 1
    assert len(world.states(number)) == 2, "it may be back in a moment"
    world.now += 31
    world.come_up()
    assert len(world.ready(number)) == 2
    assert lost not in world.on(number)
    del world.silent[lost]
    world.come_up()
    assert (len(world.ready(number)), len(world.running())) == (2, 2)


def test_one_that_is_lost_stays_while_nothing_can_take_over() -> None:
    world, number = several(2, {HOME: 1, "b": 1})
    before = {one.id for one in world.ready(number)}
    world.silent["b"] = world.now - 60
    world.come_up()
    assert sorted(world.states(number)) == ["ready", "unreachable"]
    del world.silent["b"]
    world.come_up()
    assert {one.id for one in world.ready(number)} == before


def test_a_host_that_is_lost_while_it_loads() -> None:
    world, number = several(1, {HOME: 1, "b": 1, "c": 1})
    world.scale(2)
    world.settle()
    (second,) = (one for one in world.replicas.values() if one.host != HOME)
    assert second.state is ReplicaState.STARTING
    world.silent[second.host] = world.now - 60
    world.come_up()
    assert len(world.ready(number)) == 2
    assert second.host not in world.on(number)


def test_an_engine_that_was_given_up_is_tried_on_other_hosts_and_on_no_new_one() -> None:
    world, number = several(2, {HOME: 1, "b": 1, "c": 1})
    world.capacity["d"] = 1
    world.allowed.add("d")
    (second,) = (one for one in world.ready(number) if one.host != HOME)
    world.crash_until_given_up(second.id)
    world.come_up()
    assert world.states(number).count("failed") == 1
    assert set(world.on(number)) == {HOME, "b", "c"} - {second.host}
    (third,) = (one for one in world.ready(number) if one.host != HOME)
    world.crash_until_given_up(third.id)
    world.come_up()
    assert world.on(number) == {HOME: 1}, "one bad replica after another never takes the service down"
    assert world.searches == 0, "nothing is rented for what only fails"


def test_a_host_that_the_policy_names_no_more_is_left_when_others_serve() -> None:
    world, number = several(2, {HOME: 2, "b": 1})
    assert world.on(number) == {HOME: 1, "b": 1}
    world.allowed.clear()
    world.come_up()
    assert world.on(number) == {HOME: 2}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_an_update_goes_over_all_hosts_where_there_is_no_room_for_both(count: int) -> None:
    """Room for one more at home, so that the first of the new ones starts beside the old ones."""
    hosts = {HOME: 2} | {f"h{n}": 1 for n in range(count - 1)}
    world, _first = several(count, hosts)
    second = world.release()
    least = count
    for _ in range(60):
        world.settle()
        if world.looking_for is not None:
            world.found(next(iter(world.candidates(second)), None))
        world.listen()
        world.settle()
        serving = [r for r in world.replicas.values() if r.state is ReplicaState.READY]
        least = min(least, len(serving))
    assert world.releases[second].state is ReleaseState.ACTIVE
    assert (len(world.ready(second)), len(world.running())) == (count, count)
    assert least >= max(1, count - 1), "one less than wished, at most"


def test_a_restart_without_room_for_one_more_is_done_in_place_one_by_one() -> None:
    world, number = several(2, {HOME: 1, "b": 1})
    before = {one.id for one in world.ready(number)}
    world.restart()
    world.now += 1
    world.come_up()
    after = {one.id for one in world.ready(number)}
    assert len(after) == 2
    assert not before & after


def test_a_first_release_does_not_fail_with_one_bad_replica_of_two() -> None:
    world = HostsWorld({HOME: 1, "b": 1})
    number = world.release(2)
    world.everywhere(number)
    world.settle()
    bad = next(one for one in world.running() if world.replicas[one[0]].host == HOME)
    world.fail(bad, "exited")
    world.come_up()
    assert world.releases[number].state is ReleaseState.ACTIVE
    assert world.on(number) == {"b": 1}
    world, number = HostsWorld({HOME: 1, "b": 1}), 1
    world.release(2)
    world.everywhere(number)
    world.settle()
    world.become("exited")
    world.come_up()
    assert world.releases[number].state is ReleaseState.FAILED, "nor does it go on without any"


def test_the_first_one_starts_at_home_whatever_is_counted() -> None:
    world = HostsWorld({HOME: 0, "b": 1})
    number = world.release(1)
    assert decide(world.situation(), world.now, POLICY) == (CreateReplica(number, HOME),)


def test_what_would_be_done_names_the_hosts() -> None:
    world, number = several(1, {HOME: 1, "b": 1})
    world.scale(3)
    foretold = preview(world.situation(), world.now, POLICY)
    assert foretold[0] == CreateReplica(number, "b")
    assert words(foretold[0]) == "add a replica of release 1 on b"
    assert sum(isinstance(one, StartProcess) for one in foretold) == 1
    world.capacity["c"] = 1
    world.allowed.add("c")
    assert [one for one in preview(world.situation(), world.now, POLICY) if isinstance(one, Expand)] == [Expand(1, 1)]
