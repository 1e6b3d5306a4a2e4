"""Measures every deployment once a second, and lets `lyc.scaling` say how many replicas it shall have."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lyc.control.deps import Deps
from lyc.control.metering import Meter, sample
from lyc.errors import LycError
from lyc.planning.capacity import capacity
from lyc.records.deployment import Deployment, Replica, ReplicaState
from lyc.records.engine import EngineLoad
from lyc.records.gateway import GatewayStatus
from lyc.records.scaling import Sample, ScalerState
from lyc.rollout.situation import target_of
from lyc.scaling import bounds, decide, demanded, explain, made_room
from lyc.scaling.defaults import FRESH_SECONDS
from lyc.scaling.readings import busy

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
WINDOW = 120
"""Samples that are kept: of two minutes."""
SIZE_SECONDS = 60.0
REMEMBERED_SECONDS = 30.0
"""So much of what it remembers may be lost with the controller: not every request is written to the disk."""


@dataclass(slots=True)
class _Watched:
    """One deployment. stored: its state as the store has it. size: of which release, requests that a replica of it
    holds, and until when that is believed.
    """

    state: ScalerState
    stored: ScalerState
    window: deque[Sample] = field(default_factory=lambda: deque(maxlen=WINDOW))
    meter: Meter = field(default_factory=Meter)
    size: tuple[int | None, float, float] = (None, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Counters:
    """At one instant: what the gateway says, and by deployment what waits at the activator and what ever came there."""

    status: GatewayStatus
    held: Mapping[str, int]
    arrived: Mapping[str, int]


class Autoscaler:
    """One thread for all deployments; `demand` may be called by any.

    load: of a replica, as its engine said last. changed: hears of a deployment whose wish has changed. held, arrived,
    passing: of the activator. aside: what else is to be said of a deployment, of its machine; empty = nothing.
    """

    def __init__(
        self, deps: Deps, load: Callable[[str, str], EngineLoad | None], changed: Callable[[str], None]
    ) -> None:
        self._deps = deps
        self._load = load
        self._changed = changed
        self.held: Callable[[], Mapping[str, int]] = dict
        self.arrived: Callable[[], Mapping[str, int]] = dict
        self.passing: Callable[[], Mapping[str, int]] = dict
        self.aside: Callable[[Deployment], str] = lambda _: ""
        self._watched: dict[str, _Watched] = {}
        self._active: Mapping[str, int] | None = None
        self._total: Mapping[str, int] | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autoscaler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def demand(self, name: str) -> None:
        """A request waits for a replica, and there is none: at least one, now."""
        now = self._deps.clock()
        with self._lock:
            deployment = self._deps.store.find_deployment(name)
            if deployment is None or deployment.stopping or deployment.paused:
                return
            watched = self._of(deployment)
            self._decided(deployment, watched, demanded(watched.state, deployment.policy, now), "activator", now)

    def quiet(self, name: str) -> bool:
        """Whether nobody asks for a deployment just now, as far as was measured."""
        with self._lock:
            watched, now = self._watched.get(name), self._deps.clock()
            newest = watched.window[-1] if watched and watched.window else None
            if newest is None or newest.in_flight is None or not 0 <= now - newest.at <= FRESH_SECONDS:
                return False
            return not busy(newest) and not self.held().get(name)

    def make_way(self, name: str, cause: str, asleep: bool) -> None:
        """None of a deployment from now on, for another one's sake; `asleep`: but one that sleeps."""
        now = self._deps.clock()
        with self._lock:
            deployment = self._deps.store.find_deployment(name)
            if deployment is None or deployment.stopping:
                return
            watched = self._of(deployment)
            self._decided(deployment, watched, made_room(watched.state, cause, asleep=asleep), "share", now)

    def why(self, deployment: Deployment, now: float) -> str:
        """What it does with a deployment, in a few words."""
        with self._lock:
            watched = self._of(deployment)
            window, state, size = tuple(watched.window), watched.state, self._size(deployment, watched, now)
        ready = sum(one.state is ReplicaState.READY for one in self._deps.store.replicas(deployment.name))
        said = explain(window, deployment.policy, state, now, capacity=size, ready=ready)
        return ", ".join(part for part in (said, self.aside(deployment)) if part)

    def last(self, name: str) -> Sample | None:
        """The newest measurement."""
        with self._lock:
            watched = self._watched.get(name)
            return watched.window[-1] if watched and watched.window else None

    def tick(self) -> None:
        """Measure and decide once."""
        status, held, arrived = self._deps.gateway.status(), self.held(), self.arrived()
        if status.active is not None:
            status = replace(status, active=Counter(status.active) + Counter(self.passing()))
        self._active, self._total = status.active, status.total
        with self._lock:  # whoever wakes one waits meanwhile: what is read here must not be older than what it stores
            now, store = self._deps.clock(), self._deps.store
            deployments = {one.name: one for one in store.deployments() if one.target is not None and not one.stopping}
            self._watched = {name: one for name, one in self._watched.items() if name in deployments}
            replicas = store.replicas_by_deployment()
            for name, deployment in deployments.items():
                try:
                    self._look(deployment, replicas.get(name, []), _Counters(status, held, arrived), now)
                except Exception:  # one that cannot be reckoned must not keep the others from their replicas
                    log.exception("scaling %s", name)

    def _look(self, deployment: Deployment, replicas: Sequence[Replica], counters: _Counters, now: float) -> None:
        name, watched = deployment.name, self._of(deployment)
        passed = watched.meter.read(replicas, counters.status, counters.arrived.get(name, 0))
        if passed.ready is not None and passed.ready < sum(one.state is ReplicaState.READY for one in replicas):
            self._changed(name)  # whose loop may rest for seconds where there are many
        watched.window.append(sample(now, passed, counters.held.get(name, 0), self._loads(replicas)))
        if deployment.paused:
            return
        window, size = tuple(watched.window), self._size(deployment, watched, now)
        state = decide(window, deployment.policy, watched.state, now, capacity=size)
        self._decided(deployment, watched, state, "autoscaler", now)

    def active(self, replica: str) -> int | None:
        """Requests at a replica as the gateway said last; None = not known."""
        return None if self._active is None else self._active.get(replica, 0)

    def sent(self, replica: str) -> int | None:
        """Requests that the gateway had ever sent to a replica when it was asked last; None = not known."""
        return None if self._total is None else self._total.get(replica, 0)

    def _loads(self, replicas: Sequence[Replica]) -> list[EngineLoad]:
        ready = [one for one in replicas if one.state is ReplicaState.READY]
        return [said for one in ready if (said := self._load(one.deployment, one.id)) is not None]

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            try:
                self.tick()
            except LycError as error:
                log.warning("autoscaler: %s", error)
            except Exception:
                log.exception("autoscaler")

    def _of(self, deployment: Deployment) -> _Watched:
        """What is known of it. What somebody else has stored meanwhile holds."""
        watched = self._watched.get(deployment.name)
        if watched is None:
            watched = self._watched[deployment.name] = _Watched(deployment.scaler, deployment.scaler)
        elif watched.stored != deployment.scaler:
            watched.state = replace(
                watched.state,
                desired=deployment.scaler.desired,
                asleep=deployment.scaler.asleep,
                gave_way=deployment.scaler.gave_way,
            )
            watched.stored = deployment.scaler
        return watched

    def _decided(self, deployment: Deployment, watched: _Watched, state: ScalerState, actor: str, now: float) -> None:
        """Keep it; store it where it matters, before anything is done for it."""
        before, watched.state = watched.state, state
        moved = state.desired != watched.stored.desired
        if moved or state.asleep != watched.stored.asleep or _worth_storing(watched.stored, state):
            self._deps.store.change_deployment(deployment.name, now, scaler=state)
            watched.stored = state
        if moved:
            detail: dict[str, object] = {"from": before.desired, "to": state.desired}
            log.info("%s: %d → %d replicas: %s", deployment.name, before.desired, state.desired, state.why)
            self._deps.store.journal.done(now, deployment.name, actor, "scale", cause=state.why, detail=detail)
        if moved or state.asleep != before.asleep:
            self._changed(deployment.name)

    def _size(self, deployment: Deployment, watched: _Watched, now: float) -> float:
        """Requests that a replica holds, looked up now and then: an engine reports its cache after its start."""
        target, size, until = watched.size
        if target != deployment.target or not now < until <= now + SIZE_SECONDS:
            releases = self._deps.store.releases(deployment.name)
            release = target_of(deployment, releases)
            size = capacity(release.plan, release.reported) if release else 1.0
            watched.size = deployment.target, size, now + SIZE_SECONDS
        return size


def wanted(deployment: Deployment, now: float) -> int:
    """Replicas that it shall have now: what was decided last, within the bounds of this hour."""
    if deployment.paused or deployment.stopping:
        return 0
    low, high = bounds(deployment.policy, now)
    return max(low, min(high, deployment.scaler.desired))


def _worth_storing(stored: ScalerState, state: ScalerState) -> bool:
    if (stored.panic_since is None) != (state.panic_since is None):
        return True
    if (stored.down_since is None) != (state.down_since is None):
        return True
    return abs((state.last_request or 0.0) - (stored.last_request or 0.0)) >= REMEMBERED_SECONDS
