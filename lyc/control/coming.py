"""A release that comes up, as those see it who wait for it: its phases, and when the gateway has taken it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lyc.control.deps import Deps
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.operations import Talk
from lyc.control.reconcile import Reconciler
from lyc.errors import Failed
from lyc.records.deployment import Replica, ReplicaState
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
from lyc.rollout import Signal, moved
from lyc.rollout.actions import MoveReplica
from lyc.store import Store

WATCH_SECONDS = 0.1
GATEWAY_SECONDS = 30.0
_PHASES = (
    (
        Phase.ENGINE,
        frozenset({ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.BACKOFF, ReplicaState.UNREACHABLE}),
    ),
    (Phase.LOAD, frozenset({ReplicaState.LOADING})),
    (Phase.READY, frozenset({ReplicaState.PROBING})),
)


class Steps:
    """The phases start engine → load weights → ready, as the most advanced replica shows them: the first one counts."""

    def __init__(self, reconciler: Reconciler, deps: Deps, talk: Talk) -> None:
        self._reconciler = reconciler
        self._deps = deps
        self._talk = talk
        self._at = -1
        self._since = 0.0

    def show(self, replicas: Sequence[Replica]) -> None:
        """replicas: of the release; while there are none, one is about to start."""
        coming = [(at, one) for one in replicas for at, (_, states) in enumerate(_PHASES) if one.state in states]
        at = max((at for at, _ in coming), default=len(_PHASES) - 1 if replicas else 0)
        self._reach(at)
        first = next((one for found, one in coming if found == at), None)
        progress = self._reconciler.progress(first.deployment, first.id) if first else None
        if progress is not None:
            said = PhaseEvent(_PHASES[self._at][0], PhaseStatus.PROGRESS, progress.message, fraction=progress.fraction)
            self._talk.phase(said)

    def finish(self) -> None:
        """Nothing is said of one that served already."""
        if self._at >= 0:
            self._reach(len(_PHASES) - 1)
            self.close(PhaseStatus.DONE)

    def close(self, status: PhaseStatus) -> None:
        if self._at >= 0:
            self._talk.phase(PhaseEvent(_PHASES[self._at][0], status, seconds=self._deps.clock() - self._since))

    def _reach(self, at: int) -> None:
        while self._at < at:
            self.close(PhaseStatus.DONE)
            self._at += 1
            self._since = self._deps.clock()
            self._talk.phase(PhaseEvent(_PHASES[self._at][0], PhaseStatus.STARTED))


def wait_for_rotation(deps: Deps, gatekeeper: Gatekeeper, name: str, replicas: Iterable[Replica]) -> None:
    """Until the gateway sends requests to one of those that are ready. Raises Failed `gateway-does-not-route`."""
    ready = {one.id for one in replicas if one.state is ReplicaState.READY}
    waited = threading.Event()
    deadline = deps.clock() + GATEWAY_SECONDS
    while ready and not ready & (deps.gateway.status().healthy or frozenset()):
        if deps.clock() > deadline:
            raise gatekeeper.error or Failed(
                "gateway-does-not-route",
                f"{name} is ready, but the gateway sends nothing to it",
                hint="lyc controller logs",
            )
        waited.wait(WATCH_SECONDS / 4)


def put_by(store: Store, replicas: Iterable[Replica], now: float) -> None:
    """A person asks again for what was given up: the failure does not count any more. The logs stay."""
    for one in replicas:
        again = one
        if one.state is ReplicaState.FAILED:
            again = moved(one, MoveReplica(one.id, Signal.PUT_BY), now)
        store.put_replica(replace(again, retry_at=None))
