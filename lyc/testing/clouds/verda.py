"""A fake Verda: `/v1`, OAuth2 tokens that end, ids as bare text, scripts in pages, volumes that outlive machines.

Offers are `<instance type>@<location>`, with `@spot` for machines that may be taken back.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lyc.records.rental import MachineState
from lyc.testing.clouds.core import Cloud, FakeMachine, Thing
from lyc.testing.clouds.server import App, Reply, Request, Route, Stop

CLIENT_ID, CLIENT_SECRET = "verda-client", "verda-s3cret-of-a-test"
CAPACITY: Mapping[str, int | None] = {
    "1H100.80S.30V@FIN-01": 4,
    "1H100.80S.30V@FIN-01@spot": 1,
    "8H100.80S.176V@FIN-02": 1,
    "1A100.22V@FIN-01": None,
    "1A100.40S.22V@ICE-01": 0,
    "1L40S.20V@FIN-03": 2,
    "CPU.4V.16G@FIN-01": None,
}
"""Machines by offer, for a fake that is given none."""

PLACES = {"FIN-01": "FI", "FIN-02": "FI", "FIN-03": "FI", "ICE-01": "IS"}
TYPES: Mapping[str, tuple[str, int, int, str, str]] = {
    "1H100.80S.30V": ("H100 SXM5 80GB", 1, 80, "2.29", "0.80"),
    "8H100.80S.176V": ("H100 SXM5 80GB", 8, 640, "18.32", "6.40"),
    "1A100.22V": ("A100 SXM4 80GB", 1, 80, "1.29", "0.45"),
    "1A100.40S.22V": ("A100 SXM4 40GB", 1, 40, "0.72", "0.25"),
    "1L40S.20V": ("L40S 48GB", 1, 48, "0.91", "0.32"),
    "CPU.4V.16G": ("", 0, 0, "0.0279", "0.0100"),
}
"""Name of the card, cards, gigabytes of them all, dollars an hour on demand and spot."""
IMAGES = (
    "ubuntu-24.04",
    "ubuntu-22.04-cuda-12.4-docker",
    "ubuntu-24.04-cuda-12.8-open-docker",
    "ubuntu-24.04-cuda-12.8-open",
)

_WORDS = {
    MachineState.CREATING: "provisioning",
    MachineState.RUNNING: "running",
    MachineState.STOPPED: "offline",
    MachineState.ENDING: "deleting",
    MachineState.FAILED: "error",
    MachineState.UNKNOWN: "unknown",
    MachineState.GONE: "discontinued",
}
_CODES = {
    400: "invalid_request",
    401: "unauthorized_request",
    402: "insufficient_funds",
    403: "forbidden_action",
    404: "not_found",
    503: "service_unavailable",
}
_ORDER = {
    "instance_type", "image", "hostname", "description", "ssh_key_ids", "location_code", "contract", "pricing",
    "startup_script_id", "volumes", "existing_volumes", "os_volume", "is_spot", "coupon", "network", "subnet",
    "private_ip", "public_ip", "tags",
}  # fmt: skip
"""What `POST /instances` takes, by its documents and its SDKs."""


def _error(status: int, message: str) -> dict[str, str]:
    return {"code": _CODES.get(status, "server_error"), "message": message}


def _refuse(status: int, message: str) -> Stop:
    return Stop(status, _error(status, message))


def _sold_out(_asked: Request) -> Reply:
    return Reply(503, _error(503, "Not enough resources at the moment, try again later"))


class Verda:
    """The state of one account beside the cloud's: tokens. span: seconds that one is good for."""

    def __init__(self, cloud: Cloud, *, span: float = 3600.0, currency: str = "usd", funds: float = 500.0) -> None:
        self.cloud = cloud
        self.span = span
        self.currency = currency
        self.funds = funds
        self.tokens: dict[str, float] = {}

    def app(self, *, latency: float = 0.0) -> App:
        """Its routes; latency: seconds before each answer."""
        table: list[tuple[str, str, str, Callable[[Request], Any]]] = [
            ("token", "POST", "/oauth2/token", self.token),
            ("account", "GET", "/balance", lambda _asked: (200, {"amount": self.funds, "currency": self.currency})),
            ("places", "GET", "/locations", self.places),
            ("offers", "GET", "/instance-types", self.types),
            ("stock", "GET", "/instance-availability", self.stock),
            ("images", "GET", "/images", self.images),
            ("create", "POST", "/instances", self.create),
            ("list", "GET", "/instances", self.listed),
            ("get", "GET", "/instances/{id}", self.get),
            ("terminate", "PUT", "/instances", self.act),
            ("leftovers", "GET", "/volumes", self.volumes),
            ("remove", "DELETE", "/volumes/{id}", self.drop_volume),
            ("keys", "GET", "/ssh-keys", lambda _asked: (200, [self._named(one) for one in self._things("key")])),
            ("add-key", "POST", "/ssh-keys", lambda asked: self._add("key", asked)),
            ("remove", "DELETE", "/ssh-keys/{id}", self.drop),
            ("scripts", "GET", "/scripts", self.scripts),
            ("add-script", "POST", "/scripts", lambda asked: self._add("script", asked)),
            ("remove", "DELETE", "/scripts/{id}", self.drop),
        ]
        routes = [Route(op, method, f"/v1{path}", handler) for op, method, path, handler in table]
        return App(self.cloud, routes, error=_error, sold_out=_sold_out, guard=self.guard, latency=latency)

    def guard(self, asked: Request) -> Reply | None:
        """401 without a token that is still good."""
        if asked.path == "/v1/oauth2/token":
            return None
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0.0) > self.cloud.clock():
            return None
        return Reply(401, _error(401, "Access token is missing or invalid"))

    def token(self, asked: Request) -> tuple[int, Any]:
        """A new one for the right client credentials."""
        wanted = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        if asked.body != wanted:
            raise _refuse(401, "client authentication failed")
        token = uuid.uuid4().hex
        self.tokens[token] = self.cloud.clock() + self.span
        return 200, {
            "access_token": token, "refresh_token": uuid.uuid4().hex, "scope": "cloud-api-v1", "token_type": "Bearer",
            "expires_in": self.span,
        }  # fmt: skip

    def places(self, _asked: Request) -> tuple[int, Any]:
        return 200, [{"code": code, "name": code, "country_code": country} for code, country in PLACES.items()]

    def types(self, asked: Request) -> tuple[int, Any]:
        currency = asked.query.get("currency", "usd")
        return 200, [_type(name, currency) for name in sorted({offer.split("@")[0] for offer in self.cloud.capacity})]

    def stock(self, asked: Request) -> tuple[int, Any]:
        """The types that each place has, of spot machines or of the others."""
        spot = asked.query.get("is_spot") == "true"
        found: dict[str, list[str]] = {code: [] for code in PLACES}
        for offer, left in self.cloud.capacity.items():
            name, place, *kind = offer.split("@")
            if left != 0 and bool(kind) is spot:
                found[place].append(name)
        return 200, [{"location_code": code, "availabilities": names} for code, names in found.items()]

    def images(self, asked: Request) -> tuple[int, Any]:
        """Some that fit, and one for clusters that does not."""
        if asked.query.get("instance_type") not in TYPES:
            raise _refuse(404, "Instance type not found")
        rows = [{"id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "name": name, "image_type": name} for name in IMAGES]
        extra = {"is_default": False, "is_cluster": False, "details": [], "category": "ubuntu"}
        cluster = {"id": "c", "name": "c", "image_type": "ubuntu-26.04-cuda-13.9-open-docker"} | extra
        return 200, [*(row | extra for row in rows), cluster | {"is_cluster": True}]

    def create(self, asked: Request) -> Reply:
        """The id of the machine, as bare text; its OS volume is a thing beside it."""
        body = _checked(asked.body)
        for key in body["ssh_key_ids"]:
            self._have("key", key)
        if body.get("startup_script_id"):
            self._have("script", body["startup_script_id"])
        offer = f"{body['instance_type']}@{body['location_code']}{'@spot' if body.get('is_spot') else ''}"
        if offer not in self.cloud.capacity:
            if body["instance_type"] not in {sold.split("@")[0] for sold in self.cloud.capacity}:
                raise _refuse(400, "instance_type is not valid")
            return _sold_out(asked)
        if self.funds <= 0:
            raise _refuse(402, "Not enough funds to perform the action")
        machine = self.cloud.launch(
            body["hostname"], offer, body["location_code"], body, identity=str(uuid.uuid4()),
            tags={tag["key"]: tag["value"] for tag in body.get("tags", [])},
        )  # fmt: skip
        volume = body["os_volume"]
        machine.data["os_volume_id"] = self.cloud.put(
            "volume", volume["name"], identity=str(uuid.uuid4()), machine=machine.id, size=volume["size"],
            tags=_tags({tag["key"]: tag["value"] for tag in volume.get("tags", [])}),
        ).id  # fmt: skip
        return Reply(202, machine.id.encode())

    def listed(self, _asked: Request) -> tuple[int, Any]:
        return 200, [_instance(machine) for machine in self.cloud.machines.values() if machine.alive]

    def get(self, asked: Request) -> tuple[int, Any]:
        machine = self.cloud.machines.get(asked.params["id"])
        if machine is None:
            raise _refuse(404, "instance not found")
        return 200, _instance(machine)

    def act(self, asked: Request) -> tuple[int, Any]:
        """The results of a delete, one a machine."""
        body = asked.body
        if body["action"] != "delete":
            raise _refuse(400, "action is not valid")
        if all((one := self.cloud.machines.get(identity)) is None or not one.alive for identity in body["id"]):
            raise _refuse(404, "Instance not found")
        told = [self._delete(one, body.get("volume_ids"), bool(body.get("delete_permanently"))) for one in body["id"]]
        return (202 if all(row["status"] == "success" for row in told) else 207), told

    def _delete(self, identity: str, volumes: list[str] | None, permanently: bool) -> dict[str, Any]:
        row = {"action": "delete", "instanceId": identity}
        machine = self.cloud.end(identity)
        if machine is None:
            return row | {"status": "error", "error": "instance not found", "statusCode": 404}
        if volumes is None:
            volumes, permanently = [machine.data.get("os_volume_id", "")], False
        for thing in self._things("volume"):
            if thing.machine == identity:
                thing.machine = None
                if thing.id in volumes:
                    self.cloud.drop(thing.id)
                    if not permanently:
                        self.cloud.put("trash", thing.name, identity=thing.id)
        return row | {"status": "success"}

    def volumes(self, _asked: Request) -> tuple[int, Any]:
        return 200, [
            {
                "id": one.id, "name": one.name, "size": one.data.get("size", 100), "type": "NVMe", "is_os_volume": True,
                "status": "attached" if one.machine else "detached", "instance_id": one.machine, "deleted_at": None,
                "location": "FIN-01", "created_at": _when(self.cloud.clock()), "tags": one.data.get("tags", []),
            }
            for one in self._things("volume")
        ]  # fmt: skip

    def scripts(self, asked: Request) -> Reply:
        """The newest first, in pages of ten unless the query asks for more."""
        part, number = asked.query.get("name", ""), int(asked.query.get("page", "1"))
        wide = min(int(asked.query.get("pageSize", "10")), 100)
        found = [self._named(one) for one in reversed(self._things("script")) if part in one.name]
        heads = {"x-page": str(number), "x-page-size": str(wide), "x-total-count": str(len(found))}
        return Reply(200, found[(number - 1) * wide : number * wide], heads)

    def drop_volume(self, asked: Request) -> Reply:
        """Not while it is attached."""
        thing = self._have("volume", asked.params["id"], status=404)
        if thing.machine is not None:
            raise _refuse(400, "volume is attached to an instance")
        if not asked.body["is_permanent"]:
            self.cloud.put("trash", thing.name, identity=f"trash-{thing.id}")
        self.cloud.drop(thing.id)
        return Reply(202)

    def drop(self, asked: Request) -> Reply:
        """A key or a script."""
        kind = "key" if asked.path.startswith("/v1/ssh-keys/") else "script"
        self.cloud.drop(self._have(kind, asked.params["id"], status=404).id)
        return Reply(200)

    def _add(self, kind: str, asked: Request) -> Reply:
        name, content = asked.body["name"], asked.body["script" if kind == "script" else "key"]
        return Reply(201, self.cloud.put(kind, name, identity=str(uuid.uuid4()), content=content).id.encode())

    def _named(self, thing: Thing) -> dict[str, Any]:
        content = "script" if thing.kind == "script" else "key"
        return {"id": thing.id, "name": thing.name, content: thing.data.get("content", "")}

    def _things(self, kind: str) -> list[Thing]:
        return self.cloud.things_of(kind)

    def _have(self, kind: str, identity: str, status: int = 400) -> Thing:
        thing = self.cloud.things.get(identity)
        if thing is None or thing.kind != kind:
            raise _refuse(status, f"{kind} not found")
        return thing


def _checked(body: Any) -> dict[str, Any]:
    wanted = {"instance_type", "image", "hostname", "location_code", "ssh_key_ids"}
    if not isinstance(body, dict) or wanted - set(body) or set(body) - _ORDER:
        raise _refuse(400, f"invalid property: {sorted(set(body) ^ wanted) if isinstance(body, dict) else body}")
    if not body["ssh_key_ids"]:
        raise _refuse(400, "SSH keys can be an array of UUID's, a single UUID string, null value or not defined")
    if body["image"] not in IMAGES:
        raise _refuse(400, "image is not valid")
    if not re.fullmatch(r"[a-z0-9-]{1,60}", body["hostname"]):
        raise _refuse(400, "hostname is not valid")
    if body.get("contract") not in ("LONG_TERM", "PAY_AS_YOU_GO", "SPOT", None):
        raise _refuse(400, "contract is not valid")
    if len(body.get("tags", [])) > 10:
        raise _refuse(400, "too many tags")
    return body


def _instance(machine: FakeMachine) -> dict[str, Any]:
    name, place, *kind = (machine.offer or "1H100.80S.30V@FIN-01").split("@")
    known = machine.state is not MachineState.CREATING
    row = _type(name, "usd")
    parts = {key: row[key] for key in ("cpu", "gpu", "memory", "gpu_memory", "storage", "price_per_hour")}
    return parts | {
        "id": machine.id, "instance_type": name, "hostname": machine.name, "description": machine.name,
        "status": machine.word or _WORDS[machine.state], "created_at": _when(machine.created_at),
        "ip": machine.address.host if known and machine.address else None,
        "os_volume_id": machine.data.get("os_volume_id") if known else None, "location": machine.region or place,
        "is_spot": bool(kind), "ssh_key_ids": machine.payload.get("ssh_key_ids", []),
        "startup_script_id": machine.payload.get("startup_script_id"), "image": machine.payload.get("image"),
        "contract": machine.payload.get("contract"), "pricing": machine.payload.get("pricing"), "volume_ids": [],
        "tags": _tags(machine.tags),
    }  # fmt: skip


def _type(name: str, currency: str) -> dict[str, Any]:
    card, count, memory, price, spot = TYPES[name]
    cores = int(re.findall(r"(\d+)V", name)[-1])
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "instance_type": name, "name": card, "model": card[:4],
        "display_name": None, "description": "Dedicated Hardware Instance", "manufacturer": "NVIDIA", "p2p": None,
        "cpu": {"description": f"{cores} CPU", "number_of_cores": cores},
        "gpu": {"description": f"{count}x {card}", "number_of_gpus": count},
        "memory": {"description": f"{cores * 4}GB RAM", "size_in_gigabytes": cores * 4},
        "gpu_memory": {"description": f"{memory}GB GPU RAM", "size_in_gigabytes": memory},
        "storage": {"description": "dynamic"}, "best_for": [], "deploy_warning": None, "supported_os": list(IMAGES),
        "price_per_hour": price, "spot_price": spot, "dynamic_price": price, "max_dynamic_price": price,
        "serverless_price": None, "serverless_spot_price": None, "currency": currency,
    }  # fmt: skip


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"id": f"tag_{key}", "key": key, "value": value} for key, value in tags.items()]


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
