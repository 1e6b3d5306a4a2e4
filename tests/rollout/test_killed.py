"""The controller is killed after every single action of every change, and another one goes on: the same end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lyc.rollout import summarise
from lyc.rollout.actions import Action
from tests.rollout.world import World, served


class Killed(Exception):
    pass


def updated() -> World:
    world, _ = served(2)
    world.release()
    world.come_up()
    return world


def dies_in_bake(world: World) -> None:
    world.become("exited")


def fails(world: World, *, surge: bool) -> None:
    world.release(surge=surge)
    world.doomed = len(world.releases)


CHANGES: dict[str, Callable[[World], object]] = {
    "up": lambda world: world.scale(4),
    "down": lambda world: world.scale(1),
    "zero": lambda world: world.scale(0),
    "pause": lambda world: world.change(paused=True),
    "restart": lambda world: world.restart(),
    "restart in place": lambda world: (world.change(surge=False), world.restart()),
    "deploy": lambda world: world.release(),
    "deploy in place": lambda world: world.release(surge=False),
    "deploy that fails": lambda world: fails(world, surge=True),
    "deploy in place that fails": lambda world: fails(world, surge=False),
    "canary": lambda world: world.release(canary=0.5),
    "rollback": lambda world: world.roll_back(1),
    "dies within its bake time": dies_in_bake,
    "hangs": lambda world: (world.change(bake=0), world.become("hung")),
    "take down": lambda world: world.change(stopping=True),
}


def carried_out(change: str, kill_at: int | None) -> tuple[tuple[object, ...], int]:
    """(what is in the end, how many actions it took), with one kill just before the action of that number."""
    world = updated()
    CHANGES[change](world)
    count, apply = 0, world.apply

    def counted(action: Action) -> None:
        nonlocal count
        count += 1
        if count - 1 == kill_at:
            raise Killed
        apply(action)

    world.apply = counted  # type: ignore[method-assign]
    idle = 0
    while idle < 10:  # seconds: longer than any pause after a single death
        try:
            acted = world.step()
        except Killed:
            continue
        world.listen()
        idle = 0 if acted else idle + 1
        world.now += 0 if acted else 1
    assert count < 200
    if world.deployment is None:
        return (None, len(world.running())), count
    ready = {number: len(world.ready(number)) for number in world.releases}
    states = {number: one.state for number, one in world.releases.items()}
    return (
        world.deployment.target,
        states,
        ready,
        len(world.running()),
        world.cut,
        summarise(world.situation()),
    ), count


@pytest.mark.parametrize("change", CHANGES)
def test_whenever_it_is_killed_the_end_is_the_same(change: str) -> None:
    expected, count = carried_out(change, None)
    assert count
    for kill_at in range(count):
        assert carried_out(change, kill_at)[0] == expected, f"killed before action {kill_at}"
