"""Asleep in place of stopped: one engine keeps its weights in the memory of the host."""

from __future__ import annotations

import dataclasses

import pytest

from lyc.records.deployment import ReleaseState, ReplicaState
from lyc.rollout import decide, preview, summarise, words
from lyc.rollout.actions import SleepEngine, StartProcess, WakeEngine
from tests.rollout.world import POLICY, World, served


def dozy(replicas: int = 1, *, surge: bool = True) -> tuple[World, int]:
    world = World()
    world.can_sleep()
    number = world.release(replicas, surge=surge)
    world.come_up()
    world.now += 3600
    assert len(world.ready(number)) == replicas
    return world, number


def slept(replicas: int = 1) -> tuple[World, int]:
    world, number = dozy(replicas)
    world.scale(0, asleep=True)
    world.settle()
    return world, number


def test_it_drains_sleeps_and_wakes_with_the_process_that_it_had() -> None:
    world, number = dozy()
    (process,) = world.running()
    world.in_flight[process[0]] = 1
    world.scale(0, asleep=True)
    world.step()
    world.step()
    assert world.states(number) == ["draining"]
    world.in_flight.clear()
    world.settle()
    assert (world.states(number), world.processes[process]) == (["asleep"], "asleep")
    assert summarise(world.situation()) == "idle"
    world.scale(1)
    world.step()
    assert world.states(number) == ["probing"]
    assert world.replicas[process[0]].woken_at == world.now
    assert summarise(world.situation()) == "waking"
    world.settle()
    assert (world.running(), world.states(number)) == ([process], ["ready"])
    assert (world.replicas[process[0]].woken_at, world.created, world.cut) == (None, 1, 0)


def test_of_several_one_sleeps_and_the_others_end() -> None:
    world, number = slept(3)
    assert sorted(world.states(number)) == ["asleep", "stopped", "stopped"]
    assert len(world.running()) == 1
    world.scale(2)
    world.come_up()
    assert sorted(world.states(number)) == ["ready", "ready", "stopped", "stopped"]


def test_it_ends_when_it_has_slept_long_enough() -> None:
    world, number = slept()
    world.scale(0)
    world.settle()
    assert (world.states(number), world.running()) == (["stopped"], [])


def test_what_was_not_started_to_sleep_ends() -> None:
    """The wish came later."""
    world, number = served()
    world.can_sleep()
    world.scale(0, asleep=True)
    world.settle()
    assert world.states(number) == ["stopped"]
    world.scale(1)
    world.come_up()
    world.scale(0, asleep=True)
    world.settle()
    assert "asleep" not in world.states(number), "and on a CPU none can"


def test_wanted_again_while_it_drains_it_stays() -> None:
    world, number = dozy()
    (process,) = world.running()
    world.in_flight[process[0]] = 1
    world.scale(0, asleep=True)
    world.step()
    assert world.states(number) == ["draining"]
    world.scale(1)
    world.settle()
    assert (world.states(number), world.created, world.cut) == (["ready"], 1, 0)


@pytest.mark.parametrize("kill_after", range(4))
@pytest.mark.parametrize("way", ["down", "up"])
def test_a_controller_that_is_killed_on_the_way(way: str, kill_after: int) -> None:
    """The store is told first: one that does not sleep yet is told again, and one that does not wake too."""
    world, number = dozy() if way == "down" else slept()
    world.scale(*(0,) if way == "down" else (1,), asleep=way == "down")
    for _ in range(3):
        world.step(kill_after)
        world.now += 1
    world.settle()
    assert world.states(number) == ["asleep" if way == "down" else "ready"]
    assert [world.processes[key] for key in world.running()] == ["asleep" if way == "down" else "listening"]


def test_one_that_dies_in_its_sleep_is_no_failure() -> None:
    world, number = slept()
    world.become("exited")
    world.settle()
    assert world.states(number) == ["stopped"]
    world.scale(1)
    world.come_up()
    assert world.states(number) == ["stopped", "ready"]
    assert [one.failures for one in world.replicas.values()] == [0, 0]


