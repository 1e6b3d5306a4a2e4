"""A machine for a deployment: offers asked and ranked, one taken, waited for until it answers over SSH.

Every step can be killed and done again: the intent is stored before the create, the operation that is taken up again
finds it, and what came of a create is always read from the provider's own list.
"""

from __future__ import annotations

import logging
import secrets
import statistics
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from lyc.agent.lease import UNCLAIMED
from lyc.control.deps import Deps
from lyc.control.market import Listing, Market
from lyc.control.operations import Talk
from lyc.control.rentals import Rentals
from lyc.control.residency import rules_for
from lyc.errors import Failed, LycError, NoFit, NotAuthorised, NotFound, Unreachable, UsageError
from lyc.planning import offers as planning
from lyc.planning.catalogue import prices
from lyc.planning.catalogue.cards import find
from lyc.ports import Provider
from lyc.records.deployment import DeploymentSpec
from lyc.records.host import Host, KnownHost
from lyc.records.model import ModelFacts
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
from lyc.records.rental import OWN, Capabilities, Machine, MachineState, Order, Rental, RentalState
from lyc.records.wish import Wish
from lyc.renting.choice import Candidate, Choice, rank
from lyc.renting.rules import refuse
from lyc.renting.settle import never, released, told
from lyc.renting.wanted import READY_SECONDS
from lyc.units import GIB, show_duration

log = logging.getLogger(__name__)

