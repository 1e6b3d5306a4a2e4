"""How releases sit on hosts: by their own plan where they were deployed to, by that of a placement elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable

from lyc.planning.host import held, surge_fits
from lyc.planning.host import place as place_again
from lyc.records.deployment import Release, Replica, ReplicaState
from lyc.records.placement import Placement, PlacementState
from lyc.records.plan import HostFacts, Plan
from lyc.rollout.transitions import ENDED, RUNNING
from lyc.store import Store

_THERE = frozenset(ReplicaState) - ENDED
Taken = tuple[dict[int, int], dict[int, tuple[str, ...]]]
"""As `lyc.planning.host.held` tells it."""


def placed(placements: Iterable[Placement], release: int, host: str) -> Placement | None:
    """Where a release is ready to run besides its own host."""
    return next(
        (one for one in placements if (one.release, one.host, one.state) == (release, host, PlacementState.READY)), None
    )


def homeless(store: Store, deployment: str, release: int, now: float) -> dict[str, object] | None:
    """Why no further host was found for replicas that have no room; None where none is lacking, or one is looked for:
    a search that was in vain and is not repeated when it may be is not needed any more.
    """
    mine = [one for one in store.placements.list(deployment) if one.release == release]
    failed = [one for one in mine if one.state is PlacementState.FAILED and now < (one.retry_at or 0.0)]
    looking = any(one.state is PlacementState.PREPARING for one in mine)
    return failed[-1].error if failed and not looking else None


def plan_on(release: Release, host: str, placements: Iterable[Placement]) -> Plan:
    """That of its placement there, else its own one."""
    found = None if host == release.spec.host else placed(placements, release.number, host)
    return release.plan if found is None or found.plan is None else found.plan


def carried_out(planned: Plan, replica: Replica) -> Plan:
    """The plan as one replica carries it out: with its own cards."""
    return planned if replica.devices is None else dataclasses.replace(planned, devices=replica.devices)


def cards_of(planned: Plan) -> tuple[int, ...]:
    """Indices on the host of those it uses: without names the engine takes the first ones."""
    return planned.devices if planned.devices is not None else tuple(range(planned.accelerator_count))


def plans_on(
    store: Store,
    host: str,
    *,
    of: Callable[[str], bool] = lambda _: True,
    states: Collection[ReplicaState] = RUNNING,
) -> list[tuple[Replica, Plan]]:
    """Replicas in these states on a host, of the deployments that `of` takes, each with its plan there."""
    found: list[tuple[Replica, Plan]] = []
    for name, replicas in store.replicas_by_deployment().items():
        mine = [one for one in replicas if one.host == host and one.state in states and of(name)]
        if mine:
            placements = store.placements.list(name)
            releases = {one.number: one for one in store.releases(name)}
            found += [
                (one, carried_out(plan_on(releases[one.release], host, placements), one))
                for one in mine
                if one.release in releases
            ]
    return found


def held_on(
    store: Store,
    host: str,
    *,
    of: Callable[[str], bool] = lambda _: True,
    states: Collection[ReplicaState] = RUNNING,
) -> Taken:
    """What those hold of the cards of a host."""
    return held((one.deployment, planned) for one, planned in plans_on(store, host, of=of, states=states))


def room_for(store: Store, host: str, planned: Plan, seen: tuple[HostFacts, float], most: int) -> int:
    """How many more replicas of a plan fit on a host beside all that is there or about to be; `most` at most.

    seen: facts of the host, and when it was looked at, seconds since the epoch. What replicas take that were not ready
    then is not in them yet.
    """
    facts, looked_at = seen
    if planned.devices is None:
        there = plans_on(store, host, states=_THERE)
        loading = [plan for one, plan in there if one.ready_at is None or one.ready_at > looked_at]
        if not planned.engine.on_cpu:  # the engine takes the first cards by itself, so one at a time
            return int(not loading and most > 0 and surge_fits(planned, facts))
        left, room = facts.memory_available - sum(plan.memory_bytes or 0 for plan in loading), 0
        while room < most and surge_fits(planned, dataclasses.replace(facts, memory_available=max(0, left))):
            room += 1
            left -= planned.memory_bytes or 0
        return room
    taken, _ = held_on(store, host, states=_THERE)
    for room in range(most):
        found = place_again(planned, facts, taken=taken)
        if found is None:
            return room
        for index in found:
            taken[index] = taken.get(index, 0) + (planned.memory_bytes or 1)
    return most