def test_its_host_has_started_it_again_so_it_is_awake_and_ends() -> None:
    world, number = slept()
    world.host_starts_again(world.running()[0])
    world.settle()
    assert (world.states(number), world.running()) == (["stopped"], [])


def test_one_that_does_not_fall_asleep_is_stopped_for_others_count_on_its_cards() -> None:
    world, number = dozy()
    (process,) = world.running()
    world.scale(0, asleep=True)
    told = 0
    for _ in range(40):
        world.now += 10
        told += any(isinstance(one, SleepEngine) for one in actions(world))
        world.step()
        if world.processes[process] == "asleep":
            world.processes[process] = "listening"
    assert told > 5
    assert (world.states(number), world.running()) == (["stopped"], [])


def test_one_that_does_not_wake_is_started_anew() -> None:
    world, number = slept()
    (process,) = world.running()
    world.scale(1)
    for _ in range(30):
        world.step()
        world.now += 10
        if world.processes[process] == "listening":
            world.processes[process] = "asleep"
    assert world.replicas[process[0]].attempts > 1
    assert world.replicas[process[0]].error == {
        "ref": "engine-sleeps", "what": "the engine was told to wake, and sleeps still", "why": "it is started anew"
    }  # fmt: skip
    world.come_up()
    assert world.states(number) == ["ready"]


def test_while_its_host_is_silent_nothing_is_known_of_it() -> None:
    world, number = slept()
    world.away = True
    world.settle()
    assert world.states(number) == ["asleep"]
    world.scale(1)
    world.settle()
    assert world.states(number) == ["asleep"]
    world.away = False
    world.settle()
    assert world.states(number) == ["ready"]


@pytest.mark.parametrize("how", ["paused", "stopping", "restart"])
def test_it_ends_with_the_wish(how: str) -> None:
    world, _ = slept()
    if how == "restart":
        world.restart()
    else:
        world.change(**{how: True})
    world.settle()
    assert world.running() == []
    assert world.cut == 0


@pytest.mark.parametrize("surge", [True, False])
def test_a_new_release_does_not_wake_what_sleeps_of_the_old_one(*, surge: bool) -> None:
    """Its cards may be those that the new one takes, so it ends."""
    world, old = slept()
    new = world.release(1, surge=surge)
    world.settle()
    assert (world.states(old), world.states(new)) == (["stopped"], ["starting"])
    world.come_up()
    assert (world.states(old), world.states(new)) == (["stopped"], ["ready"])


def test_the_old_one_serves_again_when_its_successor_fails() -> None:
    world, old = slept()
    new = world.release(1)
    world.doomed = new
    world.come_up()
    assert world.releases[new].state is ReleaseState.FAILED
    assert (world.states(old), len(world.running())) == (["stopped", "ready"], 1)


@pytest.mark.parametrize("state", ["asleep", "pending"])
def test_who_waits_for_cards_waits(state: str) -> None:
    world, number = slept() if state == "asleep" else dozy()
    if state == "asleep":
        world.scale(1)
    else:
        world.scale(2)
        world.step()
    situation = dataclasses.replace(
        world.situation(), waiting=frozenset(r.id for r in world.replicas.values() if r.state is not ReplicaState.READY)
    )
    assert decide(situation, world.now, POLICY) == ()
    assert [type(one) for one in actions(world) if isinstance(one, StartProcess | WakeEngine)]
    assert number


def test_all_of_it_can_be_foretold() -> None:
    world, _ = dozy()
    world.scale(0, asleep=True)
    told = [words(one) for one in preview(world.situation(), world.now, POLICY)]
    assert told == [
        "send r0 no new requests, and let those finish that it has",
        "r0 is to sleep",
        "let the engine of r0 sleep",
    ]
    world.settle()
    world.scale(1)
    told = [words(one) for one in preview(world.situation(), world.now, POLICY)]
    assert told == ["r0 is to wake", "wake the engine of r0", "r0 has answered: send it requests"]


def actions(world: World) -> tuple[object, ...]:
    return decide(world.situation(), world.now, POLICY)