TRIES = 5
"""Offers that are tried before a person is asked again."""
LEASE_SECONDS = 900
ENGINE_BYTES = 40 * GIB
"""Room for the engine, its compile cache and the system, beside the weights."""
Cancelled = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two questions to a provider, and between two tries to reach a machine."""

    ask: float = 3.0
    reach: float = 2.0


class Renter:
    """Rents for deploys, one at a time for each."""

    def __init__(
        self,
        deps: Deps,
        rentals: Rentals,
        market: Market,
        pace: Pace | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """pause: waits so many seconds."""
        self._pause = pause or threading.Event().wait
        self._deps = deps
        self._rentals = rentals
        self._market = market
        self._pace = pace or Pace()
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def choice(self, spec: DeploymentSpec, facts: ModelFacts, wish: Wish) -> tuple[Choice, Listing]:
        """What could be rented, the best first. Raises what `Market.offers` and `rules_of` raise."""
        rules = rules_for(spec)
        rented_from = tuple(name for name in spec.rent.providers if name != OWN)
        listing = self._market.offers(rented_from) if rented_from or not spec.rent.providers else Listing((), {}, ())
        book = prices.bundled()
        kinds = {name: kind.capabilities for name, kind in self._deps.accounts.kinds().items()}
        fits = partial(planning.fits, facts, wish)
        took = {name: self._wake_of(name) for name in listing.asked}
        ranked = rank(
            listing.offers,
            kinds,
            rules,
            book.rates,
            fits=fits,
            currency=wish.currency,
            wake=lambda offer: took.get(offer.provider),
        )
        return ranked, listing

    def serves(self, host: str) -> None:
        """A deployment on this host has been seen to serve: how long that took is what the next one is told."""
        for rental in self._deps.store.rentals(open_only=True):
            if rental.host == host and rental.ready_at is None:
                self._deps.store.change_rental(replace(rental, ready_at=self._deps.clock()), rental)

    def _wake_of(self, provider: str) -> float | None:
        """Seconds from the order to the first answer, as it was with this provider: the median; None = never seen."""
        rentals = self._deps.store.rentals(provider=provider)
        took = [one.ready_at - one.intended_at for one in rentals if one.ready_at is not None]
        return statistics.median(took) if took else None

    def open_rentals(self, spec: DeploymentSpec) -> list[Rental]:
        """Those of this deployment that may serve it on, the newest last: wanted still, and within the rules."""
        rules, kinds = replace(rules_for(spec), max_price=None, spot=True), self._deps.accounts.kinds()
        found = self._deps.store.rentals(deployment=spec.name, open_only=True)
        good = [one for one in found if not one.reason and one.state is not RentalState.RELEASING]
        return [
            one
            for one in good
            if one.provider in kinds
            and refuse(replace(one.offer, stock=None), kinds[one.provider].capabilities, rules, None) is None
            and (spec.gpu in ("auto", "cpu") or one.offer.card == find(spec.gpu).name)
        ]

    def turn(self, name: str) -> threading.Lock:
        """Held by whoever decides for a deployment on which machine it runs."""
        return self._turns[name]

    def take(
        self,
        spec: DeploymentSpec,
        candidate: Candidate,
        weights: int,
        cancelled: Cancelled,
        *,
        until: float | None = None,
    ) -> Rental:
        """Order it. until: when it shall go at the latest, None = as the spec says from now on. Raises NoFit and
        UsageError `offer-gone` where another offer may do, and what `create` raises.
        """
        offer = candidate.offer
        provider = self._deps.accounts.open(offer.provider)
        capabilities, now = provider.capabilities, self._deps.clock()
        disk = spec.rent.disk or weights + ENGINE_BYTES
        if offer.disk is not None and offer.disk < disk:
            disk = offer.disk
        if until is None and spec.rent.ttl is not None:
            until = now + spec.rent.ttl
        rental = Rental(
            run_id=f"{self._rentals.owner}-{secrets.token_hex(4)}",
            provider=offer.provider,
            deployment=spec.name,
            offer=offer,
            state=RentalState.INTENDED,
            intended_at=now,
            updated_at=now,
            granularity=capabilities.granularity,
            minimum=capabilities.minimum,
            time_limit=until,
            per_million=None if candidate.fit.cost is None else candidate.fit.cost.per_million,
        )
        _, public = self._deps.hosts.own_key()
        order = Order(
            run_id=rental.run_id,
            offer=offer,
            public_key=public,
            boot_script=boot_script(READY_SECONDS + LEASE_SECONDS, capabilities),
            disk=disk,
            time_limit=None if until is None else until - now,
        )
        cancelled()
        with self._rentals.creating(rental.run_id):
            self._deps.store.add_rental(rental)
            return self._created(provider, rental, order)

    def bring_up(self, rental: Rental, spec: DeploymentSpec, talk: Talk, cancelled: Cancelled) -> Host:
        """Wait until its machine answers over SSH, and know it as a host. Raises Failed `machine-failed`,
        `machine-gone`, `never-reachable`; the rental is then on its way out.
        """
        until = rental.intended_at + (spec.rent.ready_timeout or READY_SECONDS)
        provider = self._deps.accounts.open(rental.provider)
        rental = self._claimed(rental)
        while True:
            cancelled()
            rental = self._deps.store.rental(rental.run_id) or rental
            if rental.state not in (RentalState.INTENDED, RentalState.RENTED):
                raise Failed("machine-gone", f"the machine at {rental.provider} went away: {rental.reason}")
            known = self._host(rental.host)
            if known is not None:
                return known
            machine = self._look(provider, rental)
            since = show_duration(self._deps.clock() - rental.intended_at)
            if machine is not None:
                rental = self._tell(rental, machine)
                words = f"{machine.id} at {rental.provider} is {machine.word}, since {since}"
                talk.phase(PhaseEvent(Phase.RENT, PhaseStatus.PROGRESS, words))
                if machine.state is MachineState.FAILED:
                    self.release(rental, "failed-at-provider")
                    raise Failed(
                        "machine-failed",
                        f"{rental.provider} could not start the machine",
                        why=machine.problem or machine.word,
                    )
                if machine.state in (MachineState.RUNNING, MachineState.UNKNOWN) and rental.address:
                    host = self._reached(rental)
                    if host is not None:
                        return host
            if self._deps.clock() > until:
                self.release(rental, "never-ready")
                span = show_duration(until - rental.intended_at)
                raise Failed(
                    "never-reachable",
                    f"the machine at {rental.provider} did not answer over SSH within {span}",
                    why=f"it is {machine.word if machine else 'not in the list'}",
                    hint="it is being given back; lyc deploy again tries another, --ready-timeout waits longer",
                )
            self._pause(self._pace.reach if rental.address else self._pace.ask)

    def _claimed(self, rental: Rental) -> Rental:
        """As it is now, and newer than whatever was read before somebody wanted it again: see `Rentals`."""

        def touched(now: Rental) -> Rental | None:
            return replace(now, updated_at=self._deps.clock()) if now.state is RentalState.RENTED else None

        return self._changed(rental, touched)

    def release(self, rental: Rental, reason: str, error: LycError | None = None) -> None:
        """It shall go, and goes at the next visit, which begins now."""

        def given_up(now: Rental) -> Rental | None:
            if now.state not in (RentalState.INTENDED, RentalState.RENTED):
                return None
            return released(now, reason, self._deps.clock(), error.document() if error else None)

        self._changed(rental, given_up)
        self._rentals.wake()

    def _changed(self, rental: Rental, change: Callable[[Rental], Rental | None]) -> Rental:
        """Make a change to the rental as it is, whoever else changes it at the same time; None = there is nothing to
        change. What is stored then.
        """
        while True:
            now = self._deps.store.rental(rental.run_id) or rental
            after = change(now)
            if after is None or self._deps.store.change_rental(after, now):
                return after or now

    def _created(self, provider: Provider, rental: Rental, order: Order) -> Rental:
        clock = self._deps.clock
        try:
            machine = provider.create(order)
        except LycError as error:
            self._market.forget(rental.provider)
            ref, document = error.ref, error.document()

            def refused(now: Rental) -> Rental | None:
                if now.state is RentalState.INTENDED:
                    return never(now, ref, clock(), document)
                # One was seen in the list all the same, if only for the moment until it was taken back.
                return released(now, ref, clock(), document) if now.state is RentalState.RENTED else None

            if _certain(error):
                if self._changed(rental, refused).state is not RentalState.REFUSED:
                    self._rentals.wake()
                raise
            log.warning("creating %s: %s; whether it was created is not known", rental.run_id, error)
            found = self._find(provider, rental)
            if found is None:
                # Nobody knows. Should it turn up yet, it shall go: another will have been taken by then.
                self.release(rental, "create-unknown", error)
                raise NoFit(
                    "create-unknown",
                    f"{provider.capabilities.title} did not answer, and shows no machine",
                    why=str(error),
                    hint="lyc gc",
                ) from error
            machine = found
        return self._tell(rental, machine)

    def _find(self, provider: Provider, rental: Rental) -> Machine | None:
        """What a create with a lost answer has made, once it is shown."""
        until = self._deps.clock() + provider.capabilities.settle
        while True:
            try:
                mine = self._listed(provider, rental)
            except LycError as error:
                log.warning("looking for %s: %s", rental.run_id, error)
                mine = None
            if mine is not None or self._deps.clock() >= until:
                return mine
            self._pause(self._pace.ask)

    def _look(self, provider: Provider, rental: Rental) -> Machine | None:
        try:
            if rental.machine is not None:
                return provider.get(rental.machine)
            return self._listed(provider, rental)
        except Unreachable as error:
            log.warning("looking for %s: %s", rental.run_id, error)
            return None

    def _listed(self, provider: Provider, rental: Rental) -> Machine | None:
        """The first machine of its run in the provider's list."""
        mine = (one for one in provider.list_owned(self._rentals.owner) if one.run_id == rental.run_id)
        return next(mine, None)

    def _tell(self, rental: Rental, machine: Machine) -> Rental:
        """Store what is known of it now, unless it is on its way out meanwhile."""
        now = told(rental, machine, self._deps.clock())
        if (now.machine, now.address, now.port, now.state) == (
            rental.machine,
            rental.address,
            rental.port,
            rental.state,
        ):
            return rental
        stored = self._deps.store.change_rental(now, rental)
        return now if stored else self._deps.store.rental(rental.run_id) or now

    def _reached(self, rental: Rental) -> Host | None:
        """The host, once sshd answers there and takes our key; None while it does not. The key that it shows is taken
        as it is: nobody has seen the machine before, and no provider tells it.
        """
        access, store = self._deps.hosts, self._deps.store
        capabilities = self._deps.accounts.kinds()[rental.provider].capabilities
        private, _ = access.own_key()
        host = Host(
            f"{rental.provider}-{rental.run_id[-8:]}",
            f"{rental.user or capabilities.user}@{rental.address}",
            rental.port,
            added_at=self._deps.clock(),
            lease_seconds=LEASE_SECONDS,
            rental=rental.run_id,
            identity=str(private),
            country=rental.offer.country,
        )
        try:
            if not access.trusted(host):
                access.pin(host, access.shown(host))
            facts = access.look(host)
        except (Unreachable, NotAuthorised, Failed) as error:  # cloud-init puts the key there after sshd has started
            log.info("waiting for %s: %s", host.name, error)
            return None
        # Who watches over the lease: a timer of systemd, or what a pod was started with (`lyc.agent.lease`).
        watched = facts.sudo == "free" and (facts.systemd is not None or capabilities.container)
        host = replace(host, fingerprints=access.trusted(host), lease_seconds=LEASE_SECONDS if watched else None)
        store.put_host(KnownHost(host, facts, None, facts.looked_at))

        def named(now: Rental) -> Rental | None:
            still = now.state is RentalState.RENTED and now.machine == rental.machine
            return replace(now, host=host.name, updated_at=self._deps.clock()) if still else None

        if self._changed(rental, named).host != host.name:
            return None  # it was given up meanwhile; its host goes with it
        log.info("rented %s as %s", rental.run_id, host.name)
        return host

    def _host(self, name: str | None) -> Host | None:
        """The host of this name, if there is one still."""
        try:
            return None if name is None else self._deps.store.host(name).host
        except NotFound:
            return None


def boot_script(seconds: float, capabilities: Capabilities) -> str | None:
    """Run as root at the first start: a machine that nobody ever reaches ends by itself. A lease calls it off.

    None where the provider runs no such script.
    """
    if not capabilities.boot_script:
        return None
    off = f"systemd-run --unit={UNCLAIMED} --on-active={seconds:.0f} systemctl poweroff"
    return f"#!/bin/sh\n{f'shutdown -P +{seconds / 60:.0f}' if capabilities.container else off}\n"


def _certain(error: LycError) -> bool:
    """Whether no machine came of a create that raised this: see `lyc.ports.Provider.create`."""
    refused = isinstance(error, NoFit | NotAuthorised | UsageError)
    return refused or error.ref in ("provider-busy", "provider-refused")
