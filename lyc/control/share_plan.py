"""A deployment on cards that others have, where all of them may be at zero: it fits as though the others gave way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lyc.control import card_room
from lyc.control.host_plans import cards_of, carried_out, plan_on
from lyc.engines.sleep import keeps
from lyc.errors import NoFit
from lyc.planning.host.cards import ALL_OF_IT
from lyc.records.deployment import DeploymentSpec, Replica, ReplicaState
from lyc.records.plan import HostFacts, Plan
from lyc.rollout.transitions import RUNNING
from lyc.scaling import bounds
from lyc.spec.scale import policy_of
from lyc.store import Store

COUNTS = (1, 2, 4, 8)
Planned = Callable[[DeploymentSpec, HostFacts, dict[int, int], dict[int, tuple[str, ...]]], Plan]
"""(spec with its cards named, facts, bytes taken by card, names by card) → plan, or NoFit."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """facts: of the host as though all that may give way had. taken: what the others keep of each card then; names: of
    all that have some of it. sharing: of those that give way.
    """

    facts: HostFacts
    taken: dict[int, int]
    names: dict[int, tuple[str, ...]]
    sharing: dict[int, tuple[str, ...]]


def by_swapping(store: Store, spec: DeploymentSpec, host: HostFacts, now: float, planned: Planned) -> Plan | None:
    """A plan on cards that others have now, which give way when it is asked for; None where there is none. On the host
    of the spec, which is the user's own.
    """
    found = store.find_deployment(spec.name)
    before = found.policy if found is not None and store.releases(spec.name) else None
    if bounds(policy_of(spec, before), now)[0] > 0:  # it would never leave them
        return None
    shared = _shared(store, spec, host, now)
    for cards in _sets(spec, shared):
        try:
            plan = planned(replace(spec, gpus=cards), shared.facts, shared.taken, shared.names)
        except NoFit:
            continue
        return replace(plan, warnings=(*plan.warnings, _told(cards, shared)))
    return None


def _shared(store: Store, spec: DeploymentSpec, host: HostFacts, now: float) -> _Shared:
    taken, free = dict[int, int](), [card.memory_free for card in host.accelerators]
    names, sharing = dict[int, tuple[str, ...]](), dict[int, tuple[str, ...]]()
    for deployment in store.deployments():
        replicas = [one for one in store.replicas(deployment.name) if one.host == spec.host and one.state in RUNNING]
        releases = {one.number: one for one in store.releases(deployment.name)}
        placements = store.placements.list(deployment.name) if replicas else []
        for one in replicas:
            release = releases.get(one.release)
            if release is None or deployment.name == spec.name:
                continue
            plan = carried_out(plan_on(release, one.host, placements), one)
            leaves = card_room.may_be_at_zero(deployment, now)
            for index in cards_of(plan) if not plan.engine.on_cpu else ():
                held, kept = plan.memory_bytes or ALL_OF_IT, _kept(one, plan)
                taken[index] = taken.get(index, 0) + (kept if leaves else held)
                names[index] = tuple(dict.fromkeys((*names.get(index, ()), deployment.name)))
                if leaves and index < len(free):
                    sharing[index] = tuple(dict.fromkeys((*sharing.get(index, ()), deployment.name)))
                    free[index] += 0 if one.state is ReplicaState.ASLEEP else held - kept
    cards = [
        replace(card, memory_free=min(card.memory_total, free[index])) for index, card in enumerate(host.accelerators)
    ]
    return _Shared(replace(host, accelerators=tuple(cards)), taken, names, sharing)


def _kept(one: Replica, plan: Plan) -> int:
    return keeps(plan) if one.sleeps else 0


def _sets(spec: DeploymentSpec, shared: _Shared) -> list[tuple[int, ...]]:
    """Sets of cards that others have and leave, the fewest first, of as many the roomiest."""
    if spec.gpus is not None:
        return [spec.gpus] if any(card in shared.sharing for card in spec.gpus) else []
    cards = shared.facts.accelerators
    found: list[tuple[int, ...]] = []
    for size in COUNTS:
        for name in dict.fromkeys(card.name for card in cards):
            alike = [index for index, card in enumerate(cards) if card.name == name]
            roomy = sorted(alike, key=lambda index: (-cards[index].memory_free, index))[:size]
            if len(roomy) == size and any(index in shared.sharing for index in roomy):
                found.append(tuple(sorted(roomy)))
    return found


def _told(cards: Sequence[int], shared: _Shared) -> str:
    names = dict.fromkeys(name for card in cards for name in shared.sharing.get(card, ()))
    which = card_room.words(cards)
    return f"it shares {which} with {', '.join(names)}: who is asked for has it, the others sleep or stop meanwhile"
