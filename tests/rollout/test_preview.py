"""What would be done, said before it is done: the same actions that are then carried out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lyc.records.deployment import ReleaseState
from lyc.rollout import Policy, Signal, preview, words
from lyc.rollout.actions import (
    Action,
    CreateReplica,
    MoveReplica,
    RemoveDeployment,
    Retarget,
    SettleRelease,
    StartProcess,
    StopProcess,
)
from tests.rollout.world import FAILURE, POLICY, World, served


def shape(actions: tuple[Action, ...]) -> list[str]:
    """Each in a word, without names."""
    return [
        one.signal.name if isinstance(one, MoveReplica)
        else f"{type(one).__name__} {one.state.value}" if isinstance(one, SettleRelease)
        else type(one).__name__
        for one in actions
    ]  # fmt: skip


CHANGES: dict[str, tuple[Callable[[World], object], list[str]]] = {
    "nothing": (lambda world: None, []),
    "up": (lambda world: world.scale(2), ["CreateReplica", "START", "StartProcess", "LISTENING", "PROVEN"]),
    "zero": (lambda world: world.scale(0), ["DRAIN", "STOP", "StopProcess", "GONE"]),
    "pause": (lambda world: world.change(paused=True), ["DRAIN", "STOP", "StopProcess", "GONE"]),
    "down": (
        lambda world: world.change(stopping=True),
        ["DRAIN", "STOP", "StopProcess", "GONE", "RemoveDeployment"],
    ),
    "restart": (
        lambda world: world.restart(),
        ["CreateReplica", "START", "StartProcess", "LISTENING", "PROVEN", "DRAIN", "STOP", "StopProcess", "GONE"],
    ),
    "restart in place": (
        lambda world: (world.change(surge=False), world.restart()),
        ["DRAIN", "STOP", "StopProcess", "GONE", "CreateReplica", "START", "StartProcess", "LISTENING", "PROVEN"],
    ),
    "deploy": (
        lambda world: world.release(),
        [
            "CreateReplica", "START", "StartProcess", "LISTENING", "PROVEN", "SettleRelease active",
            "SettleRelease superseded", "DRAIN", "STOP", "StopProcess", "GONE",
        ],
    ),
    "canary": (
        lambda world: world.release(canary=0.1),
        ["CreateReplica", "START", "StartProcess", "LISTENING", "PROVEN", "SettleRelease canary"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_foretold_is_what_is_done(change: str) -> None:
    world, _ = served()
    act, expected = CHANGES[change]
    act(world)
    foretold = preview(world.situation(), world.now, POLICY)
    assert shape(foretold) == expected
    done: list[str] = []
    apply = world.apply

    def written(action: Action) -> None:
        done.append(words(action))
        apply(action)

    world.apply = written  # type: ignore[method-assign]
    world.come_up()
    assert [text.replace("d-1-new1", "r1").replace("d-2-new1", "r1") for text in map(words, foretold)] == done


def test_without_a_look_at_the_world_what_the_store_says_is_believed() -> None:
    world, _ = served(2)
    world.scale(1)
    blind = world.situation()
    blind.seen.clear()
    assert shape(preview(blind, world.now, POLICY)) == ["DRAIN", "STOP", "StopProcess", "GONE"]


def test_whatever_the_time_is_it_looks_to_the_end() -> None:
    """So many seconds since the epoch, and 0.3 s, is not always 0.3 s more than before."""
    world, _ = served()
    world.scale(0)
    for thousandth in range(200):
        at = 1_800_000_000 + thousandth / 1000
        assert shape(preview(world.situation(), at, Policy(settle=0.3))) == ["DRAIN", "STOP", "StopProcess", "GONE"]


def test_looking_ahead_changes_nothing() -> None:
    world, _ = served()
    world.release()
    before = world.situation()
    preview(before, world.now, POLICY)
    assert before == world.situation()


def test_a_host_that_is_silent_is_not_waited_for() -> None:
    world, _ = served()
    world.away = True
    world.settle()
    world.change(stopping=True)
    assert shape(preview(world.situation(), world.now, POLICY)) == ["STOP"]


def test_a_back_off_is_waited_out() -> None:
    world, _ = served()
    world.become("exited")
    world.step()
    assert shape(preview(world.situation(), world.now, POLICY)) == ["RETRY", "StartProcess", "LISTENING", "PROVEN"]


def test_every_action_has_words_of_its_own() -> None:
    said = [words(MoveReplica("d-1-a", signal)) for signal in Signal]
    said += [words(SettleRelease(3, state)) for state in ReleaseState]
    others: list[Action] = [CreateReplica(3), StartProcess("d-1-a"), StopProcess("d-1-a", 0), StopProcess("d-1-a", 15)]
    others += [Retarget(2, None), Retarget(None, None), RemoveDeployment()]
    said += [words(one) for one in [*others, SettleRelease(3, ReleaseState.ACTIVE, back=True)]]
    assert len(set(said)) == len(said)
    assert words(Retarget(2, FAILURE)) == "go back to release 2 (it died)"
    assert words(StopProcess("d-1-a", 15.0)) == "stop the engine of d-1-a, within 15 s"
    assert words(SettleRelease(3, ReleaseState.CANARY)) == "release 3 gets its share of the requests"
