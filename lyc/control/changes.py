"""What a person changes of a deployment that is there: bounds, pause, restart, rollback, canary. Journaled; `dry_run`
says what would be done, and does nothing.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lyc.control.acts import name as named
from lyc.control.acts import subject
from lyc.control.autoscale import wanted
from lyc.control.coming import put_by
from lyc.control.deps import Deps
from lyc.control.hosts import RESERVED
from lyc.control.idling import own, steps_of
from lyc.control.places import Places
from lyc.control.placing import beside
from lyc.control.reconcile import Reconciler
from lyc.control.return_to import previous, returnable
from lyc.errors import Failed, LycError, SpecError, UsageError
from lyc.records.deployment import CONTAINER, Deployment, Release, ReleaseState, Replica, ReplicaState
from lyc.records.host import LOCAL
from lyc.records.scaling import ScalePolicy
from lyc.rollout import Signal, Situation, given_up, preview, words
from lyc.rollout.actions import Action, MoveReplica
from lyc.rollout.situation import target_of
from lyc.rollout.transitions import ENDED
from lyc.scaling import bounds
from lyc.spec.scale import check_policy, check_steps, with_machines
from lyc.units import show_duration

USER = "user"


_SEEN = frozenset({Signal.START, Signal.LOADING, Signal.LISTENING, Signal.GONE})
"""Moves that are no acts: they write down what another step has led to."""


@dataclass(frozen=True, slots=True)
class Step:
    """One act. action, subject: as in the journal. text: for a person."""

    action: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change does. what: of the wish, `max: 1 → 4`; none = all is so already. steps: what would follow from it,
    for a dry run. release: the one that shall serve then. replaced: replicas that shall be gone.
    """

    what: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    release: int | None = None
    replaced: tuple[str, ...] = ()


