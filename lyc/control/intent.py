"""A deploy that is only looked at: what would be another after it, and what would be done for that, in its order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from lyc.control.autoscale import wanted
from lyc.control.changes import Step, differences, foretold
from lyc.control.deploy import current_release, wished
from lyc.control.deps import Deps
from lyc.control.placing import Placed
from lyc.control.preparation import Foretold
from lyc.control.rented import words
from lyc.engines import versions
from lyc.errors import Failed
from lyc.records.deployment import CONTAINER, Deployment, DeploymentSpec, Release, ReleaseState, Replica
from lyc.records.host import LOCAL, RENT
from lyc.records.model import Listing
from lyc.records.plan import Plan
from lyc.records.rental import Offer, Rental
from lyc.renting.choice import Candidate
from lyc.rollout import Situation, given_up
from lyc.rollout.transitions import COMING_OR_SERVING
from lyc.spec.scale import IdleSteps
from lyc.units import show_bytes


class Intent:
    """One deploy that is not done. there: the deployment so far, None = it is new."""

    def __init__(
        self, deps: Deps, spec: DeploymentSpec, found: Foretold, steps: IdleSteps, there: Deployment | None
    ) -> None:
        self._deps = deps
        self.spec = spec if found.prepared is None else found.prepared.spec
        self.found = found
        self._now = now = deps.clock()
        self._before = there
        self._releases = tuple(deps.store.releases(spec.name))
        self._replicas = tuple(deps.store.replicas(spec.name))
        self._current = current_release(deps.store, spec.name)
        prepared = found.prepared
        self.fresh = self._current is None or prepared is None or self._current.spec_digest != prepared.digest
        self._after = wished(deps.store, there or Deployment(spec.name, now, now), spec, steps, now)

    @property
    def plan(self) -> Plan | None:
        return self.found.prepared.plan if self.found.prepared else None

    @property
    def offer(self) -> Offer | None:
        """What would be rented."""
        where = self.found.where
        return where.offer if isinstance(where, Candidate) else None

    @property
    def host(self) -> str | None:
        """None where its name is not known yet."""
        where = self.found.where
        return None if isinstance(where, Candidate) else where.host

    @property
    def number(self) -> int:
        """Of the release that would serve."""
        if self._current is not None and not self.fresh:
            return self._current.number
        return max((one.number for one in self._releases), default=0) + 1

    def changes(self) -> tuple[str, ...]:
        """What would be another, in words."""
        what: list[str] = []
        before = self._before
        if self.fresh:
            old = self._current.number if self._current else "none"
            how = (
                f", {'beside it' if self._surge else 'in its place: requests wait meanwhile'}" if self._serving else ""
            )
            what.append(f"release: {old} → {self.number}{how}")
            if self.spec.scale.canary is not None and self._serving and self._surge:
                what.append(f"canary: {self.spec.scale.canary:.3g} of the requests at first")
        if before is None or not self._releases:
            policy = self._after.policy
            what.append(f"min {policy.minimum}, max {policy.maximum}")
        else:
            what += differences(before.policy, self._after.policy)
            what += ["resumed"] if before.paused else []
            if not self.fresh and self._given_up:
                what.append("what was given up is tried again")
            elif not self.fresh and not before.paused and not wanted(before, self._now):
                what.append("awake again")
        return tuple(what)

    def steps(self) -> Iterator[Step]:
        """What would be done, in its order."""
        yield from self._machine()
        if self.fresh:
            yield from self._weights()
            yield Step("add-release", str(self.number), f"make release {self.number}: {self._sits()}")
        yield from foretold(self._deps, self._situation(), self._now)
        if not any(key.opens(self._now) for key in self._deps.store.list_keys(self.spec.name)):
            yield Step("create-key", self.spec.name, "make a key, and show it once")

    def _machine(self) -> Iterator[Step]:
        """Until there is one that can run engines."""
        where = self.found.where
        if isinstance(where, Placed):
            if where.host != LOCAL and self._deps.store.prepared(where.host) is None:
                yield Step("prepare", where.host, f"prepare {where.host} to run engines")
            return
        if isinstance(where, Rental):
            yield Step("wait", where.run_id, f"wait for the machine that is rented already: {words(where.offer)}")
        else:
            yield Step("rent", where.offer.id, f"rent {words(where.offer)}")
        yield Step("prepare", "", "prepare it to run engines")

    def _weights(self) -> Iterator[Step]:
        """Engine and weights, where they are not there."""
        plan, host = self.plan, self.host
        at = "" if host == LOCAL else " onto it" if host is None else f" onto {host}"
        build = plan.engine if plan else versions.pinned(on_cpu=self.spec.gpu == "cpu")
        if self.spec.runtime == CONTAINER:
            image = versions.image(build, self.spec.image)
            yield Step("pull", image, f"pull {image}{at}, unless it is there")
        elif not (host and plan and self._installed(host, plan)):
            yield Step("install", build.id, f"install {build.distribution} {build.version}{at}")
        for one in (self.found.model, self.found.draft):
            if one is not None and not (host and self._has(host, one.listing)):
                ref, size = str(one.listing.ref), show_bytes(one.listing.size)
                yield Step("fetch", ref, f"fetch {ref}, {size}{at}")

    def _installed(self, host: str, plan: Plan) -> bool:
        with suppress(Failed):  # never prepared: nothing is there
            return self._deps.sites.site(host).installer.bin_dir(plan.engine) is not None
        return False

    def _has(self, host: str, listing: Listing) -> bool:
        with suppress(Failed):
            return self._deps.sites.site(host).cache.have(listing) is not None
        return False

    def _sits(self) -> str:
        plan, offer = self.plan, self.offer
        if plan is None:
            return f"on {offer.card or offer.product}" if offer else "on the machine that is rented"
        cards = f"{plan.accelerator_count} × " if plan.accelerator_count > 1 else ""
        where = "this machine" if self.host == LOCAL else self.host
        context = f", context {plan.max_model_len}" if plan.max_model_len else ""
        return f"{plan.engine.distribution} {plan.engine.version} on {cards}{plan.accelerator} of {where}{context}"

    @property
    def _surge(self) -> bool:
        """Whether it has room beside what runs; on a machine of its own it has."""
        prepared = self.found.prepared
        return True if prepared is None else prepared.surge

    @property
    def _serving(self) -> bool:
        return any(one.state in COMING_OR_SERVING for one in self._replicas)

    @property
    def _given_up(self) -> list[Replica]:
        current = self._current
        return [one for one in self._replicas if current and one.release == current.number and given_up(one)]

    def _situation(self) -> Situation:
        """As the deploy would leave it to the loop."""
        after, releases, gone = self._after, self._releases, {one.id for one in self._given_up}
        if self.fresh:
            after = replace(
                after, target=self.number, surge=self._surge, canary=self.spec.scale.canary, error=None, stopping=False
            )
            releases = (*releases, self._release())
            gone = set()
        replicas = tuple(one for one in self._replicas if one.id not in gone)
        return Situation(after, releases, replicas, desired=wanted(after, self._now))

    def _release(self) -> Release:
        listing, prepared = self.found.model.listing, self.found.prepared
        plan = self.plan or Plan(versions.pinned(on_cpu=self.spec.gpu == "cpu"), self._sits())
        return Release(
            deployment=self.spec.name,
            number=self.number,
            spec=replace(self.spec, host=self.host or RENT),
            spec_digest=prepared.digest if prepared else "",
            model=str(listing.ref),
            snapshot="",
            snapshot_path="",
            plan=plan,
            state=ReleaseState.PENDING,
            created_at=self._now,
        )
