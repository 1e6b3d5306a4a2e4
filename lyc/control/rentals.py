"""Looks after rented machines until their providers have confirmed that they are gone: the sweep that leaves no orphan.

Each visit to a provider begins with a whole list of the machines that carry this controller's mark; what follows from
it is decided in `lyc.renting.settle`. The answer to a create or a terminate is only ever a shortcut.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lyc.control.deps import Deps
from lyc.control.limits import Limits
from lyc.errors import LycError, NotFound
from lyc.ports import Provider
from lyc.records.operation import OperationKind
from lyc.records.rental import Leftover, Machine, Rental, RentalState
from lyc.renting.settle import Confirm, Known, Move, Terminate, settle, vanished
from lyc.renting.transitions import OPEN
from lyc.renting.wanted import READY_SECONDS, Use, why_not
from lyc.store import Store

log = logging.getLogger(__name__)

BUSY_SECONDS, QUIET_SECONDS, SWEEP_SECONDS = 3.0, 30.0, 600.0
"""Between visits to a provider: while something is coming or going there, while something is rented there, and else."""
OWNER_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Swept:
    """What a visit found and did, or would do. ended: machines that had to go; problem: why it could not look."""

    provider: str
    machines: tuple[Machine, ...] = ()
    ended: tuple[Terminate, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    problem: dict[str, object] | None = None


class Rentals:
    """One thread, and one visit at a time to each provider."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.limits: Limits | None = None
        """What ends deployments by itself; set once there are operations that can."""
        self._creating: set[str] = set()
        self._lock = threading.Lock()
        self._visiting: dict[str, threading.Lock] = {}
        self._due: dict[str, float] = {}
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rentals", daemon=True)

    @property
    def owner(self) -> str:
        """By which this controller's machines are told from all others."""
        return self._deps.owner[:OWNER_DIGITS]

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(5)

    def wake(self) -> None:
        """Look at all of them now."""
        self._due.clear()
        self._wake.set()

    @contextmanager
    def creating(self, run_id: str) -> Iterator[None]:
        """While a create is waited for, nobody concludes from an empty list that nothing comes of it."""
        with self._lock:
            self._creating.add(run_id)
        try:
            yield
        finally:
            with self._lock:
                self._creating.discard(run_id)

    def sweep(self, *, dry_run: bool = False) -> list[Swept]:
        """All providers now. Leftovers are looked for too, and removed unless `dry_run`."""
        return [self.visit(name, leftovers=True, dry_run=dry_run) for name in self._providers()]

    def visit(self, name: str, *, leftovers: bool = False, dry_run: bool = False) -> Swept:
        """One provider, once. Never raises for what the provider does."""
        with self._lock:
            alone = self._visiting.setdefault(name, threading.Lock())
        with alone:
            try:
                return self._visited(self._deps.accounts.open(name), name, leftovers=leftovers, dry_run=dry_run)
            except LycError as error:
                log.warning("machines at %s: %s", name, error)
                return Swept(name, problem=error.document())

    def _run(self) -> None:
        while not self._stop.is_set():
            now, names = self._deps.clock(), self._providers()
            for name in names:
                if self._due.get(name, 0.0) <= now and not self._stop.is_set():
                    try:
                        self.visit(name)
                    except Exception:
                        log.exception("machines at %s", name)
                    self._due[name] = self._deps.clock() + self._pace(name)
            self._tidy()
            self._enforce()
            soonest = min((self._due.get(name, 0.0) for name in names), default=now + QUIET_SECONDS)
            self._wake.wait(min(max(soonest - self._deps.clock(), 0.1), QUIET_SECONDS))
            self._wake.clear()

    def _enforce(self) -> None:
        try:
            if self.limits is not None:
                self.limits.enforce()
        except Exception:
            log.exception("limits")

    def _providers(self) -> list[str]:
        """Where something is rented, credential or not, and where there is a credential."""
        renting = {rental.provider for rental in self._deps.store.rentals(open_only=True)}
        return sorted(renting | set(self._deps.accounts.sources()))

    def _pace(self, name: str) -> float:
        states = {one.state for one in self._deps.store.rentals(open_only=True) if one.provider == name}
        if states & {RentalState.INTENDED, RentalState.RELEASING}:
            return BUSY_SECONDS
        return QUIET_SECONDS if states else SWEEP_SECONDS

    def _tidy(self) -> None:
        """Credentials that were only lent are forgotten when nothing is rented with them any more."""
        store = self._deps.store
        if not any(one.kind is OperationKind.DEPLOY for one in store.running_operations()):
            self._deps.accounts.settle({rental.provider for rental in store.rentals(open_only=True)})

    def _visited(self, provider: Provider, name: str, *, leftovers: bool, dry_run: bool) -> Swept:
        machines = provider.list_owned(self.owner)
        rentals = {one.run_id: one for one in self._deps.store.rentals() if one.provider == name}
        known = Known(rentals, self._wanted(rentals), self._now_creating(), provider.capabilities.settle)
        steps = settle(machines, known, self._deps.clock())
        ended = tuple(step for step in steps if isinstance(step, Terminate))
        if not dry_run:
            for step in steps:
                self._apply(step, provider)
        litter = self._leftovers(provider, rentals, machines, dry_run=dry_run) if leftovers else ()
        return Swept(name, tuple(machines), ended, litter)

    def _apply(self, step: Move | Terminate | Confirm, provider: Provider) -> None:
        store = self._deps.store
        match step:
            case Move(rental, was):
                if store.change_rental(rental, was):
                    log.info("rental %s: %s → %s %s", rental.run_id, was, rental.state, rental.reason)
                    if rental.state not in OPEN:
                        self._forget_host(rental)
            case Terminate(machine, run_id, why):
                log.info("ending machine %s of %s at %s: %s", machine, run_id, provider.capabilities.name, why)
                provider.terminate(machine)
            case Confirm(run_id):
                gone = store.rental(run_id)
                if gone is not None and gone.machine is not None and provider.get(gone.machine) is None:
                    self._apply(Move(vanished(gone, self._deps.clock()), gone.state), provider)

    def _leftovers(
        self, provider: Provider, rentals: dict[str, Rental], machines: Sequence[Machine], *, dry_run: bool
    ) -> tuple[Leftover, ...]:
        """Of machines that are gone. What belongs to no run (a key of this controller) goes with the last one."""
        alive = {run_id for run_id, one in rentals.items() if one.state in OPEN}
        alive |= {one.run_id for one in machines if one.run_id}
        found = [
            one for one in provider.leftovers(self.owner) if (one.run_id not in alive if one.run_id else not alive)
        ]
        for one in found if not dry_run else ():
            log.info("removing %s %s at %s", one.kind, one.id, one.provider)
            provider.remove(one)
        return tuple(found)

    def _now_creating(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._creating)

    def _wanted(self, rentals: dict[str, Rental]) -> frozenset[str]:
        use, now = use_of(self._deps.store), self._deps.clock()
        return frozenset(run_id for run_id, one in rentals.items() if why_not(one, use, now) is None)

    def _forget_host(self, rental: Rental) -> None:
        """Its machine is gone: what is reached under its address from now on is somebody else's."""
        if rental.host is None:
            return
        try:
            host = self._deps.store.host(rental.host).host
        except NotFound:
            return
        self._deps.sites.leave(rental.host)
        self._deps.hosts.forget(host)
        self._deps.store.remove_host(rental.host)


def use_of(store: Store) -> Use:
    """What uses machines now, as the store has it."""
    deployments = {one.name: one for one in store.deployments()}
    targets: dict[str, str] = {}
    patience: dict[str, float] = {}
    for one in deployments.values():
        for release in store.releases(one.name):
            if release.number == one.target:
                targets[one.name] = release.spec.host
                patience[one.name] = release.spec.rent.ready_timeout or READY_SECONDS
    replicas = [replica for name in deployments for replica in store.replicas(name)]
    deploying = {one.deployment for one in store.running_operations() if one.kind is OperationKind.DEPLOY}
    return Use(deployments, targets, replicas, deploying, patience)