class Changes:
    """One at a time for each deployment."""

    def __init__(self, deps: Deps, reconciler: Reconciler) -> None:
        self._deps = deps
        self._store = deps.store
        self._reconciler = reconciler
        self._changing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def scale(self, name: str, wished: Mapping[str, Any], *, dry_run: bool = False) -> Changed:
        """wished: fields of `ScalePolicy`. Raises SpecError `impossible-scale`, and as `_open`."""
        with self._changing[name]:
            deployment, now = self._open(name), self._deps.clock()
            before, policy = deployment.policy, replace(deployment.policy, **wished)
            target = self._target(deployment)
            check_policy(policy, cards=target.spec.gpus if target else None, where=_flag)
            self._check_hosts(wished.get("hosts") or (), target)
            if target is not None:
                check_steps(
                    sleep=wished.get("idle_sleep"),
                    release=wished.get("idle_release"),
                    steps=steps_of(self._store, target.spec.host, target.plan),
                    where=_flag,
                )
            if target is not None and "hosts" not in wished and not own(self._store, target.spec.host):
                policy = with_machines(policy)
            what = differences(before, policy)
            low, high = bounds(policy, now)
            desired = max(low, min(high, deployment.scaler.desired))
            after = replace(deployment, policy=policy, scaler=replace(deployment.scaler, desired=desired))
            if dry_run:
                return Changed(what, self._foretold(after))
            if what:
                with self._journaled(name, "scale", cause=", ".join(what)):
                    self._store.change_deployment(name, now, policy=policy, scaler=after.scaler)
            return Changed(what)

    def pause(self, name: str, *, dry_run: bool = False) -> Changed:
        """No replica from now on, and no request wakes one."""
        with self._changing[name]:
            deployment = self._open(name)
            if deployment.paused:
                return Changed(())
            if dry_run:
                return Changed(("paused",), self._foretold(replace(deployment, paused=True)))
            with self._journaled(name, "pause"):
                self._store.change_deployment(name, self._deps.clock(), paused=True)
            return Changed(("paused",))

    def resume(self, name: str, *, dry_run: bool = False) -> Changed:
        """As before the pause; at least one replica at first: whoever resumes it wants it to serve. What was given up
        is tried again.
        """
        with self._changing[name]:
            deployment, now = self._open(name), self._deps.clock()
            low, high = bounds(deployment.policy, now)
            desired = max(1, low, min(high, deployment.scaler.desired))
            scaler = replace(deployment.scaler, desired=desired, last_request=now)
            failed = self._given_up(deployment)
            if not deployment.paused and not failed:
                return Changed((), release=deployment.target)
            what = ("resumed",) if deployment.paused else ("what was given up is tried again",)
            after = replace(deployment, paused=False, scaler=scaler)
            if dry_run:
                return Changed(what, self._foretold(after, without=failed), deployment.target)
            with self._journaled(name, "resume"):
                put_by(self._store, failed, self._deps.clock())
                self._store.change_deployment(name, now, paused=False, scaler=scaler)
            return Changed(what, release=deployment.target)

    def restart(self, name: str, *, dry_run: bool = False) -> Changed:
        """New replicas in place of all that are there: beside them where there is room, else in their place. What was
        given up is tried again. Raises UsageError `paused` and `nothing-to-restart`.
        """
        with self._changing[name]:
            deployment, now = self._open(name), self._deps.clock()
            target = self._target(deployment)
            if deployment.paused:
                raise UsageError("paused", f"{name} is paused: nothing of it runs", hint=f"lyc resume {name}")
            failed = self._given_up(deployment)
            old = [one for one in self._store.replicas(name) if one.state not in ENDED]
            if target is None or not [*old, *failed]:
                raise UsageError("nothing-to-restart", f"nothing of {name} runs just now", hint=f"lyc status {name}")
            if [one for one in old if one.created_at >= now]:
                raise Failed(
                    "clock-set-back",
                    f"replicas of {name} are younger than the clock says: it was set back",
                    hint=f"lyc pause {name}, then lyc resume {name}",
                )
            after = replace(deployment, restart_before=now, surge=self._beside(target, deployment))
            ids = tuple(one.id for one in [*old, *failed])
            what = (_replaced(len(ids), beside=after.surge),)
            if dry_run:
                return Changed(what, self._foretold(after, without=failed), target.number, ids)
            with self._journaled(name, "restart", detail={"replicas": list(ids), "surge": after.surge}):
                put_by(self._store, failed, self._deps.clock())
                self._store.change_deployment(name, now, restart_before=now, surge=after.surge)
            return Changed(what, (), target.number, ids)

    def rollback(self, name: str, to: int | None, *, dry_run: bool = False) -> Changed:
        """Serve a release of before again; `to` None = the one that was active before the present one. It must prove
        itself anew, and until it has the present one serves where there is room for both. See `returnable`.
        """
        with self._changing[name]:
            deployment, now = self._open(name), self._deps.clock()
            releases = self._store.releases(name)
            number = previous(deployment, releases) if to is None else to
            release = returnable(self._deps, deployment, releases, number)
            failed = [
                one for one in self._store.replicas(name) if one.release == number and one.state is ReplicaState.FAILED
            ]
            surge = self._beside(release, deployment)
            what: tuple[str, ...] = (f"release: {deployment.target or 'none'} → {number}",)
            what += () if deployment.canary is None else ("the canary ends",)
            if dry_run:
                state = release.state if release.state is ReleaseState.ACTIVE else ReleaseState.PENDING
                after = replace(deployment, target=number, surge=surge, canary=None, error=None)
                again = tuple(replace(one, state=state) if one.number == number else one for one in releases)
                return Changed(what, self._foretold(after, releases=again, without=failed), number)
            detail: dict[str, object] = {"from": deployment.target, "to": number}
            with self._journaled(name, "rollback", subject=str(number), detail=detail):
                self._store.retarget(name, number, now, surge=surge)
            return Changed(what, (), number)

    def down(self, name: str) -> Changed:
        """What `lyc down` would do; it is done by an operation."""
        return Changed(("taken down",), self._foretold(replace(self._open(name), stopping=True)))

    def canary(self, name: str, share: float | None, *, dry_run: bool = False) -> Changed:
        """Another share for the release that is a canary; None = all: it is promoted. Raises UsageError `no-canary`."""
        with self._changing[name]:
            deployment = self._open(name)
            if deployment.canary is None:
                raise UsageError(
                    "no-canary", f"{name} has no canary", hint=f"lyc deploy MODEL --name {name} --canary 10%"
                )
            what = (f"canary: {deployment.canary:.3g} → {'all' if share is None else format(share, '.3g')}",)
            if dry_run:
                return Changed(what, self._foretold(replace(deployment, canary=share)), deployment.target)
            action, subject = ("promote" if share is None else "canary"), str(deployment.target or "")
            with self._journaled(name, action, subject=subject, cause=what[0]):
                self._store.change_deployment(name, self._deps.clock(), canary=share)
            return Changed(what, (), deployment.target)

    def _open(self, name: str) -> Deployment:
        """Raises NotFound `no-such-deployment`, Failed `taken-down` for one that is going."""
        found = self._store.deployment(name)
        if found.stopping:
            raise Failed("taken-down", f"{name} is being taken down", hint="lyc ls")
        return found

    def _target(self, deployment: Deployment) -> Release | None:
        return target_of(deployment, self._store.releases(deployment.name))

    def _given_up(self, deployment: Deployment) -> list[Replica]:
        """Replicas of the target that will not be tried again, or not soon."""
        replicas = self._store.replicas(deployment.name)
        return [one for one in replicas if one.release == deployment.target and given_up(one)]

    def _beside(self, release: Release, deployment: Deployment) -> bool:
        """Whether a replica of it has room beside those that run; where that cannot be known, as it was so far."""
        try:
            found = beside(self._deps, release)
        except LycError:
            found = None
        return deployment.surge if found is None else found

    def _check_hosts(self, hosts: Sequence[str], release: Release | None) -> None:
        """Raises NotFound `no-such-host`, and SpecError `container-needs-host`."""
        for one in hosts:
            if one not in RESERVED:
                self._store.host(one)
        if LOCAL in hosts and release is not None and release.spec.runtime == CONTAINER:
            raise SpecError(
                "container-needs-host", "engines of this machine do not run in containers", where="--host",
                hint="leave local out",
            )  # fmt: skip

    @contextmanager
    def _journaled(self, name: str, action: str, **said: Any) -> Iterator[None]:
        """The entry before the act, its end after it, and then the loop looks at once."""
        journal = self._store.journal
        entry = journal.begin(self._deps.clock(), name, USER, action, **said)
        try:
            yield
        except LycError as error:
            journal.end(entry, error.ref)
            raise
        journal.end(entry)
        self._reconciler.wake(name)

    def _foretold(
        self,
        deployment: Deployment,
        *,
        releases: tuple[Release, ...] | None = None,
        without: list[Replica] | None = None,
    ) -> tuple[Step, ...]:
        name, now = deployment.name, self._deps.clock()
        gone = {one.id for one in without or ()}
        replicas = tuple(one for one in self._store.replicas(name) if one.id not in gone)
        known = tuple(self._store.releases(name)) if releases is None else releases
        situation = Situation(deployment, known, replicas, desired=wanted(deployment, now))
        return foretold(self._deps, situation, now)


