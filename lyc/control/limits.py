"""What ends deployments by itself: their time (`--ttl`) and the budget of this home (`lyc budget`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from lyc.control.deps import Deps
from lyc.control.layout import gateway_config
from lyc.gateway.traffic import access_log, traffic
from lyc.planning.catalogue import prices
from lyc.records.deployment import Deployment, Release, ReplicaState
from lyc.renting.budget import (
    Budget,
    Level,
    Standing,
    StopOrder,
    parse_budget,
    parse_stop_order,
    running,
    standing,
    to_stop,
)
from lyc.rollout.situation import target_of
from lyc.store import Store

log = logging.getLogger(__name__)

BUDGET, STOP_ORDER, SAID = "budget", "budget-stop", "budget-said"
LOOKED_BACK, QUIET = 86400.0, 60.0
"""Seconds: how far back the access log is read for whom nobody asks, and without a request for how long that is."""
Down = Callable[[str], object]
"""Takes a deployment down, as `lyc down` does: what runs finishes, the machine goes back."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Looked at again and again; each look begins from what the store says."""

    deps: Deps
    down: Down

    def enforce(self) -> float | None:
        """Take down what has run for long enough, and what the budget no longer bears. Seconds until the time of the
        next is up, None where none has a limit.
        """
        now, soonest = self.deps.clock(), None
        for rental in self.deps.store.rentals(open_only=True):
            if rental.time_limit is not None and now >= rental.time_limit:
                self._end(rental.deployment, "ttl", "its time is up (--ttl)")
            elif rental.time_limit is not None:
                soonest = min(rental.time_limit - now, soonest or rental.time_limit - now)
        for deployment in self.deps.store.deployments():
            # One whose machine was given back meanwhile, while nobody asked for it.
            until = time_limit(self.deps.store, deployment)
            if until is not None and now >= until:
                self._end(deployment.name, "ttl", "its time is up (--ttl)")
        found = self.standing()
        if found is None:
            return soonest
        self._say(found)
        if found.level is Level.EXCEEDED:
            for name in self._first_to_go(found):
                limit = found.budget.limit
                self._end(name, "budget", f"the budget of {limit.amount} {limit.currency} is spent")
        return soonest

    def standing(self) -> Standing | None:
        """How the budget stands; None where there is none."""
        budget = self.budget()
        if budget is None:
            return None
        return standing(budget, self.deps.store.rentals(), self.deps.clock(), prices.bundled().rates)

    def budget(self) -> Budget | None:
        written = self.deps.store.meta(BUDGET)
        return parse_budget(written) if written else None

    def order(self) -> StopOrder:
        written = self.deps.store.meta(STOP_ORDER)
        return parse_stop_order(written) if written else StopOrder()

    def set(self, budget: str | None, order: str | None) -> None:
        """Keep a budget; an empty text ends it, None leaves it. Raises what reading them raises."""
        if budget:
            parse_budget(budget)
        if order:
            parse_stop_order(order)
        if budget is not None:
            self.deps.store.set_meta(BUDGET, budget)
        if order is not None:
            self.deps.store.set_meta(STOP_ORDER, order)

    def _first_to_go(self, found: Standing) -> tuple[str, ...]:
        rentals, idle = self.deps.store.rentals(open_only=True), self._idle_since()
        return to_stop(running(rentals, idle, found.budget.limit.currency, prices.bundled().rates), self.order())

    def _idle_since(self) -> dict[str, float]:
        """Of deployments that answer nobody: since when. Those without a ready replica, and those that nobody asks."""
        store, now = self.deps.store, self.deps.clock()
        begun = min((one.created_at for one in store.deployments()), default=now)
        busy = traffic(access_log(gateway_config(self.deps.settings)), since=max(begun, now - LOOKED_BACK)).busy
        found: dict[str, float] = {}
        for one in store.deployments():
            if not any(replica.state is ReplicaState.READY for replica in store.replicas(one.name)):
                found[one.name] = one.updated_at
            elif busy.get(one.name):
                last = busy[one.name][-1][1]
                found |= {one.name: last} if now - last > QUIET else {}
            else:
                found[one.name] = max(one.created_at, now - LOOKED_BACK)
        return found

    def _end(self, name: str, actor: str, why: str) -> None:
        deployment = self.deps.store.find_deployment(name)
        if deployment is not None and not deployment.stopping:
            log.warning("taking %s down: %s", name, why)
            self.deps.store.journal.done(self.deps.clock(), name, actor, "down", cause=why)
            self.down(name)

    def _say(self, found: Standing) -> None:
        """Once for each level and period."""
        said = f"{found.level} {found.since:.0f}"
        if found.level is not Level.OK and self.deps.store.meta(SAID) != said:
            limit = found.budget.limit
            log.warning("%.2f of %s %s a %s are spent", found.spent, limit.amount, limit.currency, found.budget.period)
            self.deps.store.set_meta(SAID, said)


def time_limit(store: Store, deployment: Deployment, release: Release | None = None) -> float | None:
    """When a deployment shall go whatever happens (`--ttl`): as of the machine that was rented for it last. None = its
    target, or `release`, knows no such time.
    """
    if release is None:
        release = target_of(deployment, store.releases(deployment.name))
    if release is None or release.spec.rent.ttl is None:
        return None
    limits = [
        one.time_limit
        for one in store.rentals(deployment=deployment.name)
        if one.time_limit is not None and one.intended_at >= deployment.created_at
    ]
    return max(limits, default=None)
