"""Lambda's words to ours, and an order to its JSON. Pure. Shapes: https://docs-api.lambda.ai/api/cloud"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lyc.providers.lambda_cloud import CAPABILITIES
from lyc.records.rental import PREFIX, Leftover, Machine, MachineState, Offer, Order, machine_name, run_id_of
from lyc.units import GIB

NAME = "lambda"
TAG = "lyc-run"
INSUFFICIENT = "instance-operations/launch/insufficient-capacity"
QUOTA = "global/quota-exceeded"
MISSING = "global/object-does-not-exist"

_CARDS = {
    ("A10", 24, ""): "a10",
    ("A10", 24, "PCIE"): "a10",
    ("A100", 40, ""): "a100-40",
    ("A100", 40, "SXM"): "a100-40",
    ("A100", 40, "PCIE"): "a100-40-pcie",
    ("A100", 80, "SXM"): "a100-80",
    ("A6000", 48, ""): "rtx-a6000",
    ("B200", 180, "SXM"): "b200",
    ("GH200", 96, ""): "gh200-96",
    ("H100", 80, "SXM"): "h100",
    ("H100", 80, "PCIE"): "h100-pcie",
    ("H200", 141, "SXM"): "h200",
}
_DESCRIBED = re.compile(r"(?:NVIDIA )?(?:RTX )?(\w+) \((\d+) GB ?(SXM|PCIE)?\d*\)", re.IGNORECASE)
_COUNTRIES = {
    "usa": "US", "germany": "DE", "italy": "IT", "india": "IN", "israel": "IL", "japan": "JP", "australia": "AU",
}  # fmt: skip
_STATES = {
    "booting": MachineState.CREATING,
    "active": MachineState.RUNNING,
    # It answers or it does not, which SSH tells better: Lambda shows it of machines that come back.
    "unhealthy": MachineState.RUNNING,
    "preempted": MachineState.FAILED,
    "terminating": MachineState.ENDING,
    "terminated": MachineState.GONE,
}


class Odd(ValueError):
    """An answer that lacks what the documents promise."""


def offers(data: object, now: float) -> list[Offer]:
    """`GET /instance-types` → one offer a kind and region with capacity. A kind that no region has is sold out nowhere
    in particular.
    """
    if not isinstance(data, Mapping):
        raise Odd("it lists no kinds")
    found = []
    for row in data.values():
        kind, regions = row["instance_type"], row["regions_with_capacity_available"]
        specs = kind.get("specs") or {}
        count = specs.get("gpus", _count(str(kind["name"])))
        if not count:
            continue
        for region in regions or ({"name": "", "description": ""},):
            where = str(region["name"])
            found.append(
                Offer(
                    provider=NAME,
                    id=f"{where}/{kind['name']}",
                    card=card(str(kind.get("gpu_description") or kind.get("description") or "")),
                    product=str(kind.get("gpu_description") or kind.get("description") or kind["name"]),
                    count=int(count),
                    per_hour=Decimal(int(kind["price_cents_per_hour"])) / 100,
                    currency="USD",
                    region=where,
                    country=country(where, str(region.get("description") or "")),
                    stock=None if regions else 0,
                    vcpus=specs.get("vcpus"),
                    memory=_gib(specs.get("memory_gib")),
                    disk=_gib(specs.get("storage_gib")),
                    seen_at=now,
                )
            )
    return found


def card(description: str) -> str:
    """`H100 (80 GB SXM5)` → `h100`; empty for one that lyc does not know for sure."""
    found = _DESCRIBED.search(description)
    return _CARDS.get((found[1].upper(), int(found[2]), (found[3] or "").upper()), "") if found else ""


def country(region: str, description: str) -> str:
    """`California, USA` → `US`. Where Lambda's words and the table do not agree, nothing is known."""
    known = CAPABILITIES.regions.get(region)
    said = _COUNTRIES.get(description.rpartition(",")[2].strip().lower(), "")
    if known is None:
        return said
    return known.country if said in ("", known.country) else ""


