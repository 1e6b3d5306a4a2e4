"""The operation behind `lyc down`: stop taking requests, finish the running ones, stop, forget."""

from __future__ import annotations

import threading

from lyc.control.deps import Deps
from lyc.control.layout import attempt_directory
from lyc.control.operations import Talk
from lyc.control.reconcile import Reconciler
from lyc.control.rentals import Rentals
from lyc.errors import NotFound
from lyc.records.deployment import ReplicaState
from lyc.records.host import LOCAL
from lyc.records.operation import Operation
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
from lyc.rollout.transitions import ENDED

WATCH_SECONDS = 0.05
RELEASE_SECONDS = 1.0
FORGET_SECONDS = 5.0
"""Longest wait for hosts whose machines are gone to be forgotten, which happens in a moment and by itself."""


class Remover:
    """Carries out downs."""

    def __init__(self, deps: Deps, reconciler: Reconciler, rentals: Rentals) -> None:
        self._deps = deps
        self._rentals = rentals
        self._reconciler = reconciler

    def run(self, operation: Operation, talk: Talk) -> dict[str, object]:
        """See `operations.Work`. A deployment that is gone already is a success."""
        name, store = operation.deployment, self._deps.store
        timeout = float(str(operation.request.get("drain_timeout", 30.0)))
        began = self._deps.steady()
        stopped = [r.id for r in store.replicas(name) if r.state is not ReplicaState.STOPPED]
        abandon = bool(operation.request.get("force", False))
        store.change_deployment(name, began, stopping=True, drain_timeout=timeout, abandon=abandon)
        self._reconciler.wake(name)
        draining = [r for r in store.replicas(name) if r.state in (ReplicaState.READY, ReplicaState.DRAINING)]
        if draining:
            with talk.during(Phase.DRAIN):
                self._wait(name, talk)
        with talk.during(Phase.STOP):
            waited = threading.Event()
            while store.find_deployment(name) is not None:
                self._say_who_is_waited_for(name, talk)
                self._reconciler.wake(name)
                waited.wait(WATCH_SECONDS)
        released = self._give_back(name, talk)
        return {"name": name, "stopped": stopped, "released": released, "seconds": self._deps.steady() - began}

    def _give_back(self, name: str, talk: Talk) -> list[str]:
        """Until every provider has confirmed that the machines of this deployment are gone. Run ids."""
        store, waited = self._deps.store, threading.Event()
        rented = [one.run_id for one in store.rentals(deployment=name, open_only=True)]
        if not rented:
            return []
        with talk.during(Phase.RELEASE):
            while left := store.rentals(deployment=name, open_only=True):
                self._rentals.wake()
                words = ", ".join(f"{one.machine or one.run_id} at {one.provider}" for one in left)
                talk.phase(PhaseEvent(Phase.RELEASE, PhaseStatus.PROGRESS, f"waiting for {words} to be gone"))
                waited.wait(RELEASE_SECONDS)
        deadline = self._deps.steady() + FORGET_SECONDS
        while {known.host.rental for known in store.hosts()} & set(rented) and self._deps.steady() < deadline:
            waited.wait(WATCH_SECONDS)
        return rented

    def _say_who_is_waited_for(self, name: str, talk: Talk) -> None:
        for replica in self._deps.store.replicas(name):
            if replica.host == LOCAL or replica.state in ENDED:
                continue
            directory = attempt_directory(self._deps.settings, replica)
            try:
                status = self._deps.sites.site(replica.host).supervisor.status(directory)
            except NotFound:  # its machine is gone, and what ran there with it
                continue
            if status.state == "unknown" and status.error is not None:
                words = f"{replica.host} does not answer; lyc down {name} --force goes on without it"
                talk.phase(PhaseEvent(Phase.STOP, PhaseStatus.PROGRESS, words))

    def _wait(self, name: str, talk: Talk) -> None:
        """Until no replica drains any more."""
        waited = threading.Event()
        while True:
            states = {replica.state for replica in self._deps.store.replicas(name)}
            if not states & {ReplicaState.READY, ReplicaState.DRAINING}:
                return
            active = sum((self._deps.gateway.status().active or {}).values())
            talk.phase(PhaseEvent(Phase.DRAIN, PhaseStatus.PROGRESS, f"{active} requests still running"))
            waited.wait(WATCH_SECONDS)
