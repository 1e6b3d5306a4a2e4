"""Where replicas of a deployment may be, and what room there is: what its loop has to know of several hosts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from lyc.control.deps import Deps
from lyc.control.host_plans import placed, plan_on, room_for
from lyc.errors import LycError
from lyc.planning.catalogue import prices
from lyc.planning.host import host_facts
from lyc.records.deployment import Deployment, Release
from lyc.records.host import ANY, LOCAL, RENT, KnownHost
from lyc.records.operation import OperationKind
from lyc.records.placement import Placement, PlacementState
from lyc.records.plan import HostFacts
from lyc.rollout import Situation
from lyc.rollout.keep import crowded, shortfall
from lyc.rollout.situation import Place
from lyc.rollout.transitions import ENDED

log = logging.getLogger(__name__)

LOST_SECONDS = 30.0
"""A host that is silent for so long is not waited for, where another one can take over: a boot takes longer, a network
that hiccups does not."""
FRESH_SECONDS = 30.0
CROWDED_SECONDS = 600.0
"""So long it is believed that a host is full: while replicas are lacking, and while they could only be more apart."""
LOCAL_SECONDS = 5.0
"""So long a look at this machine lasts: it asks the cards, too."""


def may_be(deployment: Deployment, release: Release, host: KnownHost | None, name: str) -> bool:
    """Whether replicas of a release may be on a host. host: what is known of it, None = nothing, or this machine."""
    wished = deployment.policy.hosts
    if name == release.spec.host or name in wished:
        return True
    return host is not None and ((ANY in wished and host.host.own) or (RENT in wished and not host.host.own))


class Places:
    """Of one deployment; used by one thread. looked: is called when a look at a host has ended."""

    def __init__(self, deps: Deps, name: str, looked: Callable[[], None]) -> None:
        self._deps = deps
        self._name = name
        self._looked = looked
        self._silent: dict[str, float] = {}
        self._looks: dict[str, threading.Thread] = {}
        self._believed = FRESH_SECONDS
        self._local: tuple[float, HostFacts, float] | None = None

    def complete(self, situation: Situation) -> Situation:
        """The situation with what several hosts mean for it. As it is where there is but one."""
        placements = self._deps.store.placements.list(self._name)
        elsewhere = any(self._away(situation, one.release, one.host) for one in situation.replicas)
        if not situation.deployment.policy.hosts and not placements and not elsewhere:
            return situation
        known = {one.host.name: one for one in self._deps.store.hosts()}
        places = self._places(situation, placements, known)
        situation = replace(situation, places=places, lost=self._lost(situation))
        short = shortfall(situation, self._deps.clock())
        together = {one.number for one in situation.releases if crowded(situation, one.number) is not None}
        self._believed = FRESH_SECONDS if short else CROWDED_SECONDS
        short |= {number: 1 for number in together if number not in short}
        if not short:
            return situation
        silent = {one.host for one in situation.replicas if one.id in self._silent}
        rooms = tuple(
            replace(one, room=0 if one.host in silent else self._room(situation, one, short[one.release], placements))
            if one.release in short
            else one
            for one in places
        )
        return replace(
            situation, places=rooms, expansion=self._expansion(situation, rooms, min(short), placements, known)
        )

    @staticmethod
    def _away(situation: Situation, number: int, host: str) -> bool:
        release = situation.release(number)
        return release is not None and release.spec.host != host

    def _places(
        self, situation: Situation, placements: list[Placement], known: Mapping[str, KnownHost]
    ) -> tuple[Place, ...]:
        """Of every release that has replicas or may get some; the home of one that is gone is none."""
        live = {one.release for one in situation.replicas if one.state not in ENDED}
        found: list[Place] = []
        for release in situation.releases:
            if release.number not in live and release.number != situation.deployment.target:
                continue
            ready = [one.host for one in placements if placed([one], release.number, one.host or "") is not None]
            for host in dict.fromkeys([release.spec.host, *(one for one in ready if one)]):
                there = host == LOCAL or host in known
                if there and may_be(situation.deployment, release, known.get(host), host):
                    found.append(Place(release.number, host, cost=self._cost(known.get(host))))
        return tuple(found)

    def _cost(self, host: KnownHost | None) -> float:
        """Of its machine for an hour, in euros; of one whose price is not known a cent, so that it goes first."""
        if host is None or host.host.own:
            return 0.0
        rental = self._deps.store.rental(host.host.rental)
        if rental is None:
            return 0.01
        euros = prices.bundled().rates.convert(rental.offer.per_hour, rental.offer.currency, "EUR")
        return float(euros) if euros else 0.01

    def _lost(self, situation: Situation) -> frozenset[str]:
        now = self._deps.steady()
        silent = {
            one.id
            for one in situation.replicas
            if one.state not in ENDED
            and (seen := situation.look(one)).process == "unknown"
            and seen.failure is not None
        }
        self._silent = {one: self._silent.get(one, now) for one in silent}
        return frozenset(one for one, since in self._silent.items() if now - since >= LOST_SECONDS)

    def _room(self, situation: Situation, place: Place, most: int, placements: list[Placement]) -> int:
        release = situation.release(place.release)
        facts = self._facts(place.host)
        if release is None or facts is None:
            return 0
        planned = plan_on(release, place.host, placements)
        room = room_for(self._deps.store, place.host, planned, facts, most)
        if not room and place.host != LOCAL and abs(self._deps.clock() - facts[1]) > self._believed:
            self._look(place.host)
        return room

    def _facts(self, host: str) -> tuple[HostFacts, float] | None:
        """What is known of a host, and since when."""
        if host == LOCAL:
            steady, clock = self._deps.steady(), self._deps.clock()
            if self._local is None or steady - self._local[0] > LOCAL_SECONDS:
                self._local = steady, self._deps.sites.site(LOCAL).probe.facts(), clock
            return self._local[1], self._local[2]
        known = self._deps.store.host(host)
        return None if known.facts is None else (host_facts(host, known.facts), known.facts.looked_at)

    def _look(self, host: str) -> None:
        """Look whether it is still full, beside the loop: one that is silent must not hold it up."""
        running = self._looks.get(host)
        if running is None or not running.is_alive():
            thread = self._looks[host] = threading.Thread(target=self._looked_at, args=(host,), daemon=True)
            thread.start()

    def _looked_at(self, name: str) -> None:
        store = self._deps.store
        try:
            known = store.host(name)
            facts = self._deps.hosts.look(known.host, reach=False)
            reaches = known.facts.reaches if known.facts else facts.reaches
            store.saw_host(KnownHost(known.host, replace(facts, reaches=reaches), None, facts.looked_at))
        except LycError as error:
            log.info("looking at %s: %s", name, error)
        except Exception:
            log.exception("looking at %s", name)
        self._looked()

    def _expansion(
        self,
        situation: Situation,
        rooms: tuple[Place, ...],
        number: int,
        placements: list[Placement],
        known: Mapping[str, KnownHost],
    ) -> Literal["none", "known", "rented", "under way"]:
        """Whether one more host may be looked for, for a release."""
        deployment, store, now = situation.deployment, self._deps.store, self._deps.clock()
        release = situation.release(number)
        if release is None or not deployment.policy.hosts:
            return "none"
        looking = any(thread.is_alive() for thread in self._looks.values())
        running = store.running_operations(self._name)
        if looking or any(one.kind is OperationKind.EXPAND for one in running):
            return "under way"
        failed = [one for one in placements if (one.release, one.state) == (number, PlacementState.FAILED)]
        if any(one.retry_at is not None and one.updated_at <= now < one.retry_at for one in failed):
            return "none"
        there = {one.host for one in rooms if one.release == number}
        named = {one for one in deployment.policy.hosts if one not in (ANY, RENT)}
        own = {name for name, one in known.items() if one.host.own} if ANY in deployment.policy.hosts else set()
        if (named | own) - there:
            return "known"
        return "rented" if RENT in deployment.policy.hosts else "none"
