"""What the API shows of the store: plain dicts, described in docs/controller-api.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lyc.control.autoscale import wanted
from lyc.control.deps import Deps
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.layout import attempt_directory
from lyc.control.rent_documents import rented
from lyc.control.wake_views import Scaling, standing, warnings
from lyc.errors import NotFound
from lyc.records.deployment import Deployment, Release, Replica, ReplicaState
from lyc.records.key import Key
from lyc.records.waketime import WakeTime
from lyc.rollout import Situation, given_up, summarise

_UP = frozenset({ReplicaState.STARTING, ReplicaState.LOADING, ReplicaState.PROBING, ReplicaState.READY})
_UNWELL = frozenset({ReplicaState.BACKOFF, ReplicaState.FAILED, ReplicaState.UNREACHABLE})


class Views:
    """Reads the store, what is known of scaling, and of the world only which pid a replica has."""

    def __init__(self, deps: Deps, gatekeeper: Gatekeeper, scaling: Scaling) -> None:
        self._deps = deps
        self._gatekeeper = gatekeeper
        self._scaling = scaling

    def deployments(self) -> list[dict[str, Any]]:
        """`DeploymentDocument` of each."""
        times = self._deps.store.wake_times.by_deployment()
        return [self.deployment(one, times.get(one.name, ())) for one in self._deps.store.deployments()]

    def deployment(self, deployment: Deployment, times: Sequence[WakeTime] | None = None) -> dict[str, Any]:
        """`DeploymentDocument` of one deployment, as of now. times: as of `standing`."""
        store, name = self._deps.store, deployment.name
        releases, replicas = tuple(store.releases(name)), tuple(store.replicas(name))
        desired = wanted(deployment, self._deps.clock()) if deployment.target else 0
        situation = Situation(deployment, releases, replicas, desired=desired)
        shown = situation.release(deployment.target) or (releases[-1] if releases else None)
        running = store.running_operations(name)
        rentals = store.rentals(deployment=name, open_only=True)
        hosts = {one.host for one in rentals if one.host is not None}
        stands = standing(self._deps, self._scaling, deployment, situation.target, replicas, times=times)
        ready = sum(r.state is ReplicaState.READY for r in replicas if shown and r.release == shown.number)
        return {
            "name": name,
            "state": summarise(situation) if releases or not running else "pending",
            "url": self._gatekeeper.url(name),
            "model": shown.model if shown else _wished(running[0].request) if running else None,
            "release": shown.number if shown else None,
            "host": shown.spec.host if shown else None,
            "gpu": shown.plan.accelerator if shown else None,
            "engine": shown.plan.engine.id if shown else None,
            "min": deployment.policy.minimum if shown else None,
            "max": deployment.policy.maximum if shown else None,
            "replicas": {"ready": ready, "desired": desired},
            **{key: stands[key] for key in ("why", "wake", "ready_in")},
            "replica_list": [self._replica(replica) for replica in replicas],
            "releases": [_release(release) for release in releases],
            "rented": [one for one in (rented(host, rentals) for host in sorted(hosts)) if one is not None],
            "operation": running[0].id if running else None,
            "error": deployment.error or _last_error(replicas),
            "warnings": [*(shown.plan.warnings if shown else ()), *warnings(deployment.policy)],
            "created_at": deployment.created_at,
            "updated_at": deployment.updated_at,
        }

    def _replica(self, replica: Replica) -> dict[str, Any]:
        pid = None
        if replica.state in _UP or replica.state in (ReplicaState.DRAINING, ReplicaState.STOPPING):
            with suppress(NotFound):  # its machine may be gone since
                supervisor = self._deps.sites.site(replica.host).supervisor
                status = supervisor.status(attempt_directory(self._deps.settings, replica))
                pid = status.pid if status.state == "running" else None
        return {
            **brief(replica),
            "pid": pid,
            "gpus": list(replica.devices) if replica.devices is not None else None,
            "attempts": replica.attempts,
        }


def brief(replica: Replica) -> dict[str, Any]:
    """What the store alone says of a replica."""
    return {
        "id": replica.id,
        "release": replica.release,
        "state": replica.state.value,
        "host": replica.host,
        "created_at": replica.created_at,
        "ready_at": replica.ready_at,
        "error": replica.error,
    }


def key(item: Key) -> dict[str, Any]:
    """A key without anything that opens a door."""
    return {
        "id": item.id,
        "label": item.label,
        "prefix": item.prefix,
        "created_at": item.created_at,
        "expires_at": item.expires_at,
        "revoked_at": item.revoked_at,
    }


def _release(release: Release) -> dict[str, Any]:
    return {
        "number": release.number,
        "state": release.state.value,
        "model": release.model,
        "created_at": release.created_at,
        "error": release.error,
        "forecast": dataclasses.asdict(release.plan.forecast) if release.plan.forecast else None,
        "reported": dataclasses.asdict(release.reported) if release.reported else None,
    }


def _wished(request: dict[str, object]) -> str | None:
    spec = request.get("spec")
    return str(spec["model"]) if isinstance(spec, dict) and "model" in spec else None


def _last_error(replicas: tuple[Replica, ...]) -> dict[str, object] | None:
    """Why the newest replica is not well, if it is not."""
    if not replicas or not (replicas[-1].state in _UNWELL or given_up(replicas[-1])):
        return None
    return replicas[-1].error
