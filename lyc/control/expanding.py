"""One more host for a release that is there already: found, prepared, its weights fetched; then replicas may go there.

What is wished stands in the store before anything is done: a row of the placement, then the operation. So it may be
killed at any instant: an operation is taken up again, and a row without one is used by the next.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace

from lyc.control.autoscale import wanted
from lyc.control.called_off import CALLED_OFF, awake
from lyc.control.deploy import held_by
from lyc.control.deps import Deps
from lyc.control.expand_rented import RentFor, Settled, like, settled
from lyc.control.layout import kept_credentials
from lyc.control.operations import Begin, Talk, bug
from lyc.control.preparation import Preparation
from lyc.control.renting import Renter
from lyc.errors import Failed, LycError, NoFit
from lyc.records.deployment import Deployment, Release, ReleaseState, ReplicaState
from lyc.records.host import ANY, RENT
from lyc.records.operation import Operation, OperationKind
from lyc.records.placement import Placement, PlacementState
from lyc.rollout.transitions import COMING_OR_SERVING

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 1800.0
"""Seconds after a search in vain, doubled each time."""
_CALLED_OFF = CALLED_OFF | {"not-needed"}
_SERVING = COMING_OR_SERVING - {ReplicaState.UNREACHABLE, ReplicaState.BACKOFF}
_OVER = frozenset({ReleaseState.SUPERSEDED, ReleaseState.FAILED})


class Expander:
    """Asked by the loop of each deployment. begin: an operation; set once there are any. changed: hears of a deployment
    that has one more host, or will have none.
    """

    def __init__(self, deps: Deps, renter: Renter, rent: RentFor, changed: Callable[[str], None]) -> None:
        self._deps = deps
        self._store = deps.store
        self._renter = renter
        self._rent = rent
        self._changed = changed
        self.begin: Begin | None = None

    def look_for(self, name: str, number: int) -> str:
        """Begin to look for one more host for a release, unless somebody does already. How that went, for the
        journal.
        """
        running = self._store.running_operations(name)
        if self.begin is None or any(one.kind is OperationKind.EXPAND for one in running):
            return "under way"
        now = self._deps.clock()
        rows = self._store.placements.list(name)
        for one in [one for one in rows if one.state is PlacementState.PREPARING]:  # of one that was killed
            self._store.placements.remove(one.id)
        wish = Placement(secrets.token_hex(8), name, number, PlacementState.PREPARING, now, now)
        self._store.placements.put(wish)
        self.begin(OperationKind.EXPAND, name, {"release": number, "placement": wish.id})
        return "begun"

    def run(self, operation: Operation, talk: Talk) -> dict[str, object]:
        """See `operations.Work`. request: `release`, its number, and `placement`, an id."""
        name, number = operation.deployment, int(str(operation.request["release"]))
        identity = str(operation.request["placement"])
        with self._renter.turn(name):
            row = self._row(name, identity) or Placement(
                identity, name, number, PlacementState.PREPARING, operation.created_at, operation.created_at
            )
            if row.state is not PlacementState.READY:  # else it was done, but for the end of the operation
                row = self._done(row, talk)
        self._changed(name)
        return {"name": name, "release": number, "host": row.host}

    def _done(self, row: Placement, talk: Talk) -> Placement:
        name, journal = row.deployment, self._store.journal
        entry = journal.begin(self._deps.clock(), name, "reconciler", "expand", subject=str(row.release))
        try:
            found = self._settled(row, talk)
        except LycError as error:
            journal.end(entry, error.ref)
            self._failed(row, error)
            raise
        except BaseException as error:
            journal.end(entry, "failed")
            if isinstance(error, Exception):
                self._failed(row, bug(f"finding one more host for {name}", error))
            raise
        journal.end(entry)
        log.info("%s: release %d may run on %s too", name, row.release, found.host)
        ready = replace(
            row,
            state=PlacementState.READY,
            updated_at=self._deps.clock(),
            host=found.host,
            plan=found.plan,
            snapshot_path=found.snapshot_path,
            image=found.image,
        )
        for other in self._store.placements.list(name):
            again = (other.release, other.host) == (row.release, found.host)
            if other.id != row.id and (again or (other.release, other.state) == (row.release, PlacementState.FAILED)):
                self._store.placements.remove(other.id)
        self._put(ready)
        return ready

    def _settled(self, row: Placement, talk: Talk) -> Settled:
        """On a host that is known, else on one that is rented. Raises what keeps the last of them."""
        release = self._check(row)
        policy = self._store.deployment(row.deployment).policy
        refused: LycError | None = None
        if hosts := self._hosts(release):
            try:
                return self._on_known(row, release, hosts, talk)
            except LycError as error:
                if error.ref in _CALLED_OFF or RENT not in policy.hosts:
                    raise
                refused = error
        if RENT in policy.hosts and not self._gives_way(release) and not self._all_there(row):
            taken = {one.host for one in self._store.placements.list(row.deployment) if one.host is not None}
            taken.add(release.spec.host)
            return self._rent(release, talk, lambda: self._wanted(row, apart=False), taken)
        raise refused or NoFit(
            "no-host-fits", f"there is no further host for {row.deployment}", why="the policy names no other one",
            hint=f"name one more: lyc scale {row.deployment} --host NAME",
        )  # fmt: skip

    def _on_known(self, row: Placement, release: Release, hosts: list[str], talk: Talk) -> Settled:
        """On the best of these hosts that can be prepared."""
        credentials = kept_credentials(self._deps.settings, row.deployment)
        freed = held_by(self._store, row.deployment)
        while True:
            self._wanted(row)
            preparation = Preparation(self._deps, self._renter, like(release, ANY), credentials, talk, freed=freed)
            prepared = preparation.decide_among(hosts, release.plan)
            host = prepared.spec.host
            self._put(replace(row, host=host, updated_at=self._deps.clock()))  # nobody prunes what is fetched there
            try:
                provided = preparation.provide(prepared, lambda: self._wanted(row), release.spec.image)
                return settled(release, prepared, provided, prepared.digest)
            except LycError as error:
                hosts = [one for one in hosts if one != host]
                if error.ref in _CALLED_OFF or error.ref == "weights-changed" or not hosts:
                    raise
                talk.warn(f"{host}: {error}")

    def _hosts(self, release: Release) -> list[str]:
        """Known hosts that the policy allows, but for those where the release is, and those where it just failed."""
        store, wished = self._store, self._store.deployment(release.deployment).policy.hosts
        rows = store.placements.list(release.deployment)
        mine = [one for one in rows if one.release == release.number]
        there = {release.spec.host, *(one.host for one in mine if one.state is PlacementState.READY)}
        named = [one for one in wished if one not in (ANY, RENT)]
        own = [one.host.name for one in store.hosts() if one.host.own] if ANY in wished else []
        rented = [one.host for one in store.rentals(deployment=release.deployment, open_only=True) if not one.reason]
        again = [one for one in rented if one is not None] if RENT in wished else []
        return [one for one in dict.fromkeys([*named, *own, *again]) if one not in there]

    def _gives_way(self, release: Release) -> bool:
        """Whether another release runs still, whose machines it gets one by one: none is rented only for the change."""
        replicas = self._store.replicas(release.deployment)
        return any(one.release != release.number and one.state in COMING_OR_SERVING for one in replicas)

    def _all_there(self, row: Placement) -> bool:
        """Whether only replicas are missing whose host is silent: none is rented for what may be back sooner."""
        deployment = self._store.deployment(row.deployment)
        replicas = self._store.replicas(row.deployment)
        live = [one for one in replicas if one.release == row.release and one.state in COMING_OR_SERVING]
        return bool(live) and len(live) >= wanted(deployment, self._deps.clock())

    def _check(self, row: Placement) -> Release:
        """The release, wished still. Raises Failed `taken-down`, `paused`, `superseded`."""
        name = row.deployment
        found = awake(self._store, name)
        release = next((one for one in self._store.releases(name) if one.number == row.release), None)
        if release is None or (release.state in _OVER and release.number != found.target):
            raise Failed("superseded", f"release {row.release} of {name} gave way", hint=f"lyc releases {name}")
        return release

    def _wanted(self, row: Placement, *, apart: bool = True) -> None:
        """Raises as `_check`, and Failed `not-needed`: fewer replicas are wished since, and all of them are there."""
        self._check(row)
        deployment = self._store.deployment(row.deployment)
        if self._enough(deployment, row.release, apart=apart) or not deployment.policy.hosts:
            raise Failed(
                "not-needed",
                f"{row.deployment} needs no further host any more",
                hint=f"lyc scale {row.deployment}",
            )

    def _enough(self, deployment: Deployment, number: int, *, apart: bool) -> bool:
        """Whether all are there. apart: and not all on one host."""
        replicas = self._store.replicas(deployment.name)
        live = [one for one in replicas if one.release == number and one.state in _SERVING]
        together = apart and len(live) > 1 and len({one.host for one in live}) == 1
        return bool(live) and len(live) >= wanted(deployment, self._deps.clock()) and not together

    def _failed(self, row: Placement, error: LycError) -> None:
        """Keep why, and try again later and later; nothing of it stays where it was called off."""
        name, now = row.deployment, self._deps.clock()
        rows = self._store.placements.list(name)
        before = [one for one in rows if (one.release, one.state) == (row.release, PlacementState.FAILED)]
        pauses = [2 * (one.retry_at - one.updated_at) for one in before if one.retry_at is not None]
        for one in [*before, row]:
            self._store.placements.remove(one.id)
        if error.ref in _CALLED_OFF:
            return
        pause = min(max([FIRST_PAUSE, *pauses]), LONGEST_PAUSE)
        failed = replace(
            row, state=PlacementState.FAILED, updated_at=now, host=None, error=error.document(), retry_at=now + pause
        )
        self._put(failed)
        self._changed(name)

    def _row(self, name: str, identity: str) -> Placement | None:
        return next((one for one in self._store.placements.list(name) if one.id == identity), None)

    def _put(self, row: Placement) -> None:
        """Of a deployment that went meanwhile nothing may stay."""
        self._store.placements.put(row)
        if self._store.find_deployment(row.deployment) is None:
            self._store.placements.remove(row.id)
