"""The controller's API: FastAPI over a unix socket; thin, every call a few lines over the parts that do the work."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

import lyc
from lyc.control import costs, host_views, rent_api, scale_api, views
from lyc.control.deps import Deps
from lyc.control.documents import API
from lyc.control.feed import Feed
from lyc.control.foretelling import Foreteller
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.host_care import HostCare
from lyc.control.hosts import RESERVED, Hosts
from lyc.control.keys import Keys
from lyc.control.layout import controller_log
from lyc.control.logs import Logs
from lyc.control.market import Market
from lyc.control.operations import Operations
from lyc.control.reconcile import Reconciler
from lyc.control.rentals import Rentals
from lyc.control.renting import Renter
from lyc.control.told import told
from lyc.control.wake_views import Scaling
from lyc.errors import LycError, NotAuthorised, NotFound, UsageError
from lyc.records.deployment import DeploymentSpec
from lyc.records.operation import OperationKind
from lyc.records.secret import Secret
from lyc.spec.host_address import parse_address
from lyc.spec.names import check_name
from lyc.store import Store

NDJSON = "application/x-ndjson"


class DeployRequest(BaseModel):
    """A wish. credentials: environment variables that sources and providers read; never stored beyond the fetch or the
    rental, never shown. offer: (provider, id) of what a person chose to rent.
    """

    spec: DeploymentSpec
    credentials: dict[str, str] = Field(default_factory=dict, repr=False)
    name_given: bool = True
    offer: tuple[str, str] | None = None


class KeyRequest(BaseModel):
    """A key to make. ttl_seconds None = until revoked."""

    label: str = ""
    ttl_seconds: float | None = Field(default=None, gt=0)


class HostRequest(BaseModel):
    """A host to know. accept_host_key: a fingerprint (`SHA256:…`), `accept-new`, or None = only keys known already.

    lease_seconds: of silence after which it stops its replicas; 0 = never any more, None = as before. country: where it
    stands, empty = not known any more, None = as before.
    """

    address: str
    accept_host_key: str | None = None
    hub: str | None = Field(default=None, pattern=r"^https?://")
    lease_seconds: int | None = Field(default=None, ge=0)
    country: str | None = Field(default=None, pattern=r"^([A-Z]{2})?$")


class LookRequest(BaseModel):
    """A look at a host. hub: what the caller has in HF_ENDPOINT, to ask whether the host reaches it."""

    hub: str | None = Field(default=None, pattern=r"^https?://")


class PruneRequest(BaseModel):
    """What to make room for. free: bytes that shall be free there; None = all that may go. dry_run: say it only."""

    free: int | None = Field(default=None, ge=0)
    dry_run: bool = False


class PurgeRequest(BaseModel):
    """force: also where another controller is at work."""

    force: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API speaks for. stop: ends the controller."""

    deps: Deps
    gatekeeper: Gatekeeper
    operations: Operations
    feed: Feed
    keys: Keys
    hosts: Hosts
    rentals: Rentals
    market: Market
    renter: Renter
    reconciler: Reconciler
    scaling: Scaling
    started_at: float
    pid: int
    stop: Callable[[], None]


def build(parts: Parts) -> FastAPI:
    """The application. Calls are synchronous and run in the server's thread pool."""
    app = FastAPI(title="lyc controller", version=lyc.__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(LycError, _show_error)
    _add_controller(app, parts)
    _add_deployments(app, parts)
    _add_operations(app, parts)
    _add_keys(app, parts)
    _add_hosts(app, parts)
    rent_api.add(app, parts.deps, parts.renter, parts.rentals, parts.market)
    costs.add(app, parts.deps)
    scale_api.add(app, parts.deps, parts.reconciler, parts.operations, parts.scaling)
    return app


def _show_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LycError)  # noqa: S101 - registered for this class only
    status = 404 if isinstance(error, NotFound) else 403 if isinstance(error, NotAuthorised) else 400
    return JSONResponse({"error": error.document()}, status_code=status)


