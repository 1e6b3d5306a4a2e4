"""Cards of the user's own that several deployments share: who may come now, and who gives way for it.

A replica that would start or wake waits until there is room on its cards. Whether there is, is decided for one after
the other, the one that has waited longest first: of two that look at once, both would find it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from lyc.control import card_room
from lyc.control.deps import Deps
from lyc.control.host_plans import cards_of, carried_out, plan_on
from lyc.control.idling import own
from lyc.engines.sleep import keeps
from lyc.errors import LycError
from lyc.records.deployment import Deployment, Release, ReleaseState, Replica, ReplicaState
from lyc.records.host import LOCAL
from lyc.records.plan import HostFacts, Plan
from lyc.rollout import Situation, desired
from lyc.rollout.transitions import ENDED, GOING, RUNNING
from lyc.scaling.room import Need, Resident, Step, make_room

log = logging.getLogger(__name__)

GRANTED_SECONDS = 30.0
"""So long one that may come is taken to be there, though the store does not say so yet."""
QUEUED_SECONDS = 5.0
"""One that has not asked for so long does not wait any more."""
FACTS_SECONDS = 60.0
_SERVING = RUNNING - GOING - {ReplicaState.ASLEEP}


@dataclass(frozen=True, slots=True)
class _Claim:
    """Of one replica. since, seen: on a clock that is never set; granted: since when it may come, None = not yet.
    holds: whether it keeps the cards once it has them, for its minimum is above 0: such a one comes first.
    """

    deployment: str
    host: str
    cards: tuple[int, ...]
    since: float
    seen: float
    granted: float | None = None
    holds: bool = False
    behind: tuple[str, ...] = ()


class Share:
    """For all deployments; called by the threads of all.

    quiet: whether it has been seen that nobody asks for a deployment just now. make_way: none of a deployment from now
    on, with the cause; asleep: whether one sleeps. sleeping: whether the engine of a replica of a deployment sleeps, as
    it says itself: the store says so as soon as it shall.
    """

    def __init__(
        self,
        deps: Deps,
        quiet: Callable[[str], bool],
        make_way: Callable[[str, str, bool], None],
        sleeping: Callable[[str, str], bool],
    ) -> None:
        self._deps = deps
        self._quiet = quiet
        self._make_way = make_way
        self._sleeping = sleeping
        self._lock = threading.Lock()
        self._claims: dict[str, _Claim] = {}
        self._facts: tuple[float, HostFacts] | None = None

    def waiting(self, situation: Situation) -> frozenset[str]:
        """Replicas that would start or wake, and may not yet; others are told to give way."""
        now = self._deps.clock()
        coming = {one.id: one for one in situation.replicas if _would_come(one, situation, now)}
        if not coming and not self._claims:
            return frozenset()
        with self._lock:
            mine = {one.id for one in situation.replicas}
            self._claims = {key: one for key, one in self._claims.items() if key in coming or key not in mine}
            try:
                return frozenset(one.id for one in coming.values() if not self._may(one, situation, now))
            except LycError as problem:
                log.warning("room for %s: %s", situation.deployment.name, problem)
                return frozenset()

    def why(self, name: str) -> str:
        """What a deployment waits for, in a few words; empty = nothing."""
        waits = [one for one in list(self._claims.values()) if one.deployment == name and one.granted is None]
        if not waits:
            return ""
        cards, names = waits[0].cards, waits[0].behind
        which = card_room.words(cards)
        who = f", which {', '.join(names)} {'has' if len(names) == 1 else 'have'}" if names else ""
        return f"waits for {which} of {waits[0].host}{who}"

    def _may(self, replica: Replica, situation: Situation, now: float) -> bool:
        release, store = situation.release(replica.release), self._deps.store
        if release is None or not own(store, replica.host):
            return True
        planned = carried_out(plan_on(release, replica.host, store.placements.list(replica.deployment)), replica)
        if planned.engine.on_cpu:
            return True
        steady, before = self._deps.steady(), self._claims.get(replica.id)
        if before is not None and before.granted is not None and steady - before.granted < GRANTED_SECONDS:
            return True
        since = steady if before is None or steady - before.seen > QUEUED_SECONDS else before.since
        holds = not card_room.may_be_at_zero(situation.deployment, now)
        claim = _Claim(replica.deployment, replica.host, cards_of(planned), since, steady, holds=holds)
        near = [one for one in self._residents(replica, now) if set(one[0].cards) & set(claim.cards)]
        if holds and not any(card_room.may_be_at_zero(deployment, now) for _, deployment in near):
            self._claims[replica.id] = replace(claim, granted=steady)  # nobody here ever gives way: as it always was
            return True
        residents = [one for one, _ in near]
        room = card_room.room(self._seen(replica.host))
        takes = min([card_room.takes(planned), *(room.get(card, 0) for card in claim.cards)])
        found, first = make_room(residents, Need(claim.cards, takes, room), now), self._first(replica.id, claim)
        granted = found.there and first
        self._claims[replica.id] = replace(claim, granted=steady if granted else None, behind=found.behind)
        if first and found.moves:
            by_id = {one.replica: one for one in residents}
            for identity, step in found.moves.items():
                cause = f"made room for {replica.deployment}"
                self._make_way(by_id[identity].deployment, cause, step is Step.ASLEEP)
        return granted

    def _first(self, replica: str, claim: _Claim) -> bool:
        """Whether nobody comes before it to one of its cards: who keeps them, else who has waited longest."""
        return not any(
            other.granted is None
            and (not other.holds, other.since, key) < (not claim.holds, claim.since, replica)
            and claim.seen - other.seen < QUEUED_SECONDS
            and other.host == claim.host
            and set(other.cards) & set(claim.cards)
            for key, other in self._claims.items()
            if key != replica
        )

    def _seen(self, host: str) -> HostFacts:
        """As `card_room.seen`; this machine is looked at once a minute."""
        if host != LOCAL:
            return card_room.seen(self._deps, host)
        steady, known = self._deps.steady(), self._facts
        if known is None or steady - known[0] > FACTS_SECONDS:
            known = self._facts = steady, card_room.seen(self._deps, LOCAL)
        return known[1]

    def _residents(self, replica: Replica, now: float) -> list[tuple[Resident, Deployment]]:
        """Replicas of other deployments on cards of this one's host, and those that may come any moment."""
        found, store, steady = list[tuple[Resident, Deployment]](), self._deps.store, self._deps.steady()
        for name, replicas in store.replicas_by_deployment().items():
            there = [one for one in replicas if one.host == replica.host and one.state not in ENDED]
            deployment = store.find_deployment(name) if there else None
            if name == replica.deployment or deployment is None:
                continue
            releases = {one.number: one for one in store.releases(name)}
            placements = store.placements.list(name)
            for one in there:
                release = releases.get(one.release)
                if release is None:
                    continue
                planned = carried_out(plan_on(release, one.host, placements), one)
                claim = self._claims.get(one.id)
                granted = claim is not None and claim.granted is not None and steady - claim.granted < GRANTED_SECONDS
                if not planned.engine.on_cpu and (one.state in RUNNING or granted):
                    found.append((self._resident(one, planned, deployment, release, now, granted=granted), deployment))
        return found

    def _resident(
        self, one: Replica, planned: Plan, deployment: Deployment, release: Release, now: float, *, granted: bool
    ) -> Resident:
        cards, shall = cards_of(planned), one.state is ReplicaState.ASLEEP and not granted
        asleep = shall and self._sleeping(deployment.name, one.id)
        kept = keeps(planned) if shall or (one.sleeps and self._holds_weights(one.host, planned)) else None
        wanted = release.number == deployment.target and desired(Situation(deployment, (release,), (one,))) > 0
        step = goes = Step.ASLEEP if asleep else Step.AWAKE
        if one.state in GOING or shall or (one.state in _SERVING and not wanted and not granted):
            stays = deployment.scaler.asleep or (shall and wanted)
            goes = Step.ASLEEP if kept is not None and stays and one.state is not ReplicaState.STOPPING else Step.GONE
        movable = not granted and self._movable(deployment, release, one, now, idle=asleep and not wanted)
        return Resident(
            deployment.name, one.id, cards, card_room.takes(planned), kept, step, goes, movable,
            ready_at=one.ready_at, last_request=deployment.scaler.last_request,
        )  # fmt: skip

    def _movable(self, deployment: Deployment, release: Release, one: Replica, now: float, *, idle: bool) -> bool:
        if release.state is not ReleaseState.ACTIVE or release.number != deployment.target or deployment.stopping:
            return False
        if not card_room.may_be_at_zero(deployment, now) or one.state not in (ReplicaState.READY, ReplicaState.ASLEEP):
            return False
        return idle or self._quiet(deployment.name)

    def _holds_weights(self, host: str, planned: Plan) -> bool:
        """Whether the memory of the host has room for what its cards hold of weights."""
        weights = planned.forecast.weights if planned.forecast else planned.memory_bytes
        return weights is not None and weights * planned.accelerator_count <= self._seen(host).memory_available


def _would_come(replica: Replica, situation: Situation, now: float) -> bool:
    if replica.state is ReplicaState.ASLEEP:
        return desired(situation) > 0 and replica.release == situation.deployment.target
    if replica.state is ReplicaState.BACKOFF:
        return replica.retry_at is None or now >= replica.retry_at
    return replica.state is ReplicaState.PENDING
