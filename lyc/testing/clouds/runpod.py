"""RunPod as it is known to answer: REST v1 for pods, GraphQL for the market, one sentence for "sold out".

An offer of the cloud has the id that lyc's provider gives it: `SECURE/EU-RO-1/on-demand/1/NVIDIA H100 80GB HBM3`. Pods
have a key of their own, `pod-<id>`, which is good for their own end and for nothing else; one that runs gives itself
back at the time that lyc's start command was given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lyc.records.rental import MachineState
from lyc.testing.clouds.core import Cloud, FakeMachine, NoSuchOffer, SoldOut
from lyc.testing.clouds.server import App, Reply, Request, Route

CAPACITY: Mapping[str, int | None] = {
    "SECURE/EU-RO-1/on-demand/1/NVIDIA H100 80GB HBM3": 3,
    "SECURE/EU-RO-1/on-demand/2/NVIDIA H100 80GB HBM3": 1,
    "SECURE/EU-RO-1/spot/1/NVIDIA H100 80GB HBM3": None,
    "SECURE/US-DE-1/on-demand/1/NVIDIA L40S": 0,
    "COMMUNITY//on-demand/1/NVIDIA GeForce RTX 4090": None,
}
PRICES: Mapping[str, tuple[float, float]] = {
    "NVIDIA H100 80GB HBM3": (3.49, 1.75),
    "NVIDIA L40S": (0.86, 0.26),
    "NVIDIA GeForce RTX 4090": (0.34, 0.2),
}
"""Dollars an hour for a card: on demand, spot. Whatever else is in the capacity costs one dollar."""
_NONE_LEFT = {"error": "create pod: There are no instances currently available", "status": 500}


def app(cloud: Cloud, key: str) -> App:
    """key: the account's."""
    fake = _RunPod(cloud, key)
    return App(
        cloud,
        [
            Route(_graphql_op, "POST", "/graphql", fake.graphql),
            Route("create", "POST", "/v1/pods", fake.create),
            Route("list", "GET", "/v1/pods", fake.list),
            Route("get", "GET", "/v1/pods/{id}", fake.get),
            Route("terminate", "DELETE", "/v1/pods/{id}", fake.delete),
            Route("billed", "GET", "/v1/billing/pods", fake.billing),
        ],
        error=lambda status, message: {"error": message, "status": status},
        sold_out=lambda _asked: Reply(500, _NONE_LEFT),
        guard=fake.guard,
    )


def pod_key(identity: str) -> str:
    """What RunPod puts into the environment of a pod as RUNPOD_API_KEY."""
    return f"pod-{identity}"


def _graphql_op(asked: Request) -> str:
    text = str((asked.body or {}).get("query", ""))
    return "offers" if "gpuTypes" in text else "account" if "myself" in text else "terminate-self"


def _terminates(asked: Request) -> str | None:
    """The pod that a request wants ended."""
    if asked.method == "DELETE":
        return asked.params.get("id")
    found = re.search(r'podTerminate\(input: \{podId: "(\w+)"', str((asked.body or {}).get("query", "")))
    return found[1] if found else None


