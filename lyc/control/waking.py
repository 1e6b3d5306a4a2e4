"""What the activator asks: whether a deployment can answer, and whether there is hope. Asking wakes it."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence

from lyc.control.autoscale import Autoscaler, wanted
from lyc.control.deps import Deps
from lyc.control.rent_again import RentAgain
from lyc.control.waketimes import remaining
from lyc.errors import Failed, LycError, NotFound
from lyc.records.deployment import Deployment, Replica, ReplicaState
from lyc.records.host import LOCAL
from lyc.records.wake import Waking
from lyc.rollout.situation import target_of
from lyc.rollout.transitions import COMING_OR_SERVING

log = logging.getLogger(__name__)

_CARDS_TAKEN: dict[str, object] = {
    "ref": "cards-taken",
    "what": "its cards are those of another deployment, which keeps them or is asked for just now",
}
LOOK_SECONDS = 0.02
"""Between two looks at whether the gateway has taken a replica that is ready: what a held request loses at most."""


class Wakes:
    """Implements `lyc.ports.Waker`. changed: the activator's, told when a deployment that is waited for can answer.
    waits: what a deployment waits for before it can come, empty = nothing.
    """

    def __init__(self, deps: Deps, autoscaler: Autoscaler) -> None:
        self._deps = deps
        self._autoscaler = autoscaler
        self.changed: Callable[[str], None] = lambda _: None
        self.waits: Callable[[str], str] = lambda _: ""
        self.rent_again: RentAgain | None = None
        self._waited: set[str] = set()
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._asked.set()
        self._thread.join(10)

    def wake(self, deployment: str) -> Waking:
        """See the port."""
        found = self._deps.store.find_deployment(deployment)
        if found is None or found.stopping:
            return Waking("unknown")
        waking = self._how(found, self._deps.store.replicas(deployment))
        if waking.state == "waking":
            with self._lock:
                self._waited.add(deployment)
            self._asked.set()
            if wanted(found, self._deps.clock()) == 0:
                self._autoscaler.demand(deployment)
        return waking

    def _how(self, deployment: Deployment, replicas: Sequence[Replica]) -> Waking:
        policy, now = deployment.policy, self._deps.clock()
        bounds = (policy.wake_timeout, policy.queue, policy.queue_bytes)
        if deployment.paused:
            return Waking("paused", None, _paused(deployment.name).document(), *bounds)
        ready = [one for one in replicas if one.state is ReplicaState.READY]
        if ready:
            taken = frozenset(one.id for one in ready) & (self._deps.gateway.status().healthy or frozenset())
            if taken:
                return Waking("ready", 0.0, None, *bounds, taken, {one.id: one.socket for one in ready})
        mine = [one for one in replicas if one.release == deployment.target]
        coming = [one for one in replicas if one.state in COMING_OR_SERVING]
        failed = [one for one in mine if one.state is ReplicaState.FAILED]
        if self.rent_again is not None and not [one for one in [*coming, *failed] if not _lost_with_its_host(one)]:
            releases = self._deps.store.releases(deployment.name)
            if self.rent_again.away(deployment, releases):
                return self._anew(self.rent_again, deployment, replicas, bounds)
        if deployment.target is None or (failed and not coming):
            error = failed[-1].error if failed else deployment.error
            return Waking("failed", None, error or _lost(deployment.name).document(), *bounds)
        if not coming and (gone := self._given_back(deployment)) is not None:
            return Waking("failed", None, gone.document(), *bounds)
        if self.waits(deployment.name):
            return Waking("waking", None, _CARDS_TAKEN, *bounds)
        times = self._deps.store.wake_times.list(deployment.name)
        return Waking("waking", remaining(times, replicas, deployment.target, now), None, *bounds)

    def _anew(
        self, again: RentAgain, deployment: Deployment, replicas: Sequence[Replica], bounds: tuple[float, int, int]
    ) -> Waking:
        """Its machine was given back: another one is rented, if that may be tried now."""
        name, now = deployment.name, self._deps.clock()
        since = again.since(name)
        if since is None and (hope := again.hope(name)).until > now:
            soon = None if math.isinf(hope.until) else hope.until - now
            return Waking("failed", soon, hope.error, *bounds)
        times = self._deps.store.wake_times.list(name)
        expected = remaining(times, replicas, deployment.target, now, released=True, since=since)
        return Waking("waking", expected, None, *bounds)

    def _given_back(self, deployment: Deployment) -> Failed | None:
        """Where its machine is not known any more, and none may be rented in its place: a person must decide."""
        release = target_of(deployment, self._deps.store.releases(deployment.name))
        if release is None or release.spec.host == LOCAL:
            return None
        try:
            self._deps.store.host(release.spec.host)
        except NotFound:
            return Failed(
                "machine-given-back",
                f"the machine {release.spec.host} was given back while nobody asked for {deployment.name}",
                hint=f"lyc deploy {release.spec.model} --name {deployment.name}",
            )
        return None

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                waited = sorted(self._waited)
            for name in waited:
                try:
                    self._tell(name)
                except LycError as error:
                    log.warning("waking %s: %s", name, error)
                except Exception:
                    log.exception("waking %s", name)
            if waited:
                self._stop.wait(LOOK_SECONDS)
            else:
                self._asked.wait()
                self._asked.clear()

    def _tell(self, name: str) -> None:
        """The activator, as soon as waiting is over."""
        found = self._deps.store.find_deployment(name)
        if found is None or self._how(found, self._deps.store.replicas(name)).state != "waking":
            with self._lock:
                self._waited.discard(name)
            self.changed(name)


def _lost_with_its_host(replica: Replica) -> bool:
    """Whether it served until its machine was gone: its engine is not to blame."""
    return replica.state is ReplicaState.FAILED and replica.ready_at is not None


def _paused(name: str) -> Failed:
    return Failed("paused", f"{name} is paused", hint=f"lyc resume {name}")


def _lost(name: str) -> Failed:
    return Failed("nothing-to-serve", f"nothing serves {name}, and nothing will by itself", hint=f"lyc status {name}")