def foretold(deps: Deps, situation: Situation, now: float) -> tuple[Step, ...]:
    """Each act that would follow, if all goes well."""
    complete = Places(deps, situation.deployment.name, lambda: None).complete(situation)
    actions = preview(complete, now, deps.policy)
    return tuple(Step(named(one), subject(one), words(one)) for one in actions if _is_act(one))


def _is_act(action: Action) -> bool:
    return not (isinstance(action, MoveReplica) and action.signal in _SEEN)


def _replaced(count: int, *, beside: bool) -> str:
    if count == 1:
        return f"1 replica is replaced, {'beside it' if beside else 'in its place'}"
    return f"{count} replicas are replaced, {'beside them' if beside else 'in their place'}"


def differences(before: ScalePolicy, after: ScalePolicy) -> tuple[str, ...]:
    """`max: 1 → 4` …, of what is another."""
    pairs = zip(_shown(before).items(), _shown(after).values(), strict=True)
    return tuple(f"{key}: {was} → {now}" for (key, was), now in pairs if was != now)


def _shown(policy: ScalePolicy) -> dict[str, str]:
    target = policy.target_concurrency
    return {
        "min": str(policy.minimum),
        "max": str(policy.maximum),
        "target concurrency": "as planned" if target is None else f"{target:g}",
        "idle sleep": _span(policy.idle_sleep),
        "idle": _span(policy.idle),
        "idle release": _span(policy.idle_release),
        "schedule": "; ".join(rule.text for rule in policy.schedule) or "none",
        "wake timeout": show_duration(policy.wake_timeout),
        "further hosts": ", ".join(policy.hosts) or "none",
    }


def _span(seconds: float | None) -> str:
    return "never" if seconds is None else show_duration(seconds)


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
