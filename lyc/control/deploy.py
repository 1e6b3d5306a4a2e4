"""The operation behind `lyc deploy`: prepare, store the release, watch the loop until it serves."""

from __future__ import annotations

import dataclasses
import threading
from collections import defaultdict
from pathlib import Path

from pydantic import TypeAdapter

from lyc.control.coming import WATCH_SECONDS, Steps, put_by, wait_for_rotation
from lyc.control.deps import Deps
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.idling import steps_of
from lyc.control.layout import load_credentials
from lyc.control.operations import Talk, bug
from lyc.control.preparation import Preparation, Prepared, Provided
from lyc.control.reconcile import Reconciler
from lyc.control.rent_documents import rented
from lyc.control.renting import Renter
from lyc.errors import Failed, LycError, NotFound, UsageError, from_document
from lyc.records.deployment import (
    Deployment,
    DeploymentSpec,
    Release,
    ReleaseState,
    Replica,
    ReplicaState,
)
from lyc.records.host import LOCAL, RENT
from lyc.records.operation import Operation
from lyc.records.plan import Plan
from lyc.records.progress import Phase, PhaseStatus
from lyc.rollout import given_up
from lyc.rollout.transitions import RUNNING
from lyc.scaling import bounds
from lyc.spec.model_ref import parse_model
from lyc.spec.scale import IdleSteps, check_steps, policy_of, steps_for

_SPEC = TypeAdapter(DeploymentSpec)


