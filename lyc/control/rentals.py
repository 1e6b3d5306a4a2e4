"""Looks after rented machines until their providers have confirmed that they are gone: the sweep that leaves no orphan.

Each visit to a provider begins with a whole list of the machines that carry this controller's mark; what follows from
it is decided in `lyc.renting.settle`. The answer to a create or a terminate is only ever a shortcut. One machine, or
one provider, with which something is amiss keeps none of the others from being given back.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lyc.control.autoscale import wanted
from lyc.control.deps import Deps
from lyc.control.limits import Limits
from lyc.control.operations import bug
from lyc.errors import LycError, NotAuthorised
from lyc.ports import Provider
from lyc.records.host import Host
from lyc.records.operation import OperationKind
from lyc.records.placement import PlacementState
from lyc.records.rental import Leftover, Machine, Rental, RentalState
from lyc.renting.settle import Confirm, Known, Move, Step, Terminate, settle, vanished
from lyc.renting.transitions import OPEN
from lyc.renting.wanted import READY_SECONDS, Use, why_not
from lyc.store import Store

log = logging.getLogger(__name__)

BUSY_SECONDS, QUIET_SECONDS, SWEEP_SECONDS = 3.0, 30.0, 600.0
"""Between visits to a provider: while something is coming or going there, while something is rented there, and else.
Between two sweeps, which look for leftovers too.
"""
LEAST_SECONDS = 1.0
"""Between two visits, however often somebody calls for one."""
AT_ONCE = 16
_FINDING = (OperationKind.DEPLOY, OperationKind.EXPAND)
"""Operations that look for machines."""
OWNER_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Swept:
    """What a visit found and did, or would do. ended: machines that had to go; problem: what first went wrong."""

    provider: str
    machines: tuple[Machine, ...] = ()
    ended: tuple[Terminate, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    problem: dict[str, object] | None = None


class Rentals:
    """All providers side by side, and one visit at a time to each."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.limits: Limits | None = None
        """What ends deployments by itself; set once there are operations that can."""
        self._creating: set[str] = set()
        self._lock = threading.Lock()
        self._beside = threading.Lock()
        """Held while what belongs to no one run is removed, and when a create begins that may count on it."""
        self._visiting: dict[str, threading.Lock] = {}
        self._out: set[str] = set()
        self._due: dict[str, float] = {}
        self._swept: dict[str, float] = {}
        self._opened: dict[str, Provider] = {}
        self._calls = 0
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
        with self._lock:
            self._calls += 1
            self._due.clear()
        self._wake.set()

    @contextmanager
    def creating(self, run_id: str) -> Iterator[None]:
        """While a create is waited for, nobody concludes from an empty list that nothing comes of it. The intent is
        stored within.
        """
        with self._beside, self._lock:
            self._creating.add(run_id)
        try:
            yield
        finally:
            with self._lock:
                self._creating.discard(run_id)

    def sweep(self, *, dry_run: bool = False) -> list[Swept]:
        """All providers now. Leftovers are looked for too, and removed unless `dry_run`."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sweep") as pool:
            return list(pool.map(lambda name: self.visit(name, leftovers=True, dry_run=dry_run), self._providers()))

    def visit(self, name: str, *, leftovers: bool = False, dry_run: bool = False) -> Swept:
        """One provider, once. Never raises for what the provider does."""
        with self._lock:
            alone = self._visiting.setdefault(name, threading.Lock())
        with alone:
            swept = self._visit(name, leftovers=leftovers, dry_run=dry_run)
            if not dry_run:
                self._forget_hosts()
        return swept

    def _visit(self, name: str, *, leftovers: bool, dry_run: bool) -> Swept:
        try:
            return self._visited(self._open(name), name, leftovers=leftovers, dry_run=dry_run)
        except LycError as error:
            log.warning("machines at %s: %s", name, error)
            return Swept(name, problem=error.document())
        except Exception as error:
            log.exception("machines at %s", name)
            return Swept(name, problem=bug(f"looking after the machines at {name}", error).document())

    def _run(self) -> None:
        """Nothing ends it but `close`: who else would give the machines back?"""
        while not self._stop.is_set():
            pause = QUIET_SECONDS
            for work in (self._send_out, self._tidy, self._enforce):
                try:
                    pause = min(work() or pause, pause)
                except Exception:
                    log.exception("looking after rented machines")
                    pause = BUSY_SECONDS
            self._wake.wait(pause)
            self._wake.clear()

    def _send_out(self) -> float:
        """Begin the visits that are due. Seconds until the next one is."""
        now, soonest = self._deps.clock(), QUIET_SECONDS
        for name in self._providers():
            with self._lock:
                due = self._due.get(name, 0.0) - now
                if name in self._out:
                    continue
                if due <= 0:
                    self._out.add(name)
            if due <= 0:
                threading.Thread(target=self._go, args=(name,), name=f"visit-{name}", daemon=True).start()
            else:
                soonest = min(soonest, due)
        return soonest

    def _go(self, name: str) -> None:
        with self._lock:
            before = self._calls
        now, pace = self._deps.clock(), BUSY_SECONDS
        sweep = now - self._swept.get(name, float("-inf")) >= SWEEP_SECONDS
        if sweep:
            self._swept[name] = now  # before, so that what becomes gone meanwhile calls for the next one
        try:
            self.visit(name, leftovers=sweep)
            pace = self._pace(name)
        except Exception:
            log.exception("machines at %s", name)
        with self._lock:
            # Who called while it was on its way may have been too late for it.
            self._due[name] = self._deps.clock() + (pace if self._calls == before else LEAST_SECONDS)
            self._out.discard(name)
        self._wake.set()

    def _enforce(self) -> float | None:
        """Seconds until it has to be done again at the latest."""
        return None if self.limits is None else self.limits.enforce()

    def _providers(self) -> list[str]:
        """Where something is rented, credential or not, and where there is a credential."""
        renting = {rental.provider for rental in self._deps.store.rentals(open_only=True)}
        try:
            return sorted(renting | set(self._deps.accounts.sources()))
        except LycError as error:
            # One credential that cannot be read: where, the visit to its provider tells.
            log.warning("credentials of providers: %s", error)
            return sorted(renting | set(self._deps.accounts.kinds()))

    def _open(self, name: str) -> Provider:
        """The account. As long as something is rented there, one whose credential has been taken away meanwhile will do
        too: with what else could it be given back?
        """
        try:
            self._opened[name] = self._deps.accounts.open(name)
        except NotAuthorised:
            before = self._opened.get(name)
            if before is None or not self._deps.store.rentals(provider=name, open_only=True):
                raise
        return self._opened[name]

    def _pace(self, name: str) -> float:
        states = {one.state for one in self._deps.store.rentals(provider=name, open_only=True)}
        if states & {RentalState.INTENDED, RentalState.RELEASING}:
            return BUSY_SECONDS
        return QUIET_SECONDS if states else SWEEP_SECONDS

    def _tidy(self) -> None:
        """Credentials that were only lent are forgotten when nothing is rented with them any more, and nothing may be:
        a deployment that has given its machine back rents again when somebody asks.
        """
        store = self._deps.store
        if any(one.kind in _FINDING for one in store.running_operations()):
            return
        targets = {(one.name, one.target) for one in store.deployments()}
        hosts = {one.spec.host for name, target in targets for one in store.releases(name) if one.number == target}
        again = any(one.host in hosts for one in store.rentals() if one.host is not None)
        kinds = set(self._deps.accounts.kinds()) if again else set[str]()
        self._deps.accounts.settle({rental.provider for rental in store.rentals(open_only=True)} | kinds)

    def _visited(self, provider: Provider, name: str, *, leftovers: bool, dry_run: bool) -> Swept:
        machines = provider.list_owned(self.owner)
        rentals = {one.run_id: one for one in self._deps.store.rentals(provider=name)}
        steps = settle(machines, self._know(rentals, provider), self._deps.clock())
        ended = tuple(step for step in steps if isinstance(step, Terminate))
        problem = None if dry_run else self._apply(steps, provider)
        litter: tuple[Leftover, ...] = ()
        if leftovers:
            litter, trouble = self._leftovers(provider, machines, dry_run=dry_run)
            problem = problem or trouble
        return Swept(name, tuple(machines), ended, litter, problem.document() if problem else None)

    def _know(self, rentals: dict[str, Rental], provider: Provider) -> Known:
        now = self._deps.clock()
        use = use_of(self._deps.store, now)
        why = {run_id: word for run_id, one in rentals.items() if (word := why_not(one, use, now)) is not None}
        used = frozenset(rentals.keys() - why.keys())
        return Known(rentals, used, self._now_creating(), provider.capabilities.settle, why)

    def _apply(self, steps: Sequence[Step], provider: Provider) -> LycError | None:
        """All of them, whatever becomes of one; the first error. Those of a rental that has changed since are left for
        the next visit.
        """
        changed: set[str] = set()
        problem: LycError | None = None
        for step in steps:
            try:
                if step.run_id not in changed and not self._applied(step, provider):
                    changed.add(step.run_id)
            except LycError as error:
                log.warning("%s of %s: %s", type(step).__name__, step.run_id, error)
                problem = problem or error
        return problem

    def _applied(self, step: Step, provider: Provider) -> bool:
        match step:
            case Move(rental, was):
                if not self._deps.store.change_rental(rental, was):
                    return False
                log.info("rental %s: %s → %s %s", rental.run_id, was.state, rental.state, rental.reason)
                if rental.state not in OPEN:
                    self._swept.pop(rental.provider, None)  # what it leaves behind may cost
            case Terminate(machine, run_id, why):
                log.info("ending machine %s of %s at %s: %s", machine, run_id, provider.capabilities.name, why)
                provider.terminate(machine)
            case Confirm(run_id):
                self._confirm(run_id, provider)
        return True

    def _confirm(self, run_id: str, provider: Provider) -> None:
        rental = self._deps.store.rental(run_id)
        if rental is None or rental.machine is None or rental.state not in OPEN:
            return
        machine, now = provider.get(rental.machine), self._deps.clock()
        if machine is None or not machine.alive:
            self._applied(Move(vanished(rental, now), rental), provider)
            return
        problem = self._apply(
            settle([replace(machine, run_id=run_id)], self._know({run_id: rental}, provider), now), provider
        )
        if problem:
            raise problem

    def _leftovers(
        self, provider: Provider, machines: Sequence[Machine], *, dry_run: bool
    ) -> tuple[tuple[Leftover, ...], LycError | None]:
        """Of machines that are gone; and what first went wrong."""
        listed = provider.leftovers(self.owner)
        # Read after they were listed: what is made meanwhile for a new machine is not among them.
        alive = self._alive(provider) | {one.run_id for one in machines if one.run_id}
        found = [one for one in listed if (one.run_id not in alive if one.run_id else not alive)]
        problem: LycError | None = None
        for one in found if not dry_run else ():
            try:
                self._remove(one, provider)
            except LycError as error:
                log.warning("removing %s %s at %s: %s", one.kind, one.id, one.provider, error)
                problem = problem or error
        return tuple(found), problem

    def _remove(self, one: Leftover, provider: Provider) -> None:
        """What belongs to no run (a key of this controller) goes with the last machine, and not while one is begun."""
        log.info("removing %s %s at %s", one.kind, one.id, one.provider)
        if one.run_id:
            provider.remove(one)
            return
        with self._beside:
            if not self._now_creating() and not self._alive(provider):
                provider.remove(one)

    def _alive(self, provider: Provider) -> set[str]:
        name = provider.capabilities.name
        return {one.run_id for one in self._deps.store.rentals(provider=name, open_only=True)}

    def _now_creating(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._creating)

    def _forget_hosts(self) -> None:
        """Those whose machines are gone: what is reached under their addresses from now on is somebody else's."""
        for known in self._deps.store.hosts():
            rental = self._deps.store.rental(known.host.rental) if known.host.rental else None
            if rental is not None and rental.state not in OPEN:
                try:
                    self._forget(known.host)
                except LycError as error:
                    log.warning("forgetting %s: %s", known.host.name, error)

    def _forget(self, host: Host) -> None:
        for one in self._deps.store.placements.list():
            if one.host == host.name:
                self._deps.store.placements.remove(one.id)
        self._deps.sites.leave(host.name)
        self._deps.hosts.forget(host)
        self._deps.store.remove_host(host.name)


