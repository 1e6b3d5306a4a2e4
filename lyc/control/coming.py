"""A release that comes up, as those see it who wait for it: its phases, what fails it, and when the gateway has it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from lyc.control.called_off import standing
from lyc.control.deps import Deps
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.operations import Talk
from lyc.control.reconcile import Reconciler
from lyc.errors import Failed, LycError, from_document
from lyc.records.deployment import Deployment, Release, ReleaseState, Replica, ReplicaState
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
from lyc.rollout import Signal, moved
from lyc.rollout.actions import MoveReplica
from lyc.rollout.transitions import ENDED
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
            self._talk.phase(PhaseEvent(_PHASES[self._at][0], status, seconds=self._deps.steady() - self._since))

    def _reach(self, at: int) -> None:
        while self._at < at:
            self.close(PhaseStatus.DONE)
            self._at += 1
            self._since = self._deps.steady()
            self._talk.phase(PhaseEvent(_PHASES[self._at][0], PhaseStatus.STARTED))


@dataclass(frozen=True, slots=True)
class Awaited:
    """What is waited for: that so many replicas of a release serve as `enough` says, of whom it is told the number that
    is ready. replaced: ids of replicas that must have ended by then.
    """

    name: str
    number: int
    enough: Callable[[Deployment, Release, int], bool]
    replaced: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Watch:
    """Waits for releases. It decides nothing, so that it may be cut off and begun again."""

    deps: Deps
    gatekeeper: Gatekeeper
    reconciler: Reconciler

    def until(self, awaited: Awaited, talk: Talk) -> tuple[Deployment, list[Replica]]:
        """Tell how it comes up until the gateway sends requests to it, or its deployment is paused. The deployment, and
        the replicas of the release. Raises what failed it, Failed `superseded`, `taken-down`, `gateway-does-not-route`.
        """
        steps, waited, store = Steps(self.reconciler, self.deps, talk), threading.Event(), self.deps.store
        while True:
            deployment = standing(store, awaited.name)
            replicas = store.replicas(awaited.name)
            mine = [one for one in replicas if one.release == awaited.number and one.id not in awaited.replaced]
            try:
                release = self._release(deployment, awaited.number)
                _check(release, mine)
            except LycError:
                steps.close(PhaseStatus.FAILED)
                raise
            if deployment.paused:
                steps.close(PhaseStatus.FAILED)
                return deployment, mine
            old = [one for one in replicas if one.id in awaited.replaced and one.state not in ENDED]
            proven = release.state is not ReleaseState.PENDING
            if proven and not old and awaited.enough(deployment, release, ready(mine)):
                steps.finish()
                wait_for_rotation(self.deps, self.gatekeeper, awaited.name, mine)
                return deployment, mine
            steps.show(mine)
            waited.wait(WATCH_SECONDS)

    def _release(self, deployment: Deployment, number: int) -> Release:
        name = deployment.name
        release = next((one for one in self.deps.store.releases(name) if one.number == number), None)
        if release is not None and release.state is ReleaseState.FAILED:
            raise from_document(release.error or {})
        if release is None or deployment.target != number:
            other = f"release {deployment.target}" if deployment.target else "none"
            raise Failed("superseded", f"release {number} of {name} gave way to {other}", hint=f"lyc releases {name}")
        return release


def _check(release: Release, mine: Sequence[Replica]) -> None:
    """Raises why replicas of a release that has served were given up, where none is left that may yet come."""
    given_up = [one for one in mine if one.state is ReplicaState.FAILED]
    if release.state is not ReleaseState.PENDING and given_up and all(one.state in ENDED for one in mine):
        raise from_document(given_up[-1].error or {})


def ready(replicas: Sequence[Replica]) -> int:
    return sum(one.state is ReplicaState.READY for one in replicas)


def wait_for_rotation(deps: Deps, gatekeeper: Gatekeeper, name: str, replicas: Iterable[Replica]) -> None:
    """Until the gateway sends requests to one of those that are ready. Raises Failed `gateway-does-not-route`."""
    ready = {one.id for one in replicas if one.state is ReplicaState.READY}
    waited = threading.Event()
    deadline = deps.steady() + GATEWAY_SECONDS
    while ready and not ready & (deps.gateway.status().healthy or frozenset()):
        if deps.steady() > deadline:
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