def _add_controller(app: FastAPI, parts: Parts) -> None:
    @app.get("/v1/controller")
    def controller() -> dict[str, Any]:
        """The controller and its gateway."""
        status = parts.deps.gateway.status()
        port, host = parts.gatekeeper.port, parts.deps.settings.gateway_host
        return {
            "version": lyc.__version__,
            "api": API,
            "pid": parts.pid,
            "started_at": parts.started_at,
            "home": str(parts.deps.settings.home),
            "log": str(controller_log(parts.deps.settings)),
            "settings": parts.deps.settings.shared(),
            "gateway": {
                "url": f"http://{host}:{port}" if port else None,
                "host": host,
                "port": port,
                "state": status.state,
                "pid": status.pid,
                "error": parts.gatekeeper.error.document() if parts.gatekeeper.error else None,
            },
        }

    @app.post("/v1/controller/stop")
    def stop() -> dict[str, Any]:
        """End the controller. Gateway and replicas go on; the next command takes them over."""
        serving = [deployment.name for deployment in parts.deps.store.deployments()]
        threading.Timer(0.05, parts.stop).start()  # after this answer has been sent
        rented = [f"{one.machine or one.run_id} at {one.provider}" for one in parts.deps.store.rentals(open_only=True)]
        return {"stopped": True, "serving": serving, "rented": rented}


def _add_deployments(app: FastAPI, parts: Parts) -> None:
    store = parts.deps.store
    shown = views.Views(parts.deps, parts.gatekeeper, parts.scaling)
    logs, foreteller = Logs(parts.deps), Foreteller(parts.deps, parts.renter)

    @app.put("/v1/deployments/{name}", status_code=202)
    def deploy(name: str, request: DeployRequest) -> dict[str, Any]:
        """Store a wish and start on it."""
        _check_wish(name, request.spec, store)  # before anything is stored
        wish = {"spec": asdict(request.spec), "name_given": request.name_given, "offer": request.offer}
        return {"operation": parts.operations.begin(OperationKind.DEPLOY, name, wish, request.credentials).id}

    @app.post("/v1/deployments/{name}/foretell")
    def foretell(name: str, request: DeployRequest) -> dict[str, Any]:
        """What a deploy would do; nothing is done."""
        _check_wish(name, request.spec, store)
        secret = {env: Secret(value) for env, value in request.credentials.items()}
        return foreteller.deploy(request.spec, secret, name_given=request.name_given, offer=request.offer)

    @app.get("/v1/deployments")
    def deployments() -> dict[str, Any]:
        """All deployments."""
        return {"deployments": shown.deployments()}

    @app.get("/v1/deployments/{name}")
    def deployment(name: str) -> dict[str, Any]:
        """One deployment."""
        return shown.deployment(store.deployment(name))

    @app.delete("/v1/deployments/{name}", status_code=202)
    def down(name: str, drain_timeout: float = 30.0, force: bool = False) -> dict[str, Any]:
        """Drain, stop and forget a deployment. force: without waiting for hosts that do not answer."""
        store.deployment(name)
        request: dict[str, object] = {"drain_timeout": drain_timeout, "force": force}
        return {"operation": parts.operations.begin(OperationKind.DOWN, name, request).id}

    @app.get("/v1/deployments/{name}/logs")
    def read_logs(
        name: str,
        tail: int | None = None,
        since: float | None = None,
        follow: bool = False,
        replica: str | None = None,
    ) -> StreamingResponse:
        """Log lines, as NDJSON."""
        lines, offsets = logs.read(name, tail=tail, since=since, replica=replica)

        def stream() -> Iterator[str]:
            yield "".join(_line(asdict(line)) for line in lines)
            if not follow:
                return
            stop = threading.Event()
            try:
                for fresh in logs.follow(name, offsets=offsets, replica=replica, stop=stop):
                    yield "".join(_line(asdict(line)) for line in fresh) or "\n"
            finally:
                stop.set()

        return StreamingResponse(stream(), media_type=NDJSON)


def _check_wish(name: str, spec: DeploymentSpec, store: Store) -> None:
    """Raises UsageError `invalid-name`, `name-mismatch`, NotFound `no-such-host`."""
    check_name(name)
    if spec.name != name:
        raise UsageError("name-mismatch", f"the spec is for {spec.name!r}, the call for {name!r}")
    for host in (spec.host, *(spec.scale.hosts or ())):
        if host not in RESERVED:
            store.host(host)