def launch_body(order: Order, key_name: str) -> dict[str, Any]:
    """Order → body of the launch. Raises ValueError for the id of an offer that is not one of `offers`."""
    region, kind = order.offer.id.split("/")
    body: dict[str, Any] = {
        "region_name": region,
        "instance_type_name": kind,
        "ssh_key_names": [key_name],
        "name": order.name,
        "tags": [{"key": TAG, "value": order.run_id}],
    }
    # cloud-init runs what begins with `#!` as root, once.
    return body if order.boot_script is None else body | {"user_data": order.boot_script}


def launched(data: object) -> str:
    """The id of the machine that a launch has made."""
    ids = data.get("instance_ids") if isinstance(data, Mapping) else None
    if not isinstance(ids, list) or not ids:
        raise Odd("it names no machine")
    return str(ids[0])


def machines(data: object) -> list[Machine]:
    """`GET /instances` → machines, those that are gone left out."""
    if not isinstance(data, list):
        raise Odd("it lists no machines")
    return [one for one in map(machine, data) if one.alive]


def machine(data: object) -> Machine:
    """One machine. Its name may have been changed by hand; its tag remains."""
    if not isinstance(data, Mapping) or not data.get("id"):
        raise Odd("a machine has no id")
    word = str(data.get("status") or "")
    state = _STATES.get(word, MachineState.UNKNOWN)
    address = str(data.get("ip") or "") or None
    if state is MachineState.RUNNING and address is None:
        state = MachineState.CREATING
    region = data.get("region")
    return Machine(
        provider=NAME,
        id=str(data["id"]),
        state=state,
        word=word,
        run_id=run_id_of(data.get("name")) or _tagged(data.get("tags")),
        address=address,
        port=22 if address else None,
        region=str(region.get("name") or "") if isinstance(region, Mapping) else "",
        problem=f"Lambda calls it {word}" if word in ("unhealthy", "preempted") else "",
    )


def _tagged(tags: object) -> str | None:
    rows = tags if isinstance(tags, list) else []
    values = [str(row.get("value")) for row in rows if isinstance(row, Mapping) and row.get("key") == TAG]
    return run_id_of(machine_name(values[0])) if values else None


@dataclass(frozen=True, slots=True)
class Key:
    """A public key in the account."""

    id: str
    name: str
    public_key: str


def keys(data: object) -> list[Key]:
    """`GET /ssh-keys` → the keys of the account."""
    if not isinstance(data, list):
        raise Odd("it lists no keys")
    return [Key(str(row["id"]), str(row["name"]), str(row.get("public_key") or "")) for row in data]


def key_for(order: Order, there: Iterable[Key]) -> tuple[str, bool]:
    """(name of the key that the machine shall take, whether it is there already).

    One a controller, `lyc-<owner>`; where that name holds another key, one that tells them apart.
    """
    owner, wanted = order.run_id.partition("-")[0], _bare(order.public_key)
    names = {one.name: _bare(one.public_key) for one in there}
    usual = f"{PREFIX}{owner}"
    other = f"{usual}-key-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    for name in (usual, other):
        if name not in names:
            return name, False
        if names[name] == wanted:
            return name, True
    raise Odd(f"the key {other} is not the one that it was made for")


def leftovers(there: Iterable[Key], owner: str) -> list[Leftover]:
    """The keys of a controller."""
    usual = f"{PREFIX}{owner}"
    return [
        Leftover(NAME, "key", one.id, None, f"named {one.name}")
        for one in there
        if one.name == usual or one.name.startswith(f"{usual}-key-")
    ]


def code(body: object) -> str:
    """The code of a refusal, which is what Lambda asks its users to go by."""
    error = body.get("error") if isinstance(body, Mapping) else None
    return str(error.get("code") or "") if isinstance(error, Mapping) else ""


def _bare(public_key: str) -> str:
    """Without the comment."""
    return " ".join(public_key.split()[:2])


def _count(name: str) -> int:
    found = re.match(r"gpu_(\d+)x_", name)
    return int(found[1]) if found else 0


def _gib(size: object) -> int | None:
    return int(size) * GIB if isinstance(size, int | float) else None
