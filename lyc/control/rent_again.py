"""Machines that were given back, and are rented again when somebody asks: by the wish of the deploy, in all of it.

What is under way is an operation, and what went wrong is read from those that have ended. So a controller may die at
any instant, and the next one goes on with what this one had begun.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from lyc.control.called_off import CALLED_OFF, awake
from lyc.control.deps import Deps
from lyc.control.expand_rented import RentFor
from lyc.control.operations import Begin, Talk
from lyc.control.renting import Renter
from lyc.errors import Failed, LycError
from lyc.records.deployment import Deployment, Release, ReleaseState, Replica, ReplicaState
from lyc.records.host import LOCAL
from lyc.records.operation import Operation, OperationKind, OperationState
from lyc.records.placement import PlacementState
from lyc.records.rental import Rental, RentalState
from lyc.renting.again import Past, Wait, wait
from lyc.renting.saved import UNUSED
from lyc.rollout import Situation
from lyc.rollout.failures import held_back
from lyc.rollout.situation import target_of
from lyc.rollout.transitions import ENDED
from lyc.scaling.sentence import span

log = logging.getLogger(__name__)

HOME = "home"
"""In the request of an operation: it is about the machine of the release itself, not about one more."""
_THERE = (RentalState.INTENDED, RentalState.RENTED)
_DECIDING = (OperationKind.DEPLOY, OperationKind.EXPAND, OperationKind.DOWN)
_BY_ITSELF = frozenset({UNUSED, "taken-back"})
"""Why a machine went, after which another is rented without a request: what is wished then is wished since."""


class RentAgain:
    """Asked by the loop of each deployment, and by whoever wakes one. begin: an operation; set once there are any."""

    def __init__(self, deps: Deps, renter: Renter, rent: RentFor, changed: Callable[[str], None]) -> None:
        """changed: hears of a deployment that has a machine again."""
        self._deps = deps
        self._store = deps.store
        self._renter = renter
        self._rent = rent
        self._changed = changed
        self.begin: Begin | None = None
        self._own: set[str] = set()
        self._closed: dict[str, Rental] = {}
        self._claimed: set[str] = set()

    def wished(
        self, deployment: Deployment, releases: Sequence[Release], replicas: Sequence[Replica], desired: int
    ) -> int:
        """Replicas that there may be now: those that are `desired`, or none as long as there is no machine for them.
        One is rented again where some are desired.
        """
        release = target_of(deployment, releases)
        rental = self._rental(release)
        if release is None or rental is None:
            return desired
        if rental.state in _THERE and self._keeps(rental, replicas, desired):
            return desired
        if release.state is not ReleaseState.ACTIVE or self._elsewhere(release):
            return desired
        if desired and not deployment.stopping and not deployment.paused:
            self._try(deployment, releases, replicas, rental)
        return 0

    def away(self, deployment: Deployment, releases: Sequence[Release]) -> bool:
        """Whether its machine was given back, and it has no other."""
        release = target_of(deployment, releases)
        rental = self._rental(release)
        if release is None or rental is None or rental.state in _THERE:
            return False
        return release.state is ReleaseState.ACTIVE and not self._elsewhere(release)

    def hope(self, name: str) -> Wait:
        """Of one that is away: when it may be tried again, and what went wrong last."""
        tries: list[Past] = []
        rentals = self._store.rentals(deployment=name)
        for one in self._store.operations(name):
            if not one.request.get(HOME):
                tries = [] if one.kind is not OperationKind.EXPAND else tries  # a person has asked
            elif one.state is not OperationState.RUNNING and (one.error or {}).get("ref") not in CALLED_OFF:
                end = one.finished_at or one.created_at
                mine = [r for r in rentals if one.created_at <= r.intended_at <= end]
                vain = _in_vain(mine[-1]) if one.error is None and mine else None
                tries.append(vain or Past(end, one.error, any(r.billed_from is not None for r in mine)))
        policy = self._deps.policy
        return wait(tries, self._deps.clock(), pause=policy.wake_pause, limit=policy.wake_limit)

    def since(self, name: str) -> float | None:
        """When the renting began that is under way; None = none is."""
        running = self._store.running_operations(name)
        return next((one.created_at for one in running if one.request.get(HOME)), None)

    def tells(self, deployment: Deployment) -> str:
        """What is so of its machine, in a few words; empty where it has one."""
        name, now = deployment.name, self._deps.clock()
        if not self.away(deployment, self._store.releases(name)):
            return ""
        if (since := self.since(name)) is not None:
            return f"a machine is being rented since {span(max(0.0, now - since))}"
        hope = self.hope(name)
        if hope.error is None or hope.until <= now:
            return "its machine was given back"
        later = "no more until lyc deploy" if math.isinf(hope.until) else f"again in {span(hope.until - now)}"
        return f"no machine ({hope.error.get('what')}), {later}"

    def run(self, operation: Operation, talk: Talk) -> dict[str, object]:
        """See `operations.Work`. request: `release`, its number, and `cause`."""
        name, number = operation.deployment, int(str(operation.request["release"]))
        with self._renter.turn(name):
            release = self._check(name, number)
            rental = self._rental(release)
            if rental is None or rental.state not in _THERE:  # else it was done, but for the end of the operation
                cause = str(operation.request.get("cause") or "")
                entry = self._store.journal.begin(self._deps.clock(), name, "reconciler", "rent-again", cause=cause)
                try:
                    release = self._moved(release, talk)
                except LycError as error:
                    self._store.journal.end(entry, error.ref)
                    raise
                self._store.journal.end(entry)
                log.info("%s: release %d has a machine again: %s", name, number, release.spec.host)
        self._changed(name)
        return {"name": name, "release": number, "host": release.spec.host}

    def _moved(self, release: Release, talk: Talk) -> Release:
        taken = {one.host for one in self._store.placements.list(release.deployment) if one.host is not None}

        def cancelled() -> None:
            self._check(release.deployment, release.number)

        found = self._rent(release, talk, cancelled, taken)
        moved = replace(
            release,
            spec=replace(release.spec, host=found.host, image=found.image),
            spec_digest=found.digest,
            plan=found.plan,
            snapshot_path=found.snapshot_path,
        )
        self._store.homes.move(moved, self._deps.clock(), surge=found.surge)
        return moved

    def _keeps(self, rental: Rental, replicas: Sequence[Replica], desired: int) -> bool:
        """Whether its machine goes on. One on which nothing runs may just be about to be given back: who wants it now
        says so first, and once.
        """
        here = [one for one in replicas if one.host == rental.host and one.state not in ENDED]
        if rental.ready_at is None and any(one.state is ReplicaState.READY for one in here):
            self._store.change_rental(replace(rental, ready_at=self._deps.clock()), rental)
        if not desired or here:
            self._claimed.discard(rental.run_id)
            return True
        if rental.run_id in self._claimed:
            return True
        if not self._store.change_rental(replace(rental, updated_at=self._deps.clock()), rental):
            now = self._store.rental(rental.run_id)
            return now is not None and now.state in _THERE  # claimed at the next look
        self._claimed.add(rental.run_id)
        return True

    def _try(
        self, deployment: Deployment, releases: Sequence[Release], replicas: Sequence[Replica], gone: Rental
    ) -> None:
        """Begin, unless it is being decided where it goes, its engine is to blame, or it is too early."""
        name, number, now = deployment.name, deployment.target, self._deps.clock()
        if self.begin is None or number is None:
            return
        if any(one.kind in _DECIDING for one in self._store.running_operations(name)):
            return
        situation = Situation(deployment, tuple(releases), tuple(replicas))
        failed = any(one.state is ReplicaState.FAILED for one in situation.of(number))
        if failed or held_back(situation, number, now) or not _meant(deployment, gone):
            return
        if self.hope(name).until <= now:
            self.begin(
                OperationKind.EXPAND,
                name,
                {"release": number, HOME: True, "cause": f"{gone.host} is gone: {gone.reason}"},
            )

    def _rental(self, release: Release | None) -> Rental | None:
        """Of the machine where a release is or was; None where that is the user's own."""
        host = LOCAL if release is None else release.spec.host
        if release is None or host == LOCAL or host in self._own:
            return None
        found = next((one for one in self._open(release) if one.host == host), None)
        if found is not None:
            return found
        if host not in self._closed:
            past = [one for one in self._store.rentals(deployment=release.deployment) if one.host == host]
            if not past:
                self._own.add(host)
                return None
            if past[-1].state in _THERE or past[-1].state is RentalState.RELEASING:
                return past[-1]
            self._closed[host] = past[-1]
        return self._closed[host]

    def _open(self, release: Release) -> list[Rental]:
        return self._store.rentals(deployment=release.deployment, open_only=True)

    def _elsewhere(self, release: Release) -> bool:
        """Whether it is on further hosts, which are there."""
        rows = self._store.placements.list(release.deployment)
        hosts = {one.host for one in rows if (one.release, one.state) == (release.number, PlacementState.READY)}
        if not hosts:
            return False
        leaving = {one.host for one in self._open(release) if one.state not in _THERE}
        return bool((hosts - leaving) & {one.host.name for one in self._store.hosts()})

    def _check(self, name: str, number: int) -> Release:
        """The release, wished still. Raises Failed `taken-down`, `paused`, `superseded`."""
        release = target_of(awake(self._store, name), self._store.releases(name))
        if release is None or release.number != number:
            raise Failed("superseded", f"release {number} of {name} gave way to another", hint=f"lyc releases {name}")
        return release


def _in_vain(rental: Rental) -> Past | None:
    """What became of a machine that was rented again and never served: it counts as if none had been had."""
    if rental.state in _THERE or rental.ready_at is not None or rental.reason == UNUSED:
        return None
    what = f"the machine {rental.host} never served"
    error = {"ref": rental.reason, "what": what, "hint": f"lyc events {rental.deployment}"}
    return Past(rental.billed_until or rental.updated_at, error, paid=True)


def _meant(deployment: Deployment, gone: Rental) -> bool:
    """Whether a machine that is gone is to be replaced: it was given back by lyc, or somebody has asked since. Who ends
    it in the provider's console is not to find another one there the next minute.
    """
    since = gone.updated_at if gone.billed_until is None else gone.billed_until
    return gone.reason in _BY_ITSELF or (deployment.scaler.last_request or 0.0) > since