class Deployer:
    """Carries out deploys. Deploys of one name pass the part that decides one after the other."""

    def __init__(self, deps: Deps, gatekeeper: Gatekeeper, reconciler: Reconciler, renter: Renter) -> None:
        self._deps = deps
        self._renter = renter
        self._gatekeeper = gatekeeper
        self._reconciler = reconciler
        self._deciding: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def run(self, operation: Operation, talk: Talk) -> dict[str, object]:
        """See `operations.Work`. The result is described in docs/controller-api.md."""
        began = operation.created_at
        name = operation.deployment
        spec = _SPEC.validate_python(operation.request["spec"])
        with self._deciding[name]:
            self._begin(name)
            try:
                self._check_name(spec, given=bool(operation.request.get("name_given", True)))
                release, changed = self._decide(spec, operation, talk)
            except BaseException:
                self._forget_if_empty(name)
                raise
        self._watch(release, talk)
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
        """What the spec says of replicas and of the rollout. Whoever deploys wants it to serve, asleep or paused as it
        may be.
        """
        store, now = self._deps.store, self._deps.clock()
        found = store.deployment(spec.name)
        steps = steps_of(store, spec.host, plan)
        policy = policy_of(spec, found.policy if store.releases(spec.name) else None, steps)
        low, high = bounds(policy, now)
        desired = max(1, low, min(high, found.scaler.desired))
        store.change_deployment(
            spec.name,
            now,
            policy=policy,
            scaler=dataclasses.replace(found.scaler, desired=desired, last_request=now),
            paused=False,
            bake=found.bake if spec.scale.bake is None else spec.scale.bake,
        )

    def _forget_if_empty(self, name: str) -> None:
        if not self._deps.store.releases(name):
            self._deps.store.remove_deployment(name)

    def _check_name(self, spec: DeploymentSpec, *, given: bool) -> None:
        """A derived name must not take over a deployment of another model by chance."""
        releases = self._deps.store.releases(spec.name)
        if given or not releases or releases[-1].state is ReleaseState.FAILED:
            return
        parsed = [
            parse_model(text, cwd=Path("/"), is_dir=Path.is_dir) for text in (releases[-1].spec.model, spec.model)
        ]
        if len({(ref.kind, ref.location) for ref in parsed}) > 1:
            raise UsageError(
                "name-taken",
                f"the name {spec.name!r} is taken by a deployment of {releases[-1].model}",
                where="--name",
                hint=f"choose another: --name {spec.name}-2; or release this model there: --name {spec.name}",
            )

    def _decide(self, spec: DeploymentSpec, operation: Operation, talk: Talk) -> tuple[Release, bool]:
        """The release that shall serve, and whether it is a new one."""
        credentials = load_credentials(self._deps.settings, operation.id)
        if spec.host == RENT:
            self._deps.accounts.hear(credentials)
        preparation = Preparation(
            self._deps, self._renter, spec, credentials, talk, freed=self._held(spec.name), offer=_offer(operation)
        )
        if spec.host == RENT:  # before anything is rented
            _check_steps(spec, steps_for(own=False, cards=True))
        prepared = preparation.decide(lambda: self._still_wanted(spec.name))
        if spec.host != RENT:
            _check_steps(spec, steps_of(self._deps.store, prepared.spec.host, prepared.plan))
        current = self._current(spec.name)
        if current is not None and current.spec_digest == prepared.digest:
            if prepared.spec.host != LOCAL:  # it may have been installed anew since
                preparation.provide(prepared, lambda: self._still_wanted(spec.name), current.spec.image)
            self._wish(prepared.spec, current.plan)
            self._revive(current)
            return current, False
        self._gatekeeper.claim_port()
        provided = preparation.provide(prepared, lambda: self._still_wanted(spec.name))
        self._still_wanted(spec.name)
        self._wish(prepared.spec, prepared.plan)
        self._deps.store.change_deployment(spec.name, self._deps.clock(), canary=spec.scale.canary)
        release = self._store(prepared, provided)
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

    def _current(self, name: str) -> Release | None:
        """The release that serves or is on its way; a failed one does not count, so that trying again tries again."""
        deployment = self._deps.store.find_deployment(name)
        releases = self._deps.store.releases(name)
        found = next((release for release in releases if deployment and release.number == deployment.target), None)
        return None if found is None or found.state is ReleaseState.FAILED else found

    def _held(self, name: str) -> int:
        """Bytes of memory that the replicas of a deployment hold, and give back if a new release has no room beside."""
        plans = {release.number: release.plan.memory_bytes or 0 for release in self._deps.store.releases(name)}
        running = [replica for replica in self._deps.store.replicas(name) if replica.state in RUNNING]
        return sum(plans.get(replica.release, 0) for replica in running)

    def _revive(self, release: Release) -> None:
        """Replicas that were given up after a crash loop are tried again when a person asks again."""
        replicas = self._deps.store.replicas(release.deployment)
        again = [one for one in replicas if one.release == release.number and given_up(one)]
        put_by(self._deps.store, again, self._deps.clock())
        self._reconciler.wake(release.deployment)

    def _store(self, prepared: Prepared, provided: Provided) -> Release:
        now, model, draft = self._deps.clock(), provided.model, provided.draft
        plan = dataclasses.replace(prepared.plan, speculative_model=str(draft.path) if draft else None)
        return self._deps.store.add_release(
            Release(
                deployment=prepared.spec.name,
                number=0,
                spec=dataclasses.replace(prepared.spec, image=provided.image),
                spec_digest=prepared.digest,
                model=str(model.ref),
                snapshot=model.digest,
                snapshot_path=str(model.path),
                plan=plan,
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
        deployment = self._deps.store.find_deployment(name)
        if deployment is None or deployment.stopping:
            raise _taken_down(name)

    def _watch(self, release: Release, talk: Talk) -> None:
        """Tell how the replicas come up; return when as many as wished serve, raise when they will not."""
        steps = Steps(self._reconciler, self._deps, talk)
        waited = threading.Event()
        while True:
            try:
                deployment = self._deps.store.deployment(release.deployment)
            except NotFound:
                raise _taken_down(release.deployment) from None
            now = next(r for r in self._deps.store.releases(release.deployment) if r.number == release.number)
            replicas = [r for r in self._deps.store.replicas(release.deployment) if r.release == release.number]
            if deployment.stopping:
                raise _taken_down(release.deployment)
            if deployment.paused:
                steps.close(PhaseStatus.FAILED)
                raise Failed(
                    "paused", f"{release.deployment} was paused meanwhile", hint=f"lyc resume {now.deployment}"
                )
            if now.state is ReleaseState.FAILED:
                steps.close(PhaseStatus.FAILED)
                raise from_document(now.error or {})
            if deployment.target != release.number:
                raise Failed(
                    "superseded",
                    f"release {release.number} of {release.deployment} gave way to release {deployment.target}",
                    hint=f"lyc status {release.deployment}",
                )
            if now.state in (ReleaseState.ACTIVE, ReleaseState.CANARY):
                failed = [r for r in replicas if r.state is ReplicaState.FAILED]
                if failed:
                    raise from_document(failed[-1].error or {})
                if now.state is ReleaseState.CANARY or self._ready(deployment, replicas):
                    steps.finish()
                    wait_for_rotation(self._deps, self._gatekeeper, release.deployment, replicas)
                    return
            steps.show(replicas)
            waited.wait(WATCH_SECONDS)

    def _ready(self, deployment: Deployment, replicas: list[Replica]) -> bool:
        """As many as there must be always, and one at least: the rest comes with the load."""
        low, _ = bounds(deployment.policy, self._deps.clock())
        return sum(replica.state is ReplicaState.READY for replica in replicas) >= max(1, low)


def _check_steps(spec: DeploymentSpec, steps: IdleSteps) -> None:
    """Raises SpecError `impossible-step`."""
    said = spec.scale
    check_steps(
        sleep=said.idle_sleep,
        release=said.idle_release,
        steps=steps,
        where=lambda key: f"--{key.replace('_', '-')}",
    )


def _offer(operation: Operation) -> tuple[str, str] | None:
    """What a person chose among offers."""
    chosen = operation.request.get("offer")
    return (str(chosen[0]), str(chosen[1])) if isinstance(chosen, list | tuple) else None


def _taken_down(name: str) -> Failed:
    return Failed("taken-down", f"{name} was taken down while it was being deployed", hint="lyc ls")
