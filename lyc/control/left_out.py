"""Who can no longer have the cards that a deployment keeps, for its minimum is above 0."""

from __future__ import annotations

from collections.abc import Iterator

from lyc.control import card_room
from lyc.control.deps import Deps
from lyc.control.host_plans import cards_of, plan_on
from lyc.control.idling import own
from lyc.errors import LycError
from lyc.records.deployment import Deployment
from lyc.records.placement import PlacementState
from lyc.records.plan import Plan
from lyc.rollout.situation import target_of


def left_out(deps: Deps, deployment: Deployment) -> list[str]:
    """A warning for each host of the user's own where deployments whose minimum is 0 have no room beside this one."""
    now = deps.clock()
    if card_room.may_be_at_zero(deployment, now) or deployment.paused:
        return []
    mine = dict(_plans(deps, deployment))
    names: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for other in deps.store.deployments() if mine else ():
        if other.name == deployment.name or other.stopping or other.paused or not card_room.may_be_at_zero(other, now):
            continue
        for host, plan in _plans(deps, other):
            shared = tuple(sorted(set(cards_of(plan)) & set(cards_of(mine[host])))) if host in mine else ()
            if shared and not _beside(deps, host, mine[host], plan, shared):
                names.setdefault((host, shared), []).append(other.name)
    return [
        f"while its minimum is above 0 it keeps {card_room.words(cards)} of {host}: requests for {', '.join(found)}, "
        f"which {'shares' if len(found) == 1 else 'share'} it, wait there in vain"
        for (host, cards), found in names.items()
    ]


def _plans(deps: Deps, deployment: Deployment) -> Iterator[tuple[str, Plan]]:
    """Of its target on cards, by host of the user's own."""
    release = target_of(deployment, deps.store.releases(deployment.name))
    if release is None:
        return
    placements = deps.store.placements.list(deployment.name)
    mine = [one for one in placements if (one.release, one.state) == (release.number, PlacementState.READY)]
    for host in dict.fromkeys((release.spec.host, *(one.host for one in mine if one.host))):
        plan = plan_on(release, host, placements)
        if not plan.engine.on_cpu and own(deps.store, host):
            yield host, plan


def _beside(deps: Deps, host: str, mine: Plan, other: Plan, cards: tuple[int, ...]) -> bool:
    """Whether both have room on all of these. What cannot be told is no reason to warn."""
    try:
        room = card_room.room(card_room.seen(deps, host))
    except LycError:
        return True
    needed = card_room.takes(mine) + card_room.takes(other)
    return all(needed <= room[card] for card in cards if card in room)
