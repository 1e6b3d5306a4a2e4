"""What the API shows of replicas, releases and the journal: plain dicts, see `scale_documents`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lyc.control.autoscale import wanted
from lyc.control.deps import Deps
from lyc.control.host_plans import homeless
from lyc.control.left_out import left_out
from lyc.control.views import brief
from lyc.control.wake_views import Scaling, standing, warnings
from lyc.planning.capacity import capacity
from lyc.records.deployment import Deployment, Release, Replica, ReplicaState
from lyc.records.scaling import Sample, ScalePolicy
from lyc.rollout import Situation, split, summarise
from lyc.rollout.situation import target_of
from lyc.rollout.transitions import ENDED
from lyc.scaling import bounds, next_change
from lyc.scaling.decide import target as aim


def scale(deps: Deps, scaling: Scaling, name: str) -> dict[str, Any]:
    """`ScaleDocument`. Raises NotFound `no-such-deployment`."""
    deployment, now = deps.store.deployment(name), deps.clock()
    releases, replicas = tuple(deps.store.releases(name)), deps.store.replicas(name)
    target = target_of(deployment, releases)
    desired = wanted(deployment, now) if target is not None else 0
    low, high = bounds(deployment.policy, now)
    last = scaling.last(name)
    return {
        "name": name,
        "state": summarise(Situation(deployment, releases, tuple(replicas), desired=desired)),
        "release": deployment.target,
        "paused": deployment.paused,
        "policy": policy(deployment.policy),
        "bounds": {"min": low, "max": high},
        "desired": desired,
        "ready": sum(one.state is ReplicaState.READY for one in replicas),
        "target": aim(deployment.policy, deployment.scaler, capacity(target.plan, target.reported)) if target else None,
        "last_request": deployment.scaler.last_request,
        "next_change": next_change(deployment.policy, now),
        **standing(deps, scaling, deployment, target, replicas),
        "load": None if last is None else _load(last),
        "canary": deployment.canary,
        "homeless": homeless(deps.store, name, target.number, now) if target else None,
        "warnings": [*warnings(deployment.policy), *left_out(deps, deployment)],
        "replicas": [brief(one) for one in replicas if one.state not in ENDED or one.error is not None],
    }


def policy(found: ScalePolicy) -> dict[str, Any]:
    """`PolicyDocument`."""
    return {
        "min": found.minimum,
        "max": found.maximum,
        "target_concurrency": found.target_concurrency,
        "idle": found.idle,
        "idle_sleep": found.idle_sleep,
        "idle_release": found.idle_release,
        "schedule": [rule.text for rule in found.schedule],
        "wake_timeout": found.wake_timeout,
        "hosts": list(found.hosts),
    }


def releases(deps: Deps, name: str) -> dict[str, Any]:
    """`ReleasesDocument`, the newest first. Raises NotFound `no-such-deployment`."""
    deployment = deps.store.deployment(name)
    found, replicas = tuple(deps.store.releases(name)), tuple(deps.store.replicas(name))
    weights = split(Situation(deployment, found, replicas, desired=wanted(deployment, deps.clock())))
    return {
        "name": name,
        "target": deployment.target,
        "canary": deployment.canary,
        "bake": deployment.bake,
        "releases": [_release(one, deployment, replicas, weights) for one in reversed(found)],
    }


def _release(
    release: Release, deployment: Deployment, replicas: Sequence[Replica], weights: dict[str, int]
) -> dict[str, Any]:
    mine = [one for one in replicas if one.release == release.number and one.state not in ENDED]
    share = sum(weights.get(one.id, 0) for one in mine) / (sum(weights.values()) or 1)
    return {
        "number": release.number,
        "state": release.state.value,
        "model": release.model,
        "host": release.spec.host,
        "gpu": release.plan.accelerator,
        "image": release.spec.image,
        "created_at": release.created_at,
        "active_at": release.active_at,
        "target": release.number == deployment.target,
        "serves": share > 0,
        "share": round(share, 4),
        "ready": sum(one.state is ReplicaState.READY for one in mine),
        "replicas": len(mine),
        "error": release.error,
    }


def _load(last: Sample) -> dict[str, Any]:
    return {
        "at": last.at,
        "in_flight": last.in_flight,
        "held": last.held,
        "engine_waiting": last.engine_waiting,
        "kv_usage": last.kv_usage,
    }