class _RunPod:
    def __init__(self, cloud: Cloud, key: str) -> None:
        self._cloud = cloud
        self._key = key

    def guard(self, asked: Request) -> Reply | None:
        self._overdue()
        scheme, _, given = asked.headers.get("authorization", "").partition(" ")
        target = _terminates(asked)
        if scheme == "Bearer" and (given == self._key or (target and given == pod_key(target))):
            return None
        return Reply(401, {"error": "Unauthorized", "status": 401})

    def _overdue(self) -> None:
        """What the start command of lyc's pods does, once it runs: a pod gives itself back at its time limit."""
        with self._cloud.lock:
            for machine in list(self._cloud.alive()):
                ends_at = (machine.payload.get("env") or {}).get("LYC_ENDS_AT")
                started = machine.state is MachineState.RUNNING
                if started and ends_at is not None and self._cloud.clock() >= float(ends_at):
                    self._cloud.end(machine.id)

    def graphql(self, asked: Request) -> tuple[int, Any]:
        op = _graphql_op(asked)
        if op == "account":
            return 200, {"data": {"myself": {"id": "user_2PyTJrLzeuwf", "email": "ops@example.org"}}}
        if op == "offers":
            return 200, {"data": self._market()}
        target = _terminates(asked)
        if target is None or self._cloud.end(target) is None:
            return 200, {"errors": [{"message": "pod not found to terminate", "extensions": {"code": "RUNPOD"}}]}
        return 200, {"data": {"podTerminate": None}}

    def create(self, asked: Request) -> tuple[int, Any]:
        body = asked.body
        where = body["dataCenterIds"][0] if body["cloudType"] == "SECURE" else ""
        way = "spot" if body["interruptible"] else "on-demand"
        offer = "/".join((body["cloudType"], where, way, str(body["gpuCount"]), body["gpuTypeIds"][0]))
        try:
            machine = self._cloud.launch(body["name"], offer, where, body)
        except NoSuchOffer as error:
            raise SoldOut(offer) from error
        return 201, _pod(machine)

    def list(self, asked: Request) -> tuple[int, Any]:
        name = asked.query.get("name")
        return 200, [
            _pod(one) for one in self._cloud.machines.values() if one.alive and (name is None or one.name == name)
        ]

    def get(self, asked: Request) -> tuple[int, Any]:
        machine = self._cloud.machines.get(asked.params["id"])
        if machine is None or not machine.alive:
            return 404, {"error": "pod not found", "status": 404}
        return 200, _pod(machine)

    def delete(self, asked: Request) -> tuple[int, Any]:
        if self._cloud.end(asked.params["id"]) is None:
            return 404, {"error": "pod not found to terminate", "status": 404}
        return 204, None

    def billing(self, asked: Request) -> tuple[int, Any]:
        start = asked.query["startTime"]
        return 200, [
            {"amount": 1.745, "podId": one.id, "time": start, "timeBilledMs": 1_800_000} for one in self._cloud.ever
        ]

    def _market(self) -> dict[str, Any]:
        kinds: dict[str, dict[str, Any]] = {}
        centres: dict[str, dict[str, int | None]] = {}
        for offer, left in self._cloud.capacity.items():
            cloud, where, way, count, kind = offer.split("/", 4)
            row = kinds.setdefault(kind, _kind(kind))
            word = "Secure" if cloud == "SECURE" else "Community"
            row[f"{word.lower()}Cloud"] = True
            row[f"maxGpuCount{word}Cloud"] = max(int(count), row[f"maxGpuCount{word}Cloud"] or 0)
            spot = way == "spot"
            row[f"{word.lower()}{'Spot' if spot else ''}Price"] = PRICES.get(kind, (1.0, 1.0))[spot]
            if where:
                most = centres.setdefault(where, {})
                known = most.get(kind, 0)
                most[kind] = None if left is None or known is None else max(left, known)
        rows = [
            {"id": where, "listed": True, "gpuAvailability": [
                {"gpuTypeId": kind, "stockStatus": None if left == 0 else "Low" if left else "High"}
                for kind, left in most.items()
            ]}
            for where, most in centres.items()
        ]  # fmt: skip
        return {"gpuTypes": [*kinds.values(), {"id": "unknown", "displayName": "unknown"}], "dataCenters": rows}


def _kind(kind: str) -> dict[str, Any]:
    name = re.sub(r"^NVIDIA (GeForce )?", "", kind)
    row: dict[str, Any] = {"id": kind, "displayName": name, "memoryInGb": 80}
    for word in ("secure", "community"):
        row |= {f"{word}Cloud": False, f"{word}Price": None, f"{word}SpotPrice": None}
        row[f"maxGpuCount{word.title()}Cloud"] = None
    return row | {"lowestPrice": {"minVcpu": 16, "minMemory": 125, "stockStatus": "High"}}


def _pod(machine: FakeMachine) -> dict[str, Any]:
    running = machine.state in (MachineState.RUNNING, MachineState.ENDING)
    address = machine.address if running else None
    failed = machine.state is MachineState.FAILED
    return {
        "id": machine.id,
        "name": machine.name,
        "desiredStatus": machine.word or ("EXITED" if failed else "RUNNING"),
        "lastStatusChange": f"Exited by Runpod: {machine.problem}" if failed else "Rented by User: Fri Jul 12 2024",
        "image": machine.payload.get("imageName", ""),
        "env": dict(machine.payload.get("env") or {}),
        "ports": ["22/tcp"],
        "publicIp": address.host if address else "",
        "portMappings": {"22": address.port} if address else None,
        "machine": {"dataCenterId": machine.region},
        "costPerHr": "3.49",
        "interruptible": bool(machine.payload.get("interruptible")),
        "volumeInGb": machine.payload.get("volumeInGb", 0),
    }
