"""The operations behind `lyc rollback`, `restart` and `resume`: the change is made; watch until it serves."""

from __future__ import annotations

from collections.abc import Sequence

from lyc.control.autoscale import wanted
from lyc.control.coming import Awaited, Watch, ready
from lyc.control.deps import Deps
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.host_plans import homeless
from lyc.control.operations import Talk
from lyc.control.reconcile import Reconciler
from lyc.records.deployment import Deployment, Release, Replica
from lyc.records.operation import Operation, OperationKind


class ComeUp:
    """Tells how a release comes up. It decides nothing, so that it may be watched, left and taken up again."""

    def __init__(self, deps: Deps, gatekeeper: Gatekeeper, reconciler: Reconciler) -> None:
        self._watch = Watch(deps, gatekeeper, reconciler)

    def run(self, operation: Operation, talk: Talk) -> dict[str, object]:
        """See `operations.Work`. request: `release`, its number, and what `_old` reads."""
        number, restart = int(str(operation.request["release"])), operation.kind is OperationKind.RESTART

        def enough(deployment: Deployment, _: Release, there: int) -> bool:
            """A restart is over when all are there again, the others when one is: the rest comes by itself."""
            now, store = self._watch.deps.clock(), self._watch.deps.store
            desired = wanted(deployment, now)
            few = there > 0 and homeless(store, operation.deployment, number, now) is not None
            return few or there >= (desired if restart else min(1, desired))

        awaited = Awaited(operation.deployment, number, enough, _old(operation))
        return self._result(operation, *self._watch.until(awaited, talk))

    def _result(self, operation: Operation, deployment: Deployment, mine: Sequence[Replica]) -> dict[str, object]:
        now, there = self._watch.deps.clock(), ready(mine)
        return {
            "name": deployment.name,
            "state": "paused" if deployment.paused else "ready" if there else "idle",
            "url": self._watch.gatekeeper.url(deployment.name),
            "release": operation.request["release"],
            "ready": there,
            "desired": wanted(deployment, now),
            "seconds": now - operation.created_at,
        }


def _old(operation: Operation) -> frozenset[str]:
    """Replicas that must be gone: `replaced` in the request."""
    found = operation.request.get("replaced")
    return frozenset(str(one) for one in found) if isinstance(found, list | tuple) else frozenset()
