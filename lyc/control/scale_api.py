"""The part of the controller's API that is about replicas and releases of a deployment, and its journal."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from lyc.control import scale_views
from lyc.control.changes import Changed, Changes
from lyc.control.deps import Deps
from lyc.control.operations import Operations
from lyc.control.reconcile import Reconciler
from lyc.control.wake_views import Scaling
from lyc.errors import SpecError, UsageError
from lyc.records.operation import OperationKind
from lyc.spec.scale import LONGEST, MOST_IN_FLIGHT, rules

FOLLOW_SECONDS = 0.3
KEEPALIVE_SECONDS = 5.0
_IDLE = ("idle", "idle_sleep", "idle_release")
NDJSON = "application/x-ndjson"


class ScaleRequest(BaseModel):
    """What shall be another; what is left out stays. target_concurrency None = as planned. wake_timeout: seconds; idle
    (stopped), idle_sleep, idle_release too, and None = never.
    schedule: rules as written, an empty list = none any more. hosts: where further replicas may run: names, `any`,
    `rent`; an empty list = nowhere but where the release was deployed to.
    """

    min: int | None = None
    max: int | None = None
    target_concurrency: float | None = None
    idle: float | None = None
    idle_sleep: float | None = None
    idle_release: float | None = None
    schedule: list[str] | None = None
    wake_timeout: float | None = None
    hosts: list[str] | None = None
    dry_run: bool = False


class DryRequest(BaseModel):
    """dry_run: only say what would be done."""

    dry_run: bool = False


class RollbackRequest(DryRequest):
    """to: number of a release, None = the one that was active before the present one."""

    to: int | None = None


class CanaryRequest(DryRequest):
    """share: of the requests, between 0 and 1."""

    share: float


def add(app: FastAPI, deps: Deps, reconciler: Reconciler, operations: Operations, scaling: Scaling) -> None:
    """Adds the calls to an application."""
    changes = Changes(deps, reconciler)
    _add_scale(app, deps, changes, scaling)
    _add_runs(app, changes, operations)
    _add_releases(app, deps, changes, operations)
    _add_events(app, deps)


def _add_scale(app: FastAPI, deps: Deps, changes: Changes, scaling: Scaling) -> None:
    @app.get("/v1/deployments/{name}/scale")
    def scale(name: str) -> dict[str, Any]:
        """How many replicas there shall be, there are, and why."""
        return scale_views.scale(deps, scaling, name)

    @app.patch("/v1/deployments/{name}/scale")
    def rescale(name: str, request: ScaleRequest) -> dict[str, Any]:
        """Change the bounds, or what they depend on."""
        changed = changes.scale(name, _wished(request), dry_run=request.dry_run)
        return _document(name, changed, dry_run=request.dry_run)


def _add_runs(app: FastAPI, changes: Changes, operations: Operations) -> None:
    @app.get("/v1/deployments/{name}/down")
    def foretold(name: str) -> dict[str, Any]:
        """What the end of a deployment would take; only said."""
        return _document(name, changes.down(name), dry_run=True)

    @app.post("/v1/deployments/{name}/pause")
    def pause(name: str, request: DryRequest) -> dict[str, Any]:
        """Stop all replicas, and wake none until it is resumed."""
        return _document(name, changes.pause(name, dry_run=request.dry_run), dry_run=request.dry_run)

    @app.post("/v1/deployments/{name}/resume")
    def resume(name: str, request: DryRequest) -> dict[str, Any]:
        """End a pause."""
        changed = changes.resume(name, dry_run=request.dry_run)
        return _begun(operations, OperationKind.RESUME, name, changed, dry_run=request.dry_run)

    @app.post("/v1/deployments/{name}/restart")
    def restart(name: str, request: DryRequest) -> dict[str, Any]:
        """New replicas in place of those that are there."""
        changed = changes.restart(name, dry_run=request.dry_run)
        return _begun(operations, OperationKind.RESTART, name, changed, dry_run=request.dry_run)


def _add_releases(app: FastAPI, deps: Deps, changes: Changes, operations: Operations) -> None:
    @app.get("/v1/deployments/{name}/releases")
    def releases(name: str) -> dict[str, Any]:
        """All releases, the newest first, and who serves now."""
        return scale_views.releases(deps, name)

    @app.post("/v1/deployments/{name}/rollback")
    def rollback(name: str, request: RollbackRequest) -> dict[str, Any]:
        """Serve a release of before again."""
        changed = changes.rollback(name, request.to, dry_run=request.dry_run)
        return _begun(operations, OperationKind.ROLLBACK, name, changed, dry_run=request.dry_run)

    @app.post("/v1/deployments/{name}/promote")
    def promote(name: str, request: DryRequest) -> dict[str, Any]:
        """End a canary: its release gets all requests."""
        return _document(name, changes.canary(name, None, dry_run=request.dry_run), dry_run=request.dry_run)

    @app.post("/v1/deployments/{name}/canary")
    def canary(name: str, request: CanaryRequest) -> dict[str, Any]:
        """Give a canary another share."""
        if not 0 < request.share < 1:
            raise UsageError(
                "invalid-value", f"a share of {request.share:g} cannot be", why="it is more than 0 and less than 1"
            )
        return _document(name, changes.canary(name, request.share, dry_run=request.dry_run), dry_run=request.dry_run)


def _add_events(app: FastAPI, deps: Deps) -> None:
    @app.get("/v1/deployments/{name}/events")
    def events(
        name: str, after: int = 0, limit: int | None = None, since: float | None = None, follow: bool = False
    ) -> StreamingResponse:
        """The journal as NDJSON, oldest first. With `follow` what comes too, and once more what has ended since."""
        deps.store.deployment(name)
        return StreamingResponse(_journal(deps, name, after, limit, since, follow=follow), media_type=NDJSON)


def _journal(
    deps: Deps, name: str, after: int, limit: int | None, since: float | None, *, follow: bool
) -> Iterator[str]:
    journal, waited = deps.store.journal, threading.Event()
    # What the limits leave out is not to come as news; what is written from here on is.
    last = max([after, *(one.id for one in journal.list(name, limit=1))])
    fresh = journal.list(name, after=after, limit=limit, since=since)
    quiet, pending = 0.0, set[int]()
    while True:
        pending |= {one.id for one in fresh if one.result is None}
        last = max([last, *(one.id for one in fresh)])
        yield "".join(json.dumps(asdict(one), default=str) + "\n" for one in fresh)
        if not follow or deps.store.find_deployment(name) is None:
            return
        if fresh:
            quiet = 0.0
        elif (quiet := quiet + FOLLOW_SECONDS) >= KEEPALIVE_SECONDS:
            quiet = 0.0
            yield "\n"
        waited.wait(FOLLOW_SECONDS)
        ended = [one for one in journal.of(pending) if one.result is not None]
        pending -= {one.id for one in ended}
        fresh = [*ended, *journal.list(name, after=last)]


def _wished(request: ScaleRequest) -> dict[str, Any]:
    """Fields of `ScalePolicy` out of what was sent. Raises UsageError `invalid-value`, SpecError of a schedule."""
    sent, wished = request.model_fields_set, dict[str, Any]()
    names = {"min": "minimum", "max": "maximum"}
    for key in ("min", "max", "wake_timeout"):
        value = getattr(request, key)
        if key in sent and value is not None:
            wished[names.get(key, key)] = value
    wished |= {key: getattr(request, key) for key in _IDLE if key in sent}
    for key in (*_IDLE, "wake_timeout"):
        seconds = wished.get(key)
        if seconds is not None and not 1 <= seconds <= LONGEST:
            raise UsageError("invalid-value", f"{key} takes from 1s to 366d", where=f"--{key.replace('_', '-')}")
    if request.hosts is not None:
        wished["hosts"] = tuple(dict.fromkeys(request.hosts))
    if "target_concurrency" in sent:
        target = request.target_concurrency
        if target is not None and not 0 < target <= MOST_IN_FLIGHT:
            raise UsageError("invalid-value", "a replica takes more than 0 requests", where="--target-concurrency")
        wished["target_concurrency"] = target
    if request.schedule is not None:
        try:
            wished["schedule"] = rules(request.schedule)
        except SpecError as problem:
            problem.where = "--schedule"
            raise
    return wished


def _begun(
    operations: Operations, kind: OperationKind, name: str, changed: Changed, *, dry_run: bool
) -> dict[str, Any]:
    """The document, with an operation that watches what was changed until it serves."""
    document = _document(name, changed, dry_run=dry_run)
    if not dry_run and changed.what and changed.release is not None:
        request: dict[str, object] = {"release": changed.release, "replaced": list(changed.replaced)}
        document["operation"] = operations.begin(kind, name, request).id
    return document


def _document(name: str, changed: Changed, *, dry_run: bool) -> dict[str, Any]:
    return {
        "name": name,
        "dry_run": dry_run,
        "changed": bool(changed.what),
        "changes": list(changed.what),
        "steps": [asdict(one) for one in changed.steps],
        "release": changed.release,
        "operation": None,
    }
