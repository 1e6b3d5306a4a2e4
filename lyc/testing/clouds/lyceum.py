"""Lyceum's API as it was seen to behave, over one fake cloud.

With its oddities: profile null in every answer; addresses as `host` and as `host:port`; `ready` before there is an
address; times without a zone; dead machines in the list; HTTP 500 for having no capacity; a count that is read under
`instance_specs` alone, where 0 and none are one card; volumes that a delete leaves behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lyc.records.rental import MachineState
from lyc.testing.clouds.core import Cloud, FakeMachine, NoSuchOffer, Thing
from lyc.testing.clouds.server import App, Reply, Request, Route, Stop

KEY = "lk_4f0c9a77d1e2b8365a90"
ORG = "acme"
PER_HOUR = {"l40s": "1.19", "a100": "1.59", "h100": "2.79", "h200": "4.29", "b200": "6.49"}
SPOT_PER_HOUR = {"l40s": "0.55", "a100": "0.80", "h100": "1.10", "h200": "1.60", "b200": "2.40"}
COUNTS = (1, 2, 4, 8)
CPU, CPU_PER_HOUR = "on-demand.cpu.1x", "0.07"
"""The machine without a GPU: it always has a price, and is for sale where a cloud's capacity has it."""

WORDS = {
    MachineState.CREATING: "pending",
    MachineState.RUNNING: "ready",
    MachineState.ENDING: "terminating",
    MachineState.FAILED: "failed",
    MachineState.STOPPED: "failed",
    MachineState.GONE: "terminated",
}


def lyceum_cloud(stock: int | None = None, *, cpu: bool = False, **options: Any) -> Cloud:
    """A cloud that sells every GPU in every size; l40s as spot is in the price list alone. cpu: it sells machines
    without one too. options: of Cloud.
    """
    kinds = [(kind, profile) for profile in PER_HOUR for kind in ("on-demand", "spot")]
    sold = [
        (kind, profile, count) for kind, profile in kinds for count in COUNTS if (kind, profile) != ("spot", "l40s")
    ]
    bare = [CPU] if cpu else []
    return Cloud(
        {**dict.fromkeys(bare, stock), **{".".join((*row[:2], f"{row[2]}x")): stock for row in sold}}, **options
    )


def lyceum_app(cloud: Cloud, *, key: str = KEY, org: str | None = None, latency: float = 0.0) -> App:
    """The routes. key: the only one that is good. org: slug that must be sent, None = any or none."""
    fake = _Lyceum(cloud)

    def guard(asked: Request) -> Reply | None:
        if asked.headers.get("authorization") != f"Bearer {key}":
            return Reply(401, _detail(401, "Invalid or expired API key"))
        if org is not None and asked.headers.get("x-org-slug") != org:
            return Reply(403, _detail(403, "Not a member of this organization"))
        return None

    routes = [
        Route("account", "GET", "/user/org", lambda _asked: (200, {"org_id": "o1", "slug": ORG, "name": "Acme"})),
        Route("offers", "GET", "/pricing", fake.prices),
        Route("offers", "GET", "/vms/availability", fake.availability),
        Route("create", "POST", "/vms/create", fake.create),
        Route("list", "GET", "/vms/list", fake.list),
        Route("get", "GET", "/vms/{id}/status", fake.get),
        Route("terminate", "DELETE", "/vms/{id}", fake.delete),
        Route("leftovers", "GET", "/storage/block", fake.volumes),
        Route("remove", "DELETE", "/storage/block/{id}", fake.delete_volume),
    ]
    return App(cloud, routes, error=_detail, sold_out=_sold_out, guard=guard, latency=latency)


def _detail(_status: int, message: str) -> dict[str, str]:
    return {"detail": message}


def _sold_out(asked: Request) -> Reply:
    profile = (asked.body or {}).get("hardware_profile")
    return Reply(500, {"detail": f"Failed to create VM: {profile} instance could not be provisioned"})


