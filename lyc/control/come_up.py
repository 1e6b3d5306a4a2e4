"""The operations behind `lyc rollback`, `restart` and `resume`: the change is made; watch until it serves."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from lyc.control.autoscale import wanted
from lyc.control.coming import WATCH_SECONDS, Steps, wait_for_rotation
from lyc.control.deps import Deps
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.operations import Talk
from lyc.control.reconcile import Reconciler
from lyc.errors import Failed, LycError, NotFound, from_document
from lyc.records.deployment import Deployment, Release, ReleaseState, Replica, ReplicaState
from lyc.records.operation import Operation, OperationKind
from lyc.records.progress import PhaseStatus
from lyc.rollout.transitions import ENDED


class ComeUp:
    """Tells how a release comes up. It decides nothing, so that it may be watched, left and taken up again."""

    def __init__(self, deps: Deps, gatekeeper: Gatekeeper, reconciler: Reconciler) -> None:
        self._deps = deps
        self._gatekeeper = gatekeeper
        self._reconciler = reconciler

    def run(self, operation: Operation, talk: Talk) -> dict[str, object]:
        """See `operations.Work`. request: `release`, its number, and what `_old` reads."""
        name, number = operation.deployment, int(str(operation.request["release"]))
        steps = Steps(self._reconciler, self._deps, talk)
        waited = threading.Event()
        while True:
            deployment = self._deployment(name)
            release = self._release(deployment, number)
            replicas = self._deps.store.replicas(name)
            mine = [one for one in replicas if one.release == number and one.id not in _old(operation)]
            if deployment.paused:
                return self._result(operation, deployment, mine)
            try:
                self._check(release, mine)
            except LycError:
                steps.close(PhaseStatus.FAILED)
                raise
            old = [one for one in replicas if one.id in _old(operation) and one.state not in ENDED]
            if not old and self._serves(operation, deployment, release, mine):
                steps.finish()
                wait_for_rotation(self._deps, self._gatekeeper, name, mine)
                return self._result(operation, deployment, mine)
            steps.show(mine)
            waited.wait(WATCH_SECONDS)

    def _deployment(self, name: str) -> Deployment:
        try:
            found = self._deps.store.deployment(name)
        except NotFound:
            raise _taken_down(name) from None
        if found.stopping:
            raise _taken_down(name)
        return found

    def _release(self, deployment: Deployment, number: int) -> Release:
        """Raises what failed it, and Failed `superseded` where another one shall serve by now."""
        name = deployment.name
        release = next((one for one in self._deps.store.releases(name) if one.number == number), None)
        if release is not None and release.state is ReleaseState.FAILED:
            raise from_document(release.error or {})
        if release is None or deployment.target != number:
            other = f"release {deployment.target}" if deployment.target else "none"
            raise Failed(
                "superseded",
                f"release {number} of {name} gave way to {other}",
                hint=f"lyc releases {name}",
            )
        return release

    @staticmethod
    def _check(release: Release, mine: Sequence[Replica]) -> None:
        """Raises why replicas of a release that has served were given up, where none is left that may yet come."""
        given_up = [one for one in mine if one.state is ReplicaState.FAILED]
        if release.state is ReleaseState.ACTIVE and given_up and all(one.state in ENDED for one in mine):
            raise from_document(given_up[-1].error or {})

    def _serves(self, operation: Operation, deployment: Deployment, release: Release, mine: Sequence[Replica]) -> bool:
        """A restart is over when all are there again, the others when one is: the rest comes by itself."""
        if release.state is ReleaseState.PENDING:
            return False
        desired = wanted(deployment, self._deps.clock())
        needed = desired if operation.kind is OperationKind.RESTART else min(1, desired)
        return _ready(mine) >= needed

    def _result(self, operation: Operation, deployment: Deployment, mine: Sequence[Replica]) -> dict[str, object]:
        now = self._deps.clock()
        desired = wanted(deployment, now)
        ready = _ready(mine)
        return {
            "name": deployment.name,
            "state": "paused" if deployment.paused else "ready" if ready else "idle",
            "url": self._gatekeeper.url(deployment.name),
            "release": operation.request["release"],
            "ready": ready,
            "desired": desired,
            "seconds": now - operation.created_at,
        }


def _old(operation: Operation) -> frozenset[str]:
    """Replicas that must be gone: `replaced` in the request."""
    found = operation.request.get("replaced")
    return frozenset(str(one) for one in found) if isinstance(found, list | tuple) else frozenset()


def _ready(replicas: Sequence[Replica]) -> int:
    return sum(one.state is ReplicaState.READY for one in replicas)


def _taken_down(name: str) -> Failed:
    return Failed("taken-down", f"{name} was taken down meanwhile", hint="lyc ls")
