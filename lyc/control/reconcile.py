"""The loop: load desired and actual state, ask `rollout.decide` for the difference, act, again.

One thread a deployment.
Each step is written to the store before it is done, and each act is idempotent, so the loop may die at any instant.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lyc.control import waketimes
from lyc.control.acts import Acts
from lyc.control.autoscale import wanted
from lyc.control.deps import Deps
from lyc.control.engine_process import process_of
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.host_plans import plan_on
from lyc.control.layout import attempt_directory, gateway_process, replica_root
from lyc.control.leaps import Leaps
from lyc.control.observer import Observer
from lyc.control.pace import Pace
from lyc.control.places import Places
from lyc.control.placing import devices_for
from lyc.control.rentals import leaving_hosts
from lyc.engines import sleep
from lyc.errors import LycError, NotFound, Unreachable
from lyc.records.deployment import Deployment, Release, ReleaseState, Replica, ReplicaState
from lyc.records.engine import EngineLoad, EngineProgress
from lyc.records.host import LOCAL
from lyc.rollout import Signal, Situation, decide, given_up, moved, shifted
from lyc.rollout.actions import (
    Action,
    CreateReplica,
    Expand,
    MoveReplica,
    RemoveDeployment,
    Retarget,
    SettleRelease,
    SleepEngine,
    StartProcess,
    StopProcess,
    WakeEngine,
)
from lyc.rollout.transitions import ENDED

log = logging.getLogger(__name__)

BUSY_SECONDS = 0.1
IDLE_SECONDS = 0.5
KEPT_DEAD = 5
LookFor = Callable[[str, int], str]
"""Begins to look for one more host for a release of a deployment; how that went."""
Wished = Callable[[Deployment, Sequence[Release], Sequence[Replica], int], int]
"""How many of the replicas that are desired there may be now."""
_STEADY = frozenset({ReplicaState.READY, ReplicaState.ASLEEP}) | ENDED


class Worker:
    """Reconciles one deployment until it is gone."""

    def __init__(
        self,
        deps: Deps,
        gatekeeper: Gatekeeper,
        name: str,
        *,
        in_flight: Callable[[str], int | None],
        passing: Callable[[], Mapping[str, int]],
        sent: Callable[[str], int | None],
        wished: Wished,
        expand: LookFor,
        waiting: Callable[[Situation], frozenset[str]],
        loops: Callable[[], int],
    ) -> None:
        self._deps = deps
        self._gatekeeper = gatekeeper
        self._name = name
        self._wished = wished
        self._expand = expand
        self._waiting = waiting
        self._loops = loops
        self._wake = threading.Event()
        self._observer = Observer(
            deps, name, in_flight, passing, sent=sent, pulse_clock=deps.steady, answered=self._wake.set
        )
        self._leaps = Leaps(deps.clock, deps.steady)
        self._acts = Acts(deps, name)
        self._pace = Pace()
        self._places = Places(deps, name, self._wake.set)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"reconcile-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def wake(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(30)

    def progress(self, replica: str) -> EngineProgress | None:
        return self._observer.progress(replica)

    def load(self, replica: str) -> EngineLoad | None:
        return self._observer.load(replica)

    def sleeping(self, replica: str) -> bool:
        return self._observer.sleeping(replica)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause, began = IDLE_SECONDS, time.thread_time()
            try:
                situation = self._situation()
                if situation is None:
                    return
                acted = self._step(situation)
                self._remember_reported(situation)
                steady = all(_steady(replica, situation) for replica in situation.replicas)
                pause = 0.0 if acted else IDLE_SECONDS if steady else BUSY_SECONDS
                if steady and not acted:
                    cost = time.thread_time() - began
                    pause = self._pace.rest(pause, cost, self._loops(), asleep=_asleep(situation))
            except Exception:
                log.exception("reconciling %s", self._name)
            self._wake.wait(pause)
            self._wake.clear()

    def _situation(self) -> Situation | None:
        store = self._deps.store
        deployment = store.find_deployment(self._name)
        if deployment is None:
            return None
        replicas = tuple(store.replicas(self._name))
        tasks = {release.number: release.plan.task for release in store.releases(self._name)}
        seen = {replica.id: self._observer.look(replica, tasks.get(replica.release, "")) for replica in replicas}
        # Read after the looks, which may take as long as a first completion: the wish may have changed meanwhile.
        deployment = store.find_deployment(self._name)
        if deployment is None:
            return None
        leaving = leaving_hosts(store, self._name)
        releases = tuple(store.releases(self._name))
        desired = self._wished(deployment, releases, replicas, wanted(deployment, self._deps.clock()))
        found = self._places.complete(Situation(deployment, releases, replicas, seen, leaving, desired=desired))
        return replace(found, waiting=self._waiting(found))

    def _remember_reported(self, situation: Situation) -> None:
        """Store once per release what its engine said of its memory, to be held against the forecast."""
        for replica in situation.replicas:
            release = situation.release(replica.release)
            if replica.state is ReplicaState.READY and release is not None and release.reported is None:
                self._deps.store.set_reported(self._name, release.number, self._observer.reported(replica))

    def _step(self, situation: Situation) -> bool:
        if leap := self._leaps.found():
            log.warning("the clock was set by %+.0f s: what is due is due as much later", leap)
            for replica in situation.replicas:
                self._deps.store.put_replica(shifted(replica, leap))
            return True
        actions = decide(situation, self._deps.clock(), self._deps.policy)
        replicas = {replica.id: replica for replica in situation.replicas}
        for action in actions:
            with self._acts.written(action) as outcome:
                outcome.result = self._apply(action, situation, replicas)
        return any(not isinstance(action, StopProcess | SleepEngine | WakeEngine) for action in actions)

    def _apply(self, action: Action, situation: Situation, replicas: dict[str, Replica]) -> str:
        """How it ended, for the journal."""
        store, now = self._deps.store, self._deps.clock()
        match action:
            case CreateReplica(release, host):
                self._create(release, host, situation, now)
            case Expand(release):
                return self._expand(self._name, release)
            case MoveReplica():
                self._move(action, replicas, now)
            case StartProcess(identity):
                return self._start(replicas[identity], situation, replicas)
            case SleepEngine(identity):
                self._observer.tell(replicas[identity], sleep.SLEEP_PATH)
            case WakeEngine(identity):
                self._observer.tell(replicas[identity], sleep.WAKE_PATH)
            case StopProcess(identity, grace):
                return self._end(replicas[identity], grace)
            case SettleRelease():
                self._settle(action, now)
            case Retarget(number, error):
                store.change_deployment(self._name, now, target=number, error=error, canary=None)
            case RemoveDeployment():
                self._remove()
        return "done"

    def _settle(self, action: SettleRelease, now: float) -> None:
        log.info("release %s/%d is %s", self._name, action.release, action.state)
        active = now if action.state is ReleaseState.ACTIVE and not action.back else None
        self._deps.store.set_release_state(self._name, action.release, action.state, action.error, at=active)
        if action.state is ReleaseState.ACTIVE and not action.back:
            self._deps.store.change_deployment(self._name, now, error=None)

    def _create(self, number: int, host: str | None, situation: Situation, now: float) -> None:
        release, store = situation.release(number), self._deps.store
        host = host or (release.spec.host if release else LOCAL)
        planned = plan_on(release, host, store.placements.list(self._name)) if release else None
        token = secrets.token_hex(3)
        identity = f"{self._name}-{number}-{token}"
        store.put_replica(
            Replica(
                identity, self._name, number, host, ReplicaState.PENDING, now, now,
                socket=str(self._deps.settings.socket(f"r-{secrets.token_hex(6)}")),
                devices=devices_for(store, release, host, planned) if release and planned else None,
            )
        )  # fmt: skip

    def _move(self, action: MoveReplica, replicas: dict[str, Replica], now: float) -> None:
        old = replicas[action.replica]
        new = moved(old, action, now)
        state = new.state
        log.info("replica %s: %s → %s (%s)", old.id, old.state, state, action.signal)
        self._deps.store.put_replica(new)
        replicas[old.id] = new
        if {old.state, state} & {ReplicaState.READY, ReplicaState.DRAINING}:
            self._gatekeeper.sync()
        if action.signal is Signal.PROVEN:  # whoever waits for it comes first
            self._measure(new, woken=old.woken_at)
        if state in ENDED:
            self._prune()

    def _measure(self, ready: Replica, woken: float | None) -> None:
        """Keep how long it took, for whoever waits for the next one."""
        release = next((one for one in self._deps.store.releases(self._name) if one.number == ready.release), None)
        if release is not None:
            waketimes.note(self._deps.store, ready, release, woken)

    def _start(self, replica: Replica, situation: Situation, replicas: dict[str, Replica]) -> str:
        try:
            site = self._deps.sites.site(replica.host)
            site.supervisor.start(process_of(self._deps, replica, situation.release(replica.release), site))
        except Unreachable as error:  # when its host answers again it is found absent, and started then
            log.warning("starting %s: %s", replica.id, error)
            return error.ref
        except LycError as error:
            signal = Signal.STOP if self._displaced(replica, situation, error) else Signal.GAVE_UP
            self._move(MoveReplica(replica.id, signal, error.document()), replicas, self._deps.clock())
            return error.ref
        return "done"

    def _displaced(self, replica: Replica, situation: Situation, error: LycError) -> bool:
        """Whether it was on a further host where the weights are no longer: then its release is not there any more."""
        release = situation.release(replica.release)
        if error.ref != "weights-missing" or release is None or release.spec.host == replica.host:
            return False
        for one in self._deps.store.placements.list(self._name):
            if (one.release, one.host) == (replica.release, replica.host):
                self._deps.store.placements.remove(one.id)
        return True

    def _end(self, replica: Replica, grace: float) -> str:
        log.info("stopping %s", replica.id)
        try:
            directory = attempt_directory(self._deps.settings, replica)
            self._deps.sites.site(replica.host).supervisor.stop(directory, grace=grace)
        except (Unreachable, NotFound) as error:  # asked again as long as it is not seen to have ended
            log.warning("stopping %s: %s", replica.id, error)
            return error.ref
        return "done"

    def _prune(self) -> None:
        """Forget dead replicas beyond the last few, whose logs may still be asked for."""
        dead = [replica for replica in self._deps.store.replicas(self._name) if replica.state in ENDED]
        for replica in [one for one in dead if not given_up(one)][:-KEPT_DEAD]:  # what was given up keeps its place
            self._deps.store.remove_replica(replica.id)
            self._forget(replica)
            shutil.rmtree(attempt_directory(self._deps.settings, replica).parent, ignore_errors=True)

    def _remove(self) -> None:
        for replica in self._deps.store.replicas(self._name):
            Path(replica.socket).unlink(missing_ok=True)
            self._forget(replica)
        shutil.rmtree(self._deps.settings.deployments_dir / self._name, ignore_errors=True)
        self._deps.store.remove_deployment(self._name)
        self._gatekeeper.sync()
        log.info("deployment %s is gone", self._name)

    def _forget(self, replica: Replica) -> None:
        """Leave nothing of it on its host; if that does not answer now, the sweep does it when it does."""
        self._observer.forget(replica.id)
        self._acts.forget(replica.id)
        root = replica_root(self._deps.settings, replica)
        try:
            supervisor = self._deps.sites.site(replica.host).supervisor
            for attempt in range(1, replica.attempts + 1):
                supervisor.forget(root / str(attempt))
        except LycError as error:
            log.warning("forgetting %s: %s", replica.id, error)


def _steady(replica: Replica, situation: Situation) -> bool:
    """Whether nothing is expected of it at any moment: it serves, has ended, or its host does not answer."""
    seen = situation.seen.get(replica.id)
    return replica.state in _STEADY or (seen is not None and seen.process == "unknown")


def _asleep(situation: Situation) -> bool:
    """Whether nothing of it runs, or shall."""
    return not situation.desired and all(replica.state in ENDED for replica in situation.replicas)


class Reconciler:
    """All workers, and the sweep for processes that nobody knows."""

    def __init__(self, deps: Deps, gatekeeper: Gatekeeper) -> None:
        self._deps = deps
        self._gatekeeper = gatekeeper
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()
        self.in_flight: Callable[[str], int | None] = lambda _: None
        self.sent: Callable[[str], int | None] = lambda _: None
        self.passing: Callable[[], Mapping[str, int]] = dict
        self.wished: Wished = lambda _deployment, _releases, _replicas, desired: desired
        self.expand: LookFor = lambda _name, _release: "nobody looks"
        self.waiting: Callable[[Situation], frozenset[str]] = lambda _: frozenset()
        self.waits: Callable[[str], str] = lambda _: ""

    def start(self) -> None:
        """Adopt what runs, kill what runs but is not known."""
        self.sweep()
        for deployment in self._deps.store.deployments():
            self.wake(deployment.name)

    def wake(self, name: str) -> None:
        """Look at this deployment now; it may be new."""
        with self._lock:
            worker = self._workers.get(name)
            if worker is None or not worker.alive():
                worker = self._workers[name] = Worker(
                    self._deps,
                    self._gatekeeper,
                    name,
                    in_flight=self.in_flight,
                    passing=self.passing,
                    sent=self.sent,
                    wished=self.wished,
                    expand=self.expand,
                    waiting=self.waiting,
                    loops=lambda: len(self._workers),
                )
                worker.start()
        worker.wake()

    def progress(self, name: str, replica: str) -> EngineProgress | None:
        if waits := self.waits(name):
            return EngineProgress("import", waits)
        worker = self._workers.get(name)
        return worker.progress(replica) if worker else None

    def load(self, name: str, replica: str) -> EngineLoad | None:
        """What a replica's engine said of its load last."""
        worker = self._workers.get(name)
        return worker.load(replica) if worker else None

    def sleeping(self, name: str, replica: str) -> bool:
        """Whether a replica's engine has said that it sleeps."""
        worker = self._workers.get(name)
        return worker is not None and worker.sleeping(replica)

    def sweep(self) -> list[int]:
        """Kill processes of this home that the store does not know. Returns their pids."""
        store, settings = self._deps.store, self._deps.settings
        known = [
            attempt_directory(settings, replica)
            for deployment in store.deployments()
            for replica in store.replicas(deployment.name)
        ]
        strays = self._deps.supervisor.stray([*known, gateway_process(settings), *self._deps.sites.directories()])
        if strays:
            log.warning("killing stray processes %s", strays)
            self._deps.supervisor.reap(strays)
        return strays

    def close(self) -> None:
        """End all threads; processes go on."""
        for worker in self._workers.values():
            worker.close()
