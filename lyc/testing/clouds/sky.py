"""SkyPilot's API server as version 0.14 answers: each thing that is asked becomes a request, its outcome is fetched.

An offer of the cloud has the id that lyc's provider gives it: `gcp/europe-west3/g2-standard-4/L4:1`. What is fetched of
`POST /status` is as it is at that moment. Handles are pickled in the real one; here they are what it says for none. A
machine with `data["queued"]` is a launch that waits for its turn: it has no cluster, and `down` does not hold it up. Of
one with `data["refused"]`, which is gone, the launch was refused with these words.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lyc.records.rental import MachineState
from lyc.testing.clouds.core import Cloud, FakeMachine, NoSuchOffer, SoldOut
from lyc.testing.clouds.server import App, Reply, Request, Route

CAPACITY: Mapping[str, int | None] = {
    "gcp/europe-west3/g2-standard-4/L4:1": 4,
    "gcp/europe-west3/g2-standard-4/L4:1/spot": None,
    "gcp/us-central1/a3-highgpu-8g/H100:8": 1,
    "nebius/eu-north1/gpu-h200-sxm_1gpu-16vcpu-200gb/H200:1": None,
    "oci/eu-frankfurt-1/VM.GPU.A10.1/A10:1": 0,
    "azure/germanywestcentral/Standard_NC24ads_A100_v4/A100-80GB:1": 2,
    "cudo/fi-tampere-1/epyc-milan-rtx-a6000_1x4v16gb/RTXA6000:1": 2,
}
CLOUDS = ("gcp", "nebius", "oci", "azure", "cudo", "kubernetes")
"""Those that it may use."""
NO_HANDLE = "gAROLg=="
_WORDS = {
    MachineState.CREATING: "INIT",
    MachineState.RUNNING: "UP",
    MachineState.STOPPED: "STOPPED",
    MachineState.ENDING: "UP",
    MachineState.FAILED: "INIT",
}
_TITLES = {"gcp": "GCP", "oci": "OCI", "azure": "Azure", "nebius": "Nebius", "cudo": "Cudo", "aws": "AWS"}
_MEMORY = {"L4": None, "H100": None, "H200": 141.0, "A10": 24.0, "A100-80GB": None, "RTXA6000": 48.0}
"""GiB of a card; GCP and Azure do not say."""


class Clusters(Cloud):
    """A machine has no other id than its name."""

    def put_foreign(self, name: str, offer: str = "", region: str = "", identity: str | None = None) -> FakeMachine:
        return super().put_foreign(name, offer, region, identity or name)


class Failure(Exception):
    """What a request fails with. kind: name of SkyPilot's exception."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True)
class Asked:
    """A request that was made of the server. status: of a launch it follows its machine. outcome: what it returns, or
    raises; asked when it is fetched. op: of fetching it.
    """

    id: str
    name: str
    op: str
    at: float
    cluster: str | None
    outcome: Callable[[], Any]
    machine: FakeMachine | None = None
    cancelled: bool = False


def app(cloud: Cloud, token: str) -> App:
    """The routes of an API server over `cloud`, for who has `token`."""
    fake = _Server(cloud, token)
    return App(
        cloud,
        [
            Route("health", "GET", "/api/health", fake.health),
            Route("ask", "GET", "/enabled_clouds", fake.clouds),
            Route("ask", "POST", "/list_accelerators", fake.accelerators),
            Route("ask", "POST", "/status", fake.clusters),
            Route("ask", "POST", "/endpoints", fake.endpoints),
            Route("create", "POST", "/launch", fake.launch),
            Route("terminate", "POST", "/down", fake.down),
            Route("cancel", "POST", "/api/cancel", fake.cancel),
            Route("journal", "GET", "/api/status", fake.journal),
            Route(fake.op, "GET", "/api/get", fake.fetch),
        ],
        error=lambda _status, message: {"detail": message},
        sold_out=fake.sold_out,
        guard=fake.guard,
    )


