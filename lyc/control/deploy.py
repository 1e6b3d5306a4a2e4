"""The operation behind `lyc deploy`: prepare, store the release, watch the loop until it serves."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from lyc.control.called_off import paused, standing
from lyc.control.coming import WATCH_SECONDS, Awaited, Watch, put_by
from lyc.control.deps import Deps
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.host_plans import homeless
from lyc.control.idling import own, steps_of
from lyc.control.layout import keep_credentials, load_credentials
from lyc.control.operations import Talk, bug
from lyc.control.preparation import Preparation, Prepared, Provided
from lyc.control.reconcile import Reconciler
from lyc.control.rent_documents import rented
from lyc.control.renting import Renter
from lyc.errors import LycError, UsageError, from_document
from lyc.records.deployment import (
    Deployment,
    DeploymentSpec,
    Release,
    ReleaseState,
)
from lyc.records.host import LOCAL, RENT
from lyc.records.operation import Operation
from lyc.records.plan import Plan
from lyc.records.progress import Phase
from lyc.records.secret import Secret
from lyc.rollout import given_up
from lyc.rollout.situation import target_of
from lyc.rollout.transitions import RUNNING
from lyc.scaling import bounds
from lyc.spec.model_ref import parse_model
from lyc.spec.scale import IdleSteps, check_steps, policy_of, steps_for, with_machines
from lyc.spec.settings import CREDENTIALS
from lyc.store import Store

_SPEC = TypeAdapter(DeploymentSpec)


class Deployer:
    """Carries out deploys. Deploys of one name pass the part that decides one after the other."""

    def __init__(self, deps: Deps, gatekeeper: Gatekeeper, reconciler: Reconciler, renter: Renter) -> None:
        self._deps = deps
        self._renter = renter
        self._gatekeeper = gatekeeper
        self._reconciler = reconciler
        self._watch = Watch(deps, gatekeeper, reconciler)

    def run(self, operation: Operation, talk: Talk) -> dict[str, object]:
        """See `operations.Work`. The result is described in docs/controller-api.md."""
        began = operation.created_at
        name = operation.deployment
        spec = _SPEC.validate_python(operation.request["spec"])
        turn = self._renter.turn(name)
        if turn.locked():
            talk.warn(f"a machine is being found for {name} already; this goes on when that is done")
        with turn:
            self._begin(name)
            try:
                check_name(self._deps.store, spec, given=bool(operation.request.get("name_given", True)))
                release, changed = self._decide(spec, operation, talk)
            except BaseException:
                self._forget_if_empty(name)
                raise
        self._served(release, talk)
        self._renter.serves(release.spec.host)
        first = not any(key.opens(self._deps.clock()) for key in self._deps.store.list_keys(name))
        return {
            "name": name,
            "url": self._gatekeeper.url(name),
            "model": release.model,
            "release": release.number,
            "host": release.spec.host,
            "changed": changed,
            "ready": True,
            "first": first,
            "served_name": name,
            "task": release.plan.task,
            "rented": rented(release.spec.host, self._deps.store.rentals(open_only=True)),
            "seconds": self._deps.clock() - began,
        }

    def _begin(self, name: str) -> None:
        """Make the deployment visible; wait out one of this name that is going down."""
        waited = threading.Event()
        while (found := self._deps.store.find_deployment(name)) and found.stopping:
            self._reconciler.wake(name)
            waited.wait(WATCH_SECONDS)
        if found is None:
            now = self._deps.clock()
            self._deps.store.add_deployment(Deployment(name, now, now))

    def _wish(self, spec: DeploymentSpec, plan: Plan) -> None:
        store, now = self._deps.store, self._deps.clock()
        after = wished(store, store.deployment(spec.name), spec, steps_of(store, spec.host, plan), now)
        store.change_deployment(
            spec.name, now, policy=after.policy, scaler=after.scaler, paused=after.paused, bake=after.bake
        )

    def _forget_if_empty(self, name: str) -> None:
        if not self._deps.store.releases(name):
            self._deps.store.remove_deployment(name)

    def _decide(self, spec: DeploymentSpec, operation: Operation, talk: Talk) -> tuple[Release, bool]:
        """The release that shall serve, and whether it is a new one."""
        credentials = load_credentials(self._deps.settings, operation.id)
        if RENT in (spec.host, *(spec.scale.hosts or ())):
            self._deps.accounts.hear(credentials)
        preparation = Preparation(
            self._deps,
            self._renter,
            spec,
            credentials,
            talk,
            freed=held_by(self._deps.store, spec.name),
            offer=_offer(operation),
        )
        if spec.host == RENT:  # before anything is rented
            check_said_steps(spec, steps_for(own=False, cards=True))
        prepared = preparation.decide(lambda: self._still_wanted(spec.name))
        if spec.host != RENT:
            check_said_steps(spec, steps_of(self._deps.store, prepared.spec.host, prepared.plan))
        current = current_release(self._deps.store, spec.name)
        if current is not None and current.spec_digest == prepared.digest:
            if prepared.spec.host != LOCAL:  # it may have been installed anew since
                preparation.provide(prepared, lambda: self._still_wanted(spec.name), current.spec.image)
            self._wish(prepared.spec, current.plan)
            self._keep(current, credentials)
            self._revive(current)
            return current, False
        self._gatekeeper.claim_port()
        provided = preparation.provide(prepared, lambda: self._still_wanted(spec.name))
        self._still_wanted(spec.name)
        self._wish(prepared.spec, prepared.plan)
        self._deps.store.change_deployment(spec.name, self._deps.clock(), canary=spec.scale.canary)
        release = self._store(prepared, provided)
        self._keep(release, credentials)
        self._reconciler.wake(spec.name)
        with talk.during(Phase.GATEWAY) as said:
            try:
                self._gatekeeper.sync()
                self._gatekeeper.wait_until_running()
            except Exception as error:
                self._give_up(release, error if isinstance(error, LycError) else bug("starting the gateway", error))
                raise
            said.append(self._gatekeeper.url(spec.name) or "")
        return release, True

    def _keep(self, release: Release, credentials: Mapping[str, Secret]) -> None:
        """Credentials of sources, for as long as it may have to fetch its weights onto another machine."""
        policy = self._deps.store.deployment(release.deployment).policy
        again = policy.hosts or not own(self._deps.store, release.spec.host)
        kept = of_sources(release.spec, credentials) if again else {}
        keep_credentials(self._deps.settings, release.deployment, kept)

    def _revive(self, release: Release) -> None:
        """Replicas that were given up after a crash loop are tried again when a person asks again."""
        replicas = self._deps.store.replicas(release.deployment)
        again = [one for one in replicas if one.release == release.number and given_up(one)]
        put_by(self._deps.store, again, self._deps.clock())
        self._reconciler.wake(release.deployment)

    def _store(self, prepared: Prepared, provided: Provided) -> Release:
        now, model = self._deps.clock(), provided.model
        return self._deps.store.add_release(
            Release(
                deployment=prepared.spec.name,
                number=0,
                spec=dataclasses.replace(prepared.spec, image=provided.image),
                spec_digest=prepared.digest,
                model=str(model.ref),
                snapshot=model.digest,
                snapshot_path=str(model.path),
                plan=provided.plan(prepared.plan),
                state=ReleaseState.PENDING,
                created_at=now,
            ),
            surge=prepared.surge,
        )

    def _give_up(self, release: Release, error: LycError) -> None:
        now, store = self._deps.clock(), self._deps.store
        store.set_release_state(release.deployment, release.number, ReleaseState.FAILED, error.document())
        active = [r.number for r in store.releases(release.deployment) if r.state is ReleaseState.ACTIVE]
        target = max(active, default=None)
        store.change_deployment(release.deployment, now, target=target, error=error.document())
        self._reconciler.wake(release.deployment)

    def _still_wanted(self, name: str) -> None:
        standing(self._deps.store, name)

    def _served(self, release: Release, talk: Talk) -> None:
        """Until as many as there must be always serve, and one at least: the rest comes with the load, or when there is
        a host for it.
        """
        store, name = self._deps.store, release.deployment

        def enough(deployment: Deployment, now: Release, there: int) -> bool:
            low, _ = bounds(deployment.policy, self._deps.clock())
            few = there > 0 and homeless(store, name, release.number, self._deps.clock()) is not None
            return now.state is ReleaseState.CANARY or there >= max(1, low) or few

        deployment, _ = self._watch.until(Awaited(name, release.number, enough), talk)
        if (error := homeless(store, name, release.number, self._deps.clock())) is not None:
            talk.warn(f"no further host is there for {name}, it is looked for again: {from_document(error)}")
        if deployment.paused:
            raise paused(name)


def check_name(store: Store, spec: DeploymentSpec, *, given: bool) -> None:
    """A derived name must not take over a deployment of another model by chance. Raises UsageError `name-taken`."""
    releases = store.releases(spec.name)
    if given or not releases or releases[-1].state is ReleaseState.FAILED:
        return
    parsed = [parse_model(text, cwd=Path("/"), is_dir=Path.is_dir) for text in (releases[-1].spec.model, spec.model)]
    if len({(ref.kind, ref.location) for ref in parsed}) > 1:
        raise UsageError(
            "name-taken",
            f"the name {spec.name!r} is taken by a deployment of {releases[-1].model}",
            where="--name",
            hint=f"choose another: --name {spec.name}-2; or release this model there: --name {spec.name}",
        )


def current_release(store: Store, name: str) -> Release | None:
    """The release that serves or is on its way; a failed one does not count, so that trying again tries again."""
    deployment = store.find_deployment(name)
    found = target_of(deployment, store.releases(name)) if deployment else None
    return None if found is None or found.state is ReleaseState.FAILED else found


def held_by(store: Store, name: str) -> int:
    """Bytes of memory that the replicas of a deployment hold, and give back if a new release has no room beside."""
    plans = {release.number: release.plan.memory_bytes or 0 for release in store.releases(name)}
    return sum(plans.get(one.release, 0) for one in store.replicas(name) if one.state in RUNNING)


def wished(store: Store, found: Deployment, spec: DeploymentSpec, steps: IdleSteps, now: float) -> Deployment:
    """A deployment with what a spec says of replicas and of the rollout. Whoever deploys wants it to serve, asleep or
    paused as it may be. steps: of the host of the spec.
    """
    policy = policy_of(spec, found.policy if store.releases(spec.name) else None, steps)
    policy = policy if own(store, spec.host) else with_machines(policy)
    low, high = bounds(policy, now)
    desired = max(1, low, min(high, found.scaler.desired))
    return dataclasses.replace(
        found,
        policy=policy,
        scaler=dataclasses.replace(found.scaler, desired=desired, last_request=now),
        paused=False,
        bake=found.bake if spec.scale.bake is None else spec.scale.bake,
    )


def check_said_steps(spec: DeploymentSpec, steps: IdleSteps) -> None:
    """Raises SpecError `impossible-step`."""
    said = spec.scale
    check_steps(
        sleep=said.idle_sleep,
        release=said.idle_release,
        steps=steps,
        where=lambda key: f"--{key.replace('_', '-')}",
    )


def of_sources(spec: DeploymentSpec, credentials: Mapping[str, Secret]) -> dict[str, Secret]:
    """Of the credentials of a deploy those that its sources read; the rest is for renting."""
    names, draft = {row.env for row in CREDENTIALS}, spec.speculative.model if spec.speculative else None
    if not any(model.startswith("s3://") for model in (spec.model, draft or "")):
        names = {env for env in names if not env.startswith("AWS_")}
    return {env: one for env, one in credentials.items() if env in names}


def _offer(operation: Operation) -> tuple[str, str] | None:
    """What a person chose among offers."""
    chosen = operation.request.get("offer")
    return (str(chosen[0]), str(chosen[1])) if isinstance(chosen, list | tuple) else None
