"""Lambda as its document describes it: launch by a key's name, errors with a code, everything under `data`.

An offer of the cloud has the id that lyc's provider gives it: `us-west-1/gpu_1x_h100_pcie`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lyc.records.rental import MachineState
from lyc.testing.clouds.core import Cloud, FakeMachine, NoSuchOffer
from lyc.testing.clouds.server import App, Reply, Request, Route, Stop

CAPACITY: Mapping[str, int | None] = {
    "us-west-1/gpu_1x_h100_pcie": 4,
    "europe-central-1/gpu_1x_a10": None,
    "us-midwest-1/gpu_8x_h100_sxm5": 1,
    "us-east-1/gpu_1x_gh200": 0,
}
KINDS: Mapping[str, tuple[str, int]] = {
    "gpu_1x_h100_pcie": ("H100 (80 GB PCIe)", 329),
    "gpu_1x_a10": ("A10 (24 GB PCIe)", 129),
    "gpu_8x_h100_sxm5": ("H100 (80 GB SXM5)", 3192),
    "gpu_1x_gh200": ("GH200 (96 GB)", 229),
}
"""Description of the card, and US cents an hour for the whole machine."""
REGIONS: Mapping[str, str] = {
    "us-west-1": "California, USA",
    "us-east-1": "Virginia, USA",
    "us-midwest-1": "Illinois, USA",
    "europe-central-1": "Germany",
}
_WORDS = {
    MachineState.CREATING: "booting",
    MachineState.RUNNING: "active",
    MachineState.ENDING: "terminating",
    MachineState.FAILED: "preempted",
}
_MISSING = {"error": {"code": "global/object-does-not-exist", "message": "Specified instance does not exist."}}


def app(cloud: Cloud, key: str, *, between_launches: float = 0.0) -> App:
    """key: of the API. between_launches: seconds; a launch that comes sooner after another gets 429."""
    fake = _Lambda(cloud, key, between_launches)
    return App(
        cloud,
        [
            Route("offers", "GET", "/api/v1/instance-types", fake.kinds),
            Route("list", "GET", "/api/v1/instances", fake.list),
            Route("get", "GET", "/api/v1/instances/{id}", fake.get),
            Route("create", "POST", "/api/v1/instance-operations/launch", fake.launch),
            Route("terminate", "POST", "/api/v1/instance-operations/terminate", fake.terminate),
            Route("leftovers", "GET", "/api/v1/ssh-keys", fake.keys),
            Route("add-key", "POST", "/api/v1/ssh-keys", fake.add_key),
            Route("remove", "DELETE", "/api/v1/ssh-keys/{id}", fake.remove_key),
        ],
        error=_error,
        sold_out=lambda _asked: Reply(400, _coded("instance-operations/launch/insufficient-capacity", "Not enough")),
        guard=fake.guard,
    )


def _error(status: int, message: str) -> Any:
    return _coded("global/invalid-api-key" if status == 401 else "global/internal-error", message)


def _coded(code: str, message: str) -> Any:
    return {"error": {"code": code, "message": message, "suggestion": "Try something else."}}


class _Lambda:
    def __init__(self, cloud: Cloud, key: str, between_launches: float) -> None:
        self._cloud = cloud
        self._key = key
        self._between = between_launches
        self._launched_at = float("-inf")

    def guard(self, asked: Request) -> Reply | None:
        if asked.headers.get("authorization") == f"Bearer {self._key}":
            return None
        return Reply(401, _error(401, "API key was invalid, expired, or deleted."))

    def kinds(self, _asked: Request) -> tuple[int, Any]:
        rows: dict[str, Any] = {}
        for offer, left in self._cloud.capacity.items():
            where, kind = offer.split("/")
            description, cents = KINDS[kind]
            count = int(kind.split("_")[1].removesuffix("x"))
            row = rows.setdefault(
                kind,
                {
                    "instance_type": {
                        "name": kind,
                        "description": f"{count}x {description}",
                        "gpu_description": description,
                        "price_cents_per_hour": cents,
                        "specs": {"vcpus": 26 * count, "memory_gib": 200 * count, "storage_gib": 1024, "gpus": count},
                    },
                    "regions_with_capacity_available": [],
                },
            )
            if left != 0:
                row["regions_with_capacity_available"].append(_region(where))
        return 200, {"data": rows}

    def list(self, _asked: Request) -> tuple[int, Any]:
        return 200, {"data": [_instance(one) for one in self._cloud.machines.values()]}

    def get(self, asked: Request) -> tuple[int, Any]:
        machine = self._cloud.machines.get(asked.params["id"])
        return (404, _MISSING) if machine is None else (200, {"data": _instance(machine)})

    def launch(self, asked: Request) -> tuple[int, Any]:
        body, now = asked.body, self._cloud.clock()
        if now - self._launched_at < self._between:
            return 429, _coded("global/rate-limited", "Too many requests.")
        self._launched_at = now
        names = {thing.name for thing in self._cloud.things_of("key")}
        if len(body["ssh_key_names"]) != 1:
            return 400, _coded("global/invalid-parameters", "Exactly one SSH key must be specified.")
        if not set(body["ssh_key_names"]) <= names:
            return 400, _coded("global/object-does-not-exist", "Specified SSH key does not exist.")
        offer = f"{body['region_name']}/{body['instance_type_name']}"
        tags = {row["key"]: row["value"] for row in body.get("tags", ())}
        try:
            machine = self._cloud.launch(body["name"], offer, body["region_name"], body, tags=tags)
        except NoSuchOffer:
            return 404, _coded("global/object-does-not-exist", "Specified instance type does not exist.")
        return 200, {"data": {"instance_ids": [machine.id]}}

    def terminate(self, asked: Request) -> tuple[int, Any]:
        ended = []
        for identity in asked.body["instance_ids"]:
            machine = self._cloud.end(identity)
            if machine is None:
                return 404, _MISSING
            ended.append(_instance(machine))
        return 200, {"data": {"terminated_instances": ended}}

    def keys(self, _asked: Request) -> tuple[int, Any]:
        return 200, {"data": [{"id": one.id, "name": one.name, **one.data} for one in self._cloud.things_of("key")]}

    def add_key(self, asked: Request) -> tuple[int, Any]:
        name = asked.body["name"]
        if any(one.name == name for one in self._cloud.things_of("key")):
            raise Stop(400, _coded("global/duplicate", "A resource with this name already exists."))
        thing = self._cloud.put("key", name, public_key=asked.body["public_key"])
        return 200, {"data": {"id": thing.id, "name": thing.name, **thing.data}}

    def remove_key(self, asked: Request) -> tuple[int, Any]:
        if self._cloud.drop(asked.params["id"]) is None:
            return 404, _coded("global/not-found", "The requested resource was not found.")
        return 200, {"data": {}}


def _region(name: str) -> dict[str, str]:
    return {"name": name, "description": REGIONS.get(name, "")}


def _instance(machine: FakeMachine) -> dict[str, Any]:
    """Ended ones are told of for a while."""
    kind = machine.offer.rpartition("/")[2]
    told: dict[str, Any] = {
        "id": machine.id,
        "name": machine.name,
        "status": machine.word if machine.word and machine.alive else _WORDS.get(machine.state, "terminated"),
        "ssh_key_names": list(machine.payload.get("ssh_key_names", ())),
        "file_system_names": [],
        "region": _region(machine.region),
        "instance_type": {"name": kind, "description": kind},
        "tags": [{"key": key, "value": value} for key, value in machine.tags.items()],
    }
    # It is missing while there is none, not null.
    return told | ({"ip": machine.address.host} if machine.address else {})