class _Server:
    def __init__(self, cloud: Cloud, token: str) -> None:
        self._cloud = cloud
        self._token = token
        self._asked: dict[str, Asked] = {}
        self._tick = itertools.count()

    def guard(self, asked: Request) -> Reply | None:
        if asked.headers.get("authorization") == f"Bearer {self._token}":
            return None
        return Reply(401, {"detail": "Invalid or expired service account token"})

    def op(self, asked: Request) -> str:
        request = self._asked.get(asked.query.get("request_id", ""))
        return request.op if request else "fetch"

    def health(self, _asked: Request) -> tuple[int, Any]:
        return 200, {"status": "healthy", "api_version": "62", "version": "0.14.1"}

    def clouds(self, _asked: Request) -> Reply:
        return self._taken("sky.enabled_clouds", "account", lambda: list(CLOUDS))

    def accelerators(self, asked: Request) -> Reply:
        def outcome() -> Any:
            rows: dict[str, list[Any]] = {}
            for offer in self._cloud.capacity:
                cloud, region, kind, cards, *spot = offer.split("/")
                name, _, count = cards.partition(":")
                if cloud in asked.body["clouds"] and not spot:
                    cheaper = 0.71 if f"{offer}/spot" in self._cloud.capacity else None
                    row = [_TITLES[cloud], kind, name, float(count), 4.0, _MEMORY[name], 16.0, 1.73, cheaper, region]
                    rows.setdefault(name, []).append(row)
            return rows

        return self._taken("sky.list_accelerators", "offers", outcome)

    def clusters(self, asked: Request) -> Reply:
        names = asked.body.get("cluster_names")

        def outcome() -> Any:
            alive = [one for one in self._cloud.machines.values() if one.alive and not one.data.get("queued")]
            return [self._row(one) for one in alive if names is None or one.name in names]

        return self._taken("sky.status", "list" if names is None else "get", outcome)

    def endpoints(self, asked: Request) -> Reply:
        name, port = asked.body["cluster"], asked.body["port"]

        def outcome() -> Any:
            machine = self._machine(name)
            if machine is None or machine.state is not MachineState.RUNNING or machine.address is None:
                raise Failure("ClusterNotUpError", f"Cluster {name!r} is not in UP status.")
            if str(port) not in _task(machine)["resources"].get("ports", [str(port)]):
                return {}
            return {str(port): f"{machine.address.host}:{machine.address.port}"}

        return self._taken("sky.endpoints", "endpoints", outcome, name)

    def launch(self, asked: Request) -> Reply:
        """The same name again finds the same machine."""
        name, resources = asked.body["cluster_name"], json.loads(asked.body["task"])["resources"]
        (card, count), *_ = resources["accelerators"].items()
        offer = f"{resources['infra']}/{resources['instance_type']}/{card}:{count}"
        offer += "/spot" if resources["use_spot"] else ""
        machine = self._machine(name)
        if machine is None:
            try:
                machine = self._cloud.launch(name, offer, resources["infra"], asked.body, identity=name)
            except NoSuchOffer:
                kind = resources["instance_type"]
                return self._lost(name, Failure("ValueError", f"Invalid instance type {kind!r}."))
            except SoldOut:
                return self.sold_out(asked)
            machine.data["hash"] = str(uuid.uuid4())
        launched = machine

        def outcome() -> Any:
            if "refused" in launched.data:
                raise Failure("ResourcesUnavailableError", launched.data["refused"])
            if launched.state is MachineState.FAILED:
                raise Failure("RuntimeError", f"Failed to set up SkyPilot runtime on cluster: {launched.problem}")
            return {"job_id": None, "handle": NO_HANDLE}

        return self._taken("sky.launch", "launched", outcome, name, machine=machine)

    def sold_out(self, asked: Request) -> Reply:
        infra = json.loads(asked.body["task"])["resources"]["infra"]
        why = (
            "\x1b[31mFailed to provision all possible launchable resources.\x1b[0m Relax the task's resource "
            f"requirements.\nReasons for provision failures:\n✗ {infra}\n  Failed to acquire resources in all zones."
        )
        return self._lost(asked.body["cluster_name"], Failure("ResourcesUnavailableError", why))

    def down(self, asked: Request) -> Reply:
        name = asked.body["cluster_name"]
        waits = self._cloud.machines.get(name)
        if waits is not None and waits.data.get("queued"):
            return self._taken("sky.down", "ended", lambda: _missing(name), name)
        machine = self._cloud.end(name)
        for one in self._asked.values():
            if one.name == "sky.launch" and one.cluster == name and self._status(one) == "RUNNING":
                one.cancelled = True

        def outcome() -> None:
            if machine is None:
                _missing(name)

        return self._taken("sky.down", "ended", outcome, name, machine=machine)

    def cancel(self, asked: Request) -> Reply:
        for identity in asked.body["request_ids"]:
            one = self._asked[identity]
            one.cancelled = True
            if one.machine is not None and one.machine.data.get("queued"):
                self._cloud.end(one.machine.id)
        return self._taken("sky.api_cancel", "cancelled", lambda: list(asked.body["request_ids"]))

    def journal(self, asked: Request) -> tuple[int, Any]:
        """Without `all_status` those that are not done; with `fields` the others are there, and empty."""
        name, everything = asked.query.get("cluster_name"), asked.query.get("all_status") == "true"
        rows: list[Any] = [
            {**_EMPTY, "request_id": one.id, "name": one.name, "status": self._status(one), "created_at": one.at,
             "cluster_name": one.cluster}
            for one in sorted(self._asked.values(), key=lambda one: one.at, reverse=True)
            if (name is None or one.cluster == name) and (everything or self._status(one) == "RUNNING")
        ]  # fmt: skip
        if name is None:
            rows.append({**_EMPTY, "request_id": "skypilot-status-refresh-daemon", "name": "sky.status-refresh"})
        return 200, rows

    def fetch(self, asked: Request) -> tuple[int, Any]:
        one = self._asked.get(asked.query["request_id"])
        if one is None:
            return 404, {"detail": f"Request {asked.query['request_id']!r} not found"}
        told: dict[str, Any] = {**_EMPTY, "request_id": one.id, "name": one.name, "cluster_name": one.cluster}
        told["status"] = self._status(one)
        if told["status"] == "CANCELLED":
            return 200, told
        try:
            told["return_value"] = json.dumps(one.outcome())
        except Failure as failure:
            error = {"object": NO_HANDLE, "type": failure.kind, "message": str(failure)}
            return 500, {"detail": told | {"status": "FAILED", "error": json.dumps(error)}}
        return 200, told

    def _taken(
        self,
        name: str,
        op: str,
        outcome: Callable[[], Any],
        cluster: str | None = None,
        *,
        machine: FakeMachine | None = None,
    ) -> Reply:
        at = self._cloud.clock() + next(self._tick) / 1e6
        request = Asked(str(uuid.uuid4()), name, op, at, cluster, outcome, machine)
        self._asked[request.id] = request
        return Reply(200, None, {"x-skypilot-request-id": request.id})

    def _lost(self, cluster: str, failure: Failure) -> Reply:
        def outcome() -> Any:
            raise failure

        return self._taken("sky.launch", "launched", outcome, cluster)

    def _status(self, one: Asked) -> str:
        if one.cancelled:
            return "CANCELLED"
        under_way = {"sky.launch": MachineState.CREATING, "sky.down": MachineState.ENDING}.get(one.name)
        if one.machine is not None and one.machine.state is under_way:
            return "RUNNING"
        try:
            one.outcome()
        except Failure:
            return "FAILED"
        return "SUCCEEDED"

    def _machine(self, name: str) -> FakeMachine | None:
        return next((one for one in self._cloud.machines.values() if one.name == name and one.alive), None)

    def _row(self, machine: FakeMachine) -> dict[str, Any]:
        """What is null is left out. An instance stands, or stood, wherever a row is in INIT."""
        infra, _, region = machine.region.partition("/")
        row: dict[str, Any] = {
            "name": machine.name,
            "launched_at": int(machine.created_at),
            "last_use": "",
            "status": machine.word or _WORDS[machine.state],
            "autostop": -1,
            "to_down": False,
            "metadata": {},
            "cluster_hash": machine.data.get("hash", ""),
            "cluster_ever_up": machine.state not in (MachineState.CREATING, MachineState.FAILED),
            "user_hash": "fcd1e5cf",
            "workspace": "default",
            "is_managed": False,
            "nodes": 1,
            "labels": _task(machine)["resources"].get("labels", {}),
            "cluster_name_on_cloud": f"{machine.name}-fcd1e5cf",
            "handle": NO_HANDLE,
            "storage_mounts_metadata": NO_HANDLE,
        }
        if infra:
            row |= {"cloud": _TITLES.get(infra, infra), "region": region}
        if row["status"] == "INIT":
            row |= {"init_kind": "launching", "init_status_reason": f"Instances launched on {infra} in {region}"}
        return row


_EMPTY: Mapping[str, Any] = {
    "request_id": "", "name": "", "entrypoint": "", "request_body": "null", "status": "RUNNING", "created_at": 0.0,
    "user_id": "", "return_value": "null", "error": "null", "pid": None, "schedule_type": "short", "user_name": None,
    "cluster_name": None, "status_msg": None, "should_retry": False, "finished_at": None,
}  # fmt: skip


def _missing(name: str) -> None:
    raise Failure("ClusterDoesNotExist", f"Cluster {name!r} does not exist.")


def _task(machine: FakeMachine) -> dict[str, Any]:
    """What it was launched with; of one that was put there, nothing."""
    task: dict[str, Any] = json.loads(machine.payload["task"]) if "task" in machine.payload else {"resources": {}}
    return task