def _add_operations(app: FastAPI, parts: Parts) -> None:
    @app.get("/v1/operations/{identity}")
    def operation(identity: str) -> dict[str, Any]:
        """One operation. Its request is left out: it may hold an environment with secrets."""
        document = asdict(parts.deps.store.operation(identity))
        del document["request"]
        return document

    @app.get("/v1/operations/{identity}/events")
    def events(identity: str, after: int = 0) -> StreamingResponse:
        """Events as NDJSON; an empty line now and then shows that the controller lives."""
        parts.deps.store.operation(identity)

        def stream() -> Iterator[str]:
            for event in parts.feed.follow(identity, after):
                yield _line(asdict(event)) if event else "\n"

        return StreamingResponse(stream(), media_type=NDJSON)


def _add_keys(app: FastAPI, parts: Parts) -> None:
    @app.get("/v1/deployments/{name}/keys")
    def keys(name: str) -> dict[str, Any]:
        """The keys of a deployment, revoked ones too."""
        parts.deps.store.deployment(name)
        return {"keys": [views.key(key) for key in parts.deps.store.list_keys(name)]}

    @app.post("/v1/deployments/{name}/keys", status_code=201)
    def create_key(name: str, request: KeyRequest) -> dict[str, Any]:
        """Make a key. The answer is the only place where it is ever shown."""
        key, secret = parts.keys.create(name, request.label, request.ttl_seconds)
        return views.key(key) | {"key": secret.reveal()}

    @app.delete("/v1/deployments/{name}/keys/{identity}")
    def revoke_key(name: str, identity: str) -> dict[str, Any]:
        """Close a key, at once."""
        key = parts.keys.revoke(name, identity)
        return {"id": key.id, "revoked_at": key.revoked_at}


def _add_hosts(app: FastAPI, parts: Parts) -> None:
    store = parts.deps.store

    @app.get("/v1/hosts")
    def hosts() -> dict[str, Any]:
        """All hosts, as of their last look."""
        return {"hosts": host_views.hosts(store)}

    @app.get("/v1/hosts/{name}")
    def host(name: str) -> dict[str, Any]:
        """One host, as of its last look."""
        return host_views.host(store, name)

    @app.put("/v1/hosts/{name}")
    def add(name: str, request: HostRequest) -> dict[str, Any]:
        """Know a host: trust its key if that may be, look at it, store it."""
        check_name(name, of="host")
        address, port = parse_address(request.address, where="address")
        _, new = parts.hosts.add(
            name,
            address,
            port,
            request.accept_host_key,
            hub=request.hub,
            lease=request.lease_seconds,
            country=request.country,
        )
        return host_views.host(store, name) | {"new": new}

    @app.post("/v1/hosts/{name}/check")
    def check(name: str, request: LookRequest) -> dict[str, Any]:
        """Look at a host now."""
        parts.hosts.check(name, request.hub)
        return host_views.host(store, name)

    @app.delete("/v1/hosts/{name}")
    def remove(name: str) -> dict[str, Any]:
        """Forget a host and its keys. Nothing changes on it."""
        return {"name": parts.hosts.remove(name).name, "removed": True}

    _add_host_care(app, HostCare(parts.deps, parts.hosts), store)


def _add_host_care(app: FastAPI, care: HostCare, store: Store) -> None:
    @app.get("/v1/hosts/{name}/use")
    def use(name: str) -> dict[str, Any]:
        """What lyc has and does on a host now."""
        return asdict(care.use(name))

    @app.delete("/v1/hosts/{name}/lock")
    def unlock(name: str, force: bool = False) -> dict[str, Any]:
        """Give the host's lock back."""
        return care.unlock(name, force=force)

    @app.post("/v1/hosts/{name}/prune")
    def prune(name: str, request: PruneRequest) -> dict[str, Any]:
        """Remove weights and engines that no release needs."""
        return care.prune(name, free=request.free, dry_run=request.dry_run)

    @app.post("/v1/hosts/{name}/prepare")
    def prepare(name: str) -> StreamingResponse:
        """Make a host fit to run engines; what is done, as NDJSON."""
        store.host(name)
        return _told(told(f"preparing {name}", lambda say: care.prepare(name, say)))

    @app.post("/v1/hosts/{name}/purge")
    def purge(name: str, request: PurgeRequest) -> StreamingResponse:
        """Leave nothing of lyc on a host and forget it; what is done, as NDJSON."""
        store.host(name)
        return _told(told(f"purging {name}", lambda say: care.purge(name, say, force=request.force)))


def _told(documents: Iterator[Mapping[str, Any] | None]) -> StreamingResponse:
    return StreamingResponse((_line(dict(one)) if one else "\n" for one in documents), media_type=NDJSON)


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, default=str) + "\n"
