"""What must stay on a host, whatever is pruned there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lyc.records.deployment import Release, ReleaseState
from lyc.records.host import ANY
from lyc.records.operation import OperationKind
from lyc.records.placement import PlacementState
from lyc.records.plan import Plan
from lyc.store import Store

_HEX = re.compile(r"[0-9a-f]{64}")


def kept(store: Store, host: str) -> tuple[list[str], list[str]]:
    """(digests of snapshots, ids of engines) that releases on the host need: those that run, serve or shall serve, and
    the one before, to which a rollback goes. Also those that are just being brought there.
    """
    needed = [one for deployment in store.deployments() for one in _needed(store, deployment.name, host)]
    plans = [plan for _, plan in needed]
    drafts = [Path(one.speculative_model).name for one in plans if one.speculative_model]
    # The folder of a snapshot has its digest for a name; what is none (`ngram` takes no model) needs none.
    drafts = [f"sha256:{name}" for name in drafts if _HEX.fullmatch(name)]
    snapshots = dict.fromkeys([*(one.snapshot for one, _ in needed), *drafts])
    return list(snapshots), list(dict.fromkeys(one.engine.id for one in plans))


def _needed(store: Store, deployment: str, host: str) -> Iterator[tuple[Release, Plan]]:
    """Each with its plan there."""
    target = next(one.target for one in store.deployments() if one.name == deployment)
    running = {replica.release for replica in store.replicas(deployment) if replica.host == host}
    placements = [one for one in store.placements.list(deployment) if one.host == host]
    placed = {one.release: one for one in placements if one.state is not PlacementState.FAILED}
    there = [one for one in store.releases(deployment) if one.spec.host == host or one.number in placed]
    before = [one.number for one in there if _proven(one) and one.number != target]
    stays = running | {target, max(before, default=None)}
    for one in there:
        if one.number in stays:
            found = placed.get(one.number)
            yield one, one.plan if found is None or found.plan is None else found.plan


def _proven(release: Release) -> bool:
    """One that gave way before it had ever served is superseded too."""
    return release.state in (ReleaseState.ACTIVE, ReleaseState.SUPERSEDED) and release.active_at is not None


def deploying(store: Store, host: str, *, but: str = "") -> str | None:
    """The deployment that is being deployed to a host just now, whose weights no release needs yet. but: not this."""
    for operation in store.running_operations():
        spec = operation.request.get("spec")
        there = isinstance(spec, dict) and spec.get("host") in (host, ANY)
        if operation.kind is OperationKind.DEPLOY and there and operation.deployment != but:
            return operation.deployment
    return None
