"""A fake Scaleway: zones, pages with X-Total-Count, servers that are created stopped, and disks that outlive them.

Offers are `<type>@<zone>`. `Scaleway.sold_out_at_start` has a zone find out only when a server is powered on.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lyc.records.rental import MachineState
from lyc.testing.clouds.core import Cloud, FakeMachine, SoldOut, Thing
from lyc.testing.clouds.server import App, Reply, Request, Route, Stop

SECRET_KEY = "11111111-2222-3333-4444-5ecre7ke7000"  # noqa: S105
PROJECT = "0be1cd1e-0000-4000-8000-00000000cafe"
CAPACITY: Mapping[str, int | None] = {
    "L4-1-24G@fr-par-2": None,
    "L40S-1-48G@fr-par-2": 2,
    "H100-1-80G@fr-par-2": 4,
    "H100-1-80G@pl-waw-2": 0,
    "H100-SXM-8-80G@fr-par-2": 1,
    "DEV1-S@fr-par-1": None,
}
"""Machines by offer, for a fake that is given none."""

GIB = 1 << 30
TYPES: Mapping[str, tuple[str, int, int, int, int, float]] = {
    "L4-1-24G": ("L4", 1, 24, 8, 48, 0.7875),
    "L40S-1-48G": ("L40S", 1, 48, 8, 96, 1.469916),
    "H100-1-80G": ("H100-PCIe", 1, 80, 24, 240, 2.8665),
    "H100-SXM-8-80G": ("H100-SXM", 8, 80, 128, 960, 25.3308),
    "DEV1-S": ("", 0, 0, 2, 2, 0.008976),
}
"""Name of the card, cards, GiB of one, cores, GiB of memory, euros an hour."""
ZONES = ("fr-par-1", "fr-par-2", "fr-par-3", "nl-ams-1", "nl-ams-2", "nl-ams-3", "pl-waw-1", "pl-waw-2")
IMAGE, LABEL = "741cfd27-a822-4c82-b80f-973b562743ad", "ubuntu_noble_gpu_os_13_nvidia"

_WORDS = {
    MachineState.CREATING: "starting",
    MachineState.RUNNING: "running",
    MachineState.STOPPED: "stopped",
    MachineState.ENDING: "stopping",
    MachineState.FAILED: "locked",
    MachineState.UNKNOWN: "unknown_state",
}
_TYPES = {
    400: "invalid_arguments",
    401: "denied_authentication",
    403: "permissions_denied",
    404: "not_found",
    409: "transient_state",
    412: "precondition_failed",
}
_ORDER = {
    "name", "commercial_type", "image", "project", "tags", "volumes", "dynamic_ip_required", "protected",
    "routed_ip_enabled", "boot_type", "security_group", "placement_group", "public_ips", "enable_ipv6",
}  # fmt: skip
"""What the create takes, as in the Python SDK 2.12."""


def _error(status: int, message: str) -> dict[str, Any]:
    return {"type": _TYPES.get(status, "unknown"), "message": message}


def _refuse(status: int, message: str) -> Stop:
    return Stop(status, _error(status, message))


def _sold_out(_asked: Request) -> Reply:
    return Reply(412, {"type": "out_of_stock", "message": "no more of these", "resource": "instance_server"})


class ScalewayCloud(Cloud):
    """Its machines are all known by `zone/id`, those too that did not come through the API."""

    def put_foreign(self, name: str, offer: str = "", region: str = "", identity: str | None = None) -> FakeMachine:
        place = f"{region or ZONES[0]}/{uuid.uuid4()}"
        return super().put_foreign(name, offer, region, identity or place)


class Scaleway:
    """One project. quota: servers that it may have, None = any number; page: the most rows that one page has."""

    def __init__(
        self, cloud: Cloud, *, sold_out_at_start: bool = False, quota: int | None = None, page: int = 100
    ) -> None:
        self.cloud = cloud
        self.sold_out_at_start = sold_out_at_start
        self.quota = quota
        self.page = page

    def app(self, *, latency: float = 0.0) -> App:
        """Its routes; latency: seconds before each answer."""
        servers, block = "/instance/v1/zones/{zone}/servers", "/block/v1/zones/{zone}/volumes"
        products = "/instance/v1/zones/{zone}/products/servers"
        table: list[tuple[str, str, str, Callable[[Request], Any]]] = [
            ("offers", "GET", products, self.types),
            ("stock", "GET", f"{products}/availability", self.stock),
            ("images", "GET", "/marketplace/v2/local-images", self.images),
            ("create", "POST", servers, self.create),
            ("list", "GET", servers, self.listed),
            ("get", "GET", f"{servers}/{{id}}", lambda asked: (200, {"server": self._server(self._have(asked))})),
            ("user-data", "PATCH", f"{servers}/{{id}}/user_data/cloud-init", self.user_data),
            ("terminate", "POST", f"{servers}/{{id}}/action", self.act),
            ("delete", "DELETE", f"{servers}/{{id}}", self.delete),
            ("leftovers", "GET", block, self.volumes),
            ("label", "PATCH", f"{block}/{{id}}", self.label),
            ("remove", "DELETE", f"{block}/{{id}}", self.drop),
        ]
        routes = [Route(self._op(op), method, path, handler) for op, method, path, handler in table]
        return App(self.cloud, routes, error=_error, sold_out=_sold_out, guard=self.guard, latency=latency)

    @staticmethod
    def _op(op: str) -> str | Callable[[Request], str]:
        """An action is what it says: `start` or `terminate`. A list of one row proves a key: `account`."""
        if op == "terminate":
            return lambda asked: "start" if (asked.body or {}).get("action") == "poweron" else "terminate"
        if op == "list":
            return lambda asked: "account" if asked.query.get("per_page") == "1" else "list"
        return op

    def guard(self, asked: Request) -> Reply | None:
        """401 without the key, 404 in a zone that there is not, 403 in another project."""
        if asked.headers.get("x-auth-token") != SECRET_KEY:
            return Reply(401, _error(401, "authentication is denied"))
        zone = re.search(r"/zones/([^/]+)/", asked.path)
        if zone and zone[1] not in ZONES:
            return Reply(404, _error(404, "unknown zone"))
        if asked.query.get("project", asked.query.get("project_id", PROJECT)) != PROJECT:
            return Reply(403, _error(403, "insufficient permissions"))
        return None

    def types(self, asked: Request) -> Reply:
        here = sorted(name for name, zone in self._sold() if zone == asked.params["zone"])
        return self._page(asked, "servers", {name: _type(name) for name in here})

    def stock(self, asked: Request) -> Reply:
        """In words."""
        here = {
            name: {"availability": "shortage" if self.cloud.capacity[f"{name}@{zone}"] == 0 else "available"}
            for name, zone in self._sold()
            if zone == asked.params["zone"]
        }
        return self._page(asked, "servers", here)

    def images(self, asked: Request) -> tuple[int, Any]:
        """The one that boots from Block Storage."""
        if asked.query.get("type") != "instance_sbs":
            raise _refuse(400, "an image of another type has another volume")
        fit = asked.query.get("image_label") == LABEL
        row = {"id": IMAGE, "arch": "x86_64", "zone": asked.query["zone"], "label": LABEL, "type": "instance_sbs"}
        rows = [row | {"compatible_commercial_types": list(TYPES)}] if fit else []
        return 200, {"local_images": rows, "total_count": len(rows)}

    def create(self, asked: Request) -> tuple[int, Any]:
        """The server, stopped, with its disk."""
        body, zone = asked.body, asked.params["zone"]
        if (
            set(body) - _ORDER
            or body.get("project") != PROJECT
            or body.get("image") != IMAGE
            or "protected" not in body
        ):
            raise _refuse(400, f"invalid argument(s) among {sorted(body)}")
        volume = body["volumes"]["0"]
        if volume["volume_type"] != "sbs_volume" or volume["size"] % 512 or body["commercial_type"] not in TYPES:
            raise _refuse(400, "invalid argument(s): volumes.0 or commercial_type")
        if self.quota is not None and len([one for one in self.cloud.alive() if one.region == zone]) >= self.quota:
            details = [{"resource": body["commercial_type"], "quota": self.quota, "current": self.quota}]
            raise Stop(403, {"type": "quotas_exceeded", "message": "Quotas exceeded", "details": details})
        offer = f"{body['commercial_type']}@{zone}"
        late = self.sold_out_at_start and self.cloud.capacity.get(offer) == 0
        if late:
            self.cloud.capacity[offer] = 1  # taken by this server, which will never start
        machine = self._launch(offer, body, zone)
        machine.data["sold-out"] = late
        return 201, {"server": self._server(machine)}

    def _launch(self, offer: str, body: Mapping[str, Any], zone: str) -> FakeMachine:
        machine = self.cloud.launch(body["name"], offer, zone, body, identity=f"{zone}/{uuid.uuid4()}")
        machine.state = MachineState.STOPPED
        machine.data["tags"] = list(body["tags"])
        volume = body["volumes"]["0"]
        thing = self.cloud.put(
            "volume", volume["name"], identity=str(uuid.uuid4()), machine=machine.id, region=zone, size=volume["size"]
        )
        machine.data["volume"] = thing.id
        return machine

    def listed(self, asked: Request) -> Reply:
        """Servers of a zone, by pages."""
        zone = asked.params["zone"]
        here = [one for one in self.cloud.machines.values() if one.alive and (one.region or ZONES[0]) == zone]
        return self._page(asked, "servers", here, show=self._server)

    def user_data(self, asked: Request) -> Reply:
        """Plain text, before the start."""
        machine = self._have(asked)
        if asked.headers.get("content-type") != "text/plain" or not isinstance(asked.body, str):
            raise _refuse(400, "user data is plain text")
        machine.data["cloud-init"] = asked.body
        return Reply(204)

    def act(self, asked: Request) -> tuple[int, Any]:
        """Power on, or terminate: each in the states that allow it."""
        machine, action = self._have(asked), asked.body["action"]
        if action == "poweron":
            if machine.state is not MachineState.STOPPED:
                raise _refuse(400, "server should be stopped")
            if machine.data["sold-out"]:
                raise SoldOut(machine.offer)
            machine.state = MachineState.CREATING
        elif action == "terminate":
            if machine.state in (MachineState.CREATING, MachineState.ENDING):
                raise Stop(409, _error(409, "resource is in a transient state") | {"current_state": "starting"})
            if machine.state is MachineState.STOPPED:
                raise _refuse(400, "server should be running")
            self._gone(machine)
        else:
            raise _refuse(400, "unknown action")
        return 202, {"task": {"id": str(uuid.uuid4()), "description": action, "status": "pending"}}

    def delete(self, asked: Request) -> Reply:
        """Of a server that is stopped."""
        machine = self._have(asked)
        if machine.state is not MachineState.STOPPED:
            raise _refuse(400, "server should be stopped")
        self._gone(machine)
        return Reply(204)

    def _gone(self, machine: FakeMachine) -> None:
        """Its disk is only detached, as one of Block Storage is."""
        self.cloud.end(machine.id)
        if machine.data.get("sold-out"):
            self.cloud.capacity[machine.offer] = 0

    def volumes(self, asked: Request) -> Reply:
        here = [one for one in self._disks() if (one.region or ZONES[0]) == asked.params["zone"]]
        return self._page(asked, "volumes", here, show=self._volume, size="page_size")

    def label(self, asked: Request) -> tuple[int, Any]:
        """New name and tags of a disk."""
        thing = self._disk(asked)
        thing.name, thing.data["tags"] = asked.body["name"], list(asked.body["tags"])
        return 200, self._volume(thing)

    def drop(self, asked: Request) -> Reply:
        """Not while a server holds it."""
        thing = self._disk(asked)
        if self._volume(thing)["status"] == "in_use":
            raise _refuse(412, "volume is in use")
        self.cloud.drop(thing.id)
        return Reply(204)

    def _volume(self, thing: Thing) -> dict[str, Any]:
        holder = self.cloud.machines.get(thing.machine or "")
        held = holder is not None and holder.alive
        return {
            "id": thing.id, "name": thing.name, "tags": thing.data.get("tags", []), "project_id": PROJECT,
            "status": "in_use" if held else "available", "size": thing.data.get("size", 10**11), "type": "sbs_5k",
            "zone": thing.region or ZONES[0], "references": [], "created_at": _when(self.cloud.clock()),
        }  # fmt: skip

    def _server(self, machine: FakeMachine) -> dict[str, Any]:
        zone = machine.region or ZONES[0]
        address = machine.address.host if machine.address else None
        addresses = [{"id": "a", "address": address, "family": "inet", "dynamic": True}] if address else []
        disk = {
            "id": machine.data.get("volume"),
            "name": None,
            "volume_type": "sbs_volume",
            "boot": False,
            "zone": zone,
        }
        return {
            "id": machine.id.rpartition("/")[2], "name": machine.name, "hostname": machine.name, "zone": zone,
            "project": PROJECT, "commercial_type": machine.offer.partition("@")[0], "public_ip": None,
            "state": machine.word or _WORDS[machine.state], "state_detail": machine.problem, "protected": False,
            "tags": machine.data.get("tags", []), "creation_date": _when(machine.created_at), "public_ips": addresses,
            "volumes": {"0": disk} if disk["id"] else {}, "allowed_actions": [], "dynamic_ip_required": True,
        }  # fmt: skip

    def _page(
        self, asked: Request, key: str, rows: Any, *, show: Callable[[Any], Any] | None = None, size: str = "per_page"
    ) -> Reply:
        """One page of a list or a map, with the count of all in a header; that of Block Storage has it in the body."""
        number, wide = int(asked.query.get("page", "1")), min(int(asked.query.get(size, "50")), self.page)
        part: Any = list(rows)[(number - 1) * wide : number * wide]
        if show is None:
            return Reply(200, {key: {name: rows[name] for name in part}}, {"x-total-count": str(len(rows))})
        shown = {key: [show(one) for one in part]}
        if size == "page_size":
            return Reply(200, shown | {"total_count": len(rows)})
        return Reply(200, shown, {"x-total-count": str(len(rows))})

    def _sold(self) -> list[tuple[str, str]]:
        return [(name, zone) for name, _, zone in (offer.partition("@") for offer in self.cloud.capacity)]

    def _have(self, asked: Request) -> FakeMachine:
        zone, identity = asked.params["zone"], asked.params["id"]
        machine = self.cloud.machines.get(f"{zone}/{identity}") or self.cloud.machines.get(identity)
        if machine is None or not machine.alive or (machine.region or ZONES[0]) != zone:
            raise _refuse(404, "resource is not found")
        return machine

    def _disks(self) -> list[Thing]:
        return self.cloud.things_of("volume")

    def _disk(self, asked: Request) -> Thing:
        thing = self.cloud.things.get(asked.params["id"])
        if thing is None or thing.kind != "volume" or (thing.region or ZONES[0]) != asked.params["zone"]:
            raise _refuse(404, "resource is not found")
        return thing


def _type(name: str) -> dict[str, Any]:
    card, count, each, cores, memory, price = TYPES[name]
    info = {"gpu_manufacturer": "NVIDIA", "gpu_name": card, "gpu_memory": each * GIB} if count else None
    return {
        "alt_names": [], "arch": "x86_64", "ncpus": cores, "ram": memory * GIB, "gpu": count, "gpu_info": info,
        "mig_profile": None, "hourly_price": price, "monthly_price": round(price * 730, 4), "end_of_service": False,
        "volumes_constraint": {"min_size": 0, "max_size": 0}, "scratch_storage_max_volumes_count": 0,
    }  # fmt: skip


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