def use_of(store: Store, now: float) -> Use:
    """What uses machines now, as the store has it."""
    # First: what a deploy that has ended meanwhile has stored is then seen below.
    deploying = {one.deployment for one in store.running_operations() if one.kind in _FINDING}
    deployments = {one.name: one for one in store.deployments()}
    targets: dict[str, str] = {}
    patience: dict[str, float] = {}
    for one in deployments.values():
        for release in store.releases(one.name):
            if release.number == one.target:
                targets[one.name] = release.spec.host
                patience[one.name] = release.spec.rent.ready_timeout or READY_SECONDS
    placed: defaultdict[str, set[str]] = defaultdict(set)
    for place in store.placements.list():
        if place.host is not None and place.state is not PlacementState.FAILED:
            placed[place.deployment].add(place.host)
    replicas = [replica for name in deployments for replica in store.replicas(name)]
    desired = {name: wanted(one, now) for name, one in deployments.items()}
    return Use(deployments, targets, replicas, deploying, patience, placed, desired)


def leaving_hosts(store: Store, deployment: str) -> frozenset[str]:
    """Machines of a deployment on which nothing is to begin any more: their provider takes them back, or they are being
    given back. The one that a release was deployed to is told apart: see `lyc.control.rent_again`.
    """
    further = {one.host for one in store.placements.list(deployment)}
    return frozenset(
        one.host
        for one in store.rentals(deployment=deployment, open_only=True)
        if one.host is not None
        and (one.notice_at is not None or (one.state is RentalState.RELEASING and one.host in further))
    )