class _Lyceum:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def prices(self, _asked: Request) -> tuple[int, Any]:
        rows: list[dict[str, Any]] = [
            {
                "meter_slug": "vm_running", "resource": "vm", "unit": "second",
                "applies_to": {"hardware_profile": f"{kind}.{profile}.{count}x"},
                "unit_price": f"{float(table[profile]) * count / 3600:.8f}",
                "unit_price_per_hour": f"{float(table[profile]) * count:.2f}",
            }
            for kind, table in (("on-demand", PER_HOUR), ("spot", SPOT_PER_HOUR))
            for profile in table
            for count in COUNTS
        ]  # fmt: skip
        cpu = {"meter_slug": "vm_running", "unit": "second", "applies_to": {"hardware_profile": CPU}}
        disk = {"meter_slug": "block_storage", "unit": "gb_second", "unit_price": "0.00000003", "group_by": {}}
        return 200, {"prices": [*rows, cpu | {"unit_price_per_hour": CPU_PER_HOUR}, disk]}

    def availability(self, _asked: Request) -> tuple[int, Any]:
        sizes: dict[tuple[str, str], list[int]] = {}
        for offer, left in self._cloud.capacity.items():
            kind, profile, size = offer.split(".")
            sizes.setdefault((kind, profile), [])
            if left != 0 and profile != "cpu":
                sizes[kind, profile].append(int(size[:-1]))
        variants = [
            {
                "hardware_profile": profile, "instance_type": kind, "price_per_hour": _per_hour(profile),
                "allowed_gpus_per_instance": [] if profile == "cpu" else list(COUNTS),
                "available_gpus_per_instance": now, "block_storage_gpu_counts": None,
            }
            for (kind, profile), now in sizes.items()
            if profile != "cpu" or self._cloud.capacity[CPU] != 0
        ]  # fmt: skip
        return 200, {"available_instance_variants": variants}

    def create(self, asked: Request) -> tuple[int, Any]:
        body: Mapping[str, Any] = asked.body or {}
        for name in ("user_public_key", "hardware_profile"):
            if not body.get(name):
                raise _invalid(name)
        kind = body.get("instance_type") or "on-demand"
        count = (body.get("instance_specs") or {}).get("gpu_count") or 1
        try:
            machine = self._cloud.launch(
                str(body.get("display_name") or ""), f"{kind}.{body['hardware_profile']}.{count}x", payload=body
            )
        except NoSuchOffer as error:
            raise _invalid("hardware_profile") from error
        if "new_volume" in body:
            self.attach(machine, body["new_volume"]["size_gb"])
        return 200, self._show(machine)

    def attach(self, machine: FakeMachine, size: int) -> Thing:
        """A volume, which the provider names itself."""
        return self._cloud.put("volume", f"vol-{len(self._cloud.things)}", machine=machine.id, size_gb=size)

    def list(self, asked: Request) -> tuple[int, Any]:
        hidden = {
            "include_provisioning": "pending",
            "include_ready": "ready",
            "include_failed": "failed",
            "include_terminated": "terminated",
        }
        out = {word for name, word in hidden.items() if asked.query.get(name) == "false"}
        rows = [self._show(machine) for machine in self._cloud.machines.values()]
        shown = [row for row in rows if row["status"] not in out]
        return 200, {"vms": shown, "total": len(shown)}

    def get(self, asked: Request) -> tuple[int, Any]:
        return 200, self._show(self._machine(asked))

    def delete(self, asked: Request) -> tuple[int, Any]:
        machine = self._machine(asked)
        if self._cloud.end(machine.id) is None:
            raise Stop(400, {"detail": "VM is already terminated"})
        left = [thing for thing in self._cloud.things_of("volume") if thing.machine == machine.id]
        answer = {"message": "VM terminated", "detached_volumes": [_volume(thing) for thing in left]}
        machine.data["volumes"] = answer["detached_volumes"]
        for thing in left:
            thing.machine = None
        return 200, answer

    def volumes(self, _asked: Request) -> tuple[int, Any]:
        return 200, {"volumes": [_volume(thing) for thing in self._cloud.things_of("volume")]}

    def delete_volume(self, asked: Request) -> tuple[int, Any]:
        thing = self._cloud.things.get(asked.params["id"])
        if thing is None:
            raise Stop(404, {"detail": "Volume not found"})
        if thing.machine is not None:
            raise Stop(409, {"detail": "Volume is attached"})
        self._cloud.drop(thing.id)
        return 200, {"message": "Volume deleted"}

    def _machine(self, asked: Request) -> FakeMachine:
        machine = self._cloud.machines.get(asked.params["id"])
        if machine is None:
            raise Stop(404, {"detail": "VM not found"})
        return machine

    def _show(self, machine: FakeMachine) -> dict[str, Any]:
        word, address = WORDS[machine.state], None
        if machine.state is MachineState.RUNNING and machine.address is not None:
            # Three looks: running without an address, ready without one, ready with one.
            seen = machine.data["seen"] = machine.data.get("seen", 2 if machine.foreign else -1) + 1
            word = "running" if seen == 0 else "ready"
            host, port = machine.address.host, machine.address.port
            plain = port == 22 and sum(map(ord, machine.id)) % 2
            address = None if seen < 2 else host if plain else f"{host}:{port}"
        kind, profile, size = (machine.offer or "on-demand.h100.1x").split(".")
        end = machine.ended_at or self._cloud.clock()
        attached = [_volume(thing) for thing in self._cloud.things_of("volume") if thing.machine == machine.id]
        return {
            "vm_id": machine.id,
            "status": machine.word or word,
            "ip_address": address,
            "created_at": datetime.fromtimestamp(machine.created_at, UTC).replace(tzinfo=None).isoformat(),
            "instance_specs": {"gpu_type": profile, "gpu_count": int(size[:-1])},
            "hardware_profile": None,
            "gpu_count": None,
            "instance_type": kind,
            "name": f"hyd-vm-{machine.id[:6]}",
            "display_name": machine.name or None,
            "billed": round((end - machine.created_at) * _per_hour(profile) / 3600, 6) if address else None,
            "uptime_seconds": int(end - machine.created_at),
            "volumes": attached or machine.data.get("volumes", []),
        }


def _per_hour(profile: str) -> float:
    return float(CPU_PER_HOUR if profile == "cpu" else PER_HOUR[profile])


def _volume(thing: Thing) -> dict[str, Any]:
    return {
        "volume_id": thing.id, "name": thing.name, "size_gb": thing.data.get("size_gb", 50), "type": "block",
        "status": "in-use" if thing.machine else "available", "location": "FIN-01", "attached_vm_id": thing.machine,
    }  # fmt: skip


def _invalid(name: str) -> Stop:
    return Stop(422, {"detail": [{"loc": ["body", name], "msg": "Input should be valid", "type": "enum"}]})
