"""SkyPilot's words to ours, and an order to its task. Pure. Shapes: `sky/schemas/api/responses.py` of version 0.14."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lyc.planning.catalogue.cards import CARDS, canonical
from lyc.providers.sky import setup
from lyc.providers.sky.places import CLOUDS, REGIONS
from lyc.records.rental import Machine, MachineState, Offer, Order, run_id_of
from lyc.units import GIB

NAME = "sky"
Row = Mapping[str, Any]
"""A cluster, as `POST /status` tells of it."""
SSH = 22
LAUNCH, DOWN = "sky.launch", "sky.down"
_ACTIVE = frozenset({"PENDING", "WAITING", "RUNNING"})
_SPOT = "spot"
_CARDS = {"A100": "a100-40", "A100-80GB": "a100-80"}
"""Where SkyPilot's name is not one of ours, or one of ours for another card."""
_FORMS = frozenset({"a100-40", "a100-80", "h100", "h200"})
"""Sold as SXM and as PCIe under one name."""
_STATES = {
    "UP": MachineState.RUNNING,
    "STOPPED": MachineState.STOPPED,
    "AUTOSTOPPING": MachineState.ENDING,
}


class Odd(ValueError):
    """An answer that lacks what the documents promise."""


@dataclass(frozen=True, slots=True)
class Request:
    """One that was made of the server. verb: `sky.launch`."""

    id: str
    verb: str
    status: str
    at: float
    cluster: str

    @property
    def active(self) -> bool:
        return self.status in _ACTIVE


def journal(data: object) -> list[Request]:
    """`GET /api/status` → launches and ends, the newest first. Its own housekeeping has no cluster."""
    if not isinstance(data, list):
        raise Odd("it lists no requests")
    found = [
        Request(str(row["request_id"]), str(row["name"]), str(row["status"]), _at(row), str(row["cluster_name"]))
        for row in data
        if row.get("cluster_name") and row.get("name") in (LAUNCH, DOWN)
    ]
    return sorted(found, key=lambda one: one.at, reverse=True)


def clouds(data: object, chosen: frozenset[str] | None) -> list[str]:
    """`GET /enabled_clouds` → those to rent from. chosen: None = all that lyc has no client for."""
    if not isinstance(data, list):
        raise Odd("it lists no clouds")
    enabled = {str(name).lower() for name in data}
    wanted = chosen if chosen is not None else {name for name, place in CLOUDS.items() if place.usual}
    return sorted(enabled & wanted & CLOUDS.keys())


def offers(data: object, now: float) -> list[Offer]:
    """`POST /list_accelerators` → one offer a kind and region, and one more where it is sold as spot.

    What is there it does not say, only what is sold; parts of a card are left out.
    """
    if not isinstance(data, Mapping):
        raise Odd("it lists no cards")
    found: dict[str, Offer] = {}
    for rows in data.values():
        for cloud, kind, name, count, vcpus, memory_of_card, memory, price, spot_price, region in rows:
            where = str(cloud).lower()
            if where not in CLOUDS or not kind or not region or count is None or count < 1 or int(count) != count:
                continue
            place = CLOUDS[where]
            for spot, each in ((False, price), (True, spot_price)):
                identity = offer_id(where, str(region), str(kind), str(name), int(count), spot=spot)
                if not each or identity in found:
                    continue
                at = f"{where}/{region}"
                found[identity] = Offer(
                    provider=NAME,
                    id=identity,
                    card=card(where, str(kind), str(name), memory_of_card),
                    product=f"{name} ({kind})",
                    count=int(count),
                    per_hour=Decimal(str(each)),
                    currency="USD",
                    region=at,
                    country=REGIONS[at].country if at in REGIONS else "",
                    spot=spot,
                    vcpus=None if vcpus is None else int(vcpus),
                    memory=None if memory is None else int(memory * GIB),
                    seen_at=now,
                    owner=place.owner,
                    jurisdiction=place.jurisdiction,
                )
    return list(found.values())


def card(cloud: str, kind: str, name: str, gib: float | None) -> str:
    """SkyPilot's name of a card → ours; empty where that would be a guess. gib: memory of one card, None = unknown."""
    found = _CARDS.get(name, canonical(name))
    if found not in CARDS or (gib is not None and abs(gib * GIB - CARDS[found].memory) > CARDS[found].memory / 8):
        return ""
    if cloud == "azure" and kind.startswith("Standard_ND") and found in _FORMS:
        return found
    return "" if found in _FORMS and not CLOUDS[cloud].forms else found


def offer_id(cloud: str, region: str, kind: str, name: str, count: int, *, spot: bool) -> str:
    return "/".join([cloud, region, kind, f"{name}:{count}", *([_SPOT] if spot else [])])


def task(order: Order) -> dict[str, Any]:
    """Order → the task of a launch. Raises ValueError for the id of an offer that is not one of `offers`."""
    cloud, region, kind, cards, *rest = order.offer.id.split("/")
    name, _, count = cards.rpartition(":")
    if cloud not in CLOUDS or not (region and kind and name and count.isdecimal()) or rest not in ([], [_SPOT]):
        raise ValueError(order.offer.id)
    resources: dict[str, Any] = {
        "infra": f"{cloud}/{region}",
        "instance_type": kind,
        "accelerators": {name: int(count)},
        "use_spot": bool(rest),
        # Not for its own sake: `endpoints` tells the address of a port only.
        "ports": [str(SSH)],
        "labels": {"lyc-run": order.run_id},
    }
    if order.disk is not None:
        resources["disk_size"] = max(math.ceil(order.disk / GIB), 100)  # its images take half of that
    if order.time_limit is not None:
        minutes = max(math.ceil(order.time_limit / 60), 1)
        resources["autostop"] = {"idle_minutes": minutes, "down": True, "wait_for": "none"}
    return {"name": order.name, "resources": resources, "setup": setup.script(order.public_key, order.boot_script)}


def rows(data: object) -> list[Row]:
    """`POST /status` → the clusters that carry a run id."""
    if not isinstance(data, list):
        raise Odd("it lists no clusters")
    return [row for row in data if run_id_of(str(row["name"]))]


def machine(row: Row, requests: Sequence[Request]) -> Machine:
    """A cluster that is there. requests: that were made of it, those not done yet at least, read before it was.

    Only one that is up has an address, which is not in here.
    """
    word = str(row.get("status") or "")
    state = _STATES.get(word, MachineState.UNKNOWN)
    problem = str(row.get("init_status_reason") or "") if row.get("init_kind") == "unhealthy" else ""
    latest = _latest(requests, LAUNCH)
    if word == "INIT" and latest is not None and latest.active:
        state = MachineState.CREATING
    elif word == "INIT" and not row.get("cluster_ever_up"):
        # With the server's restart its requests end, and nobody goes on with them.
        done = latest is not None and latest.status == "SUCCEEDED"
        state = MachineState.CREATING if done else MachineState.FAILED
        problem = problem or ("" if done else _interrupted(row))
    end = _latest(requests, DOWN)
    if end is not None and end.active:
        state = MachineState.ENDING
    elif end is not None and end.status == "FAILED" and (latest is None or end.at > latest.at):
        problem = problem or f"SkyPilot could not end it: sky api logs {end.id}"
    cloud, region = str(row.get("cloud") or "").lower(), str(row.get("region") or "")
    return Machine(
        provider=NAME,
        id=str(row["name"]),
        state=state,
        word=word,
        run_id=run_id_of(str(row["name"])),
        region=f"{cloud}/{region}" if cloud and region else "",
        created_at=float(row["launched_at"]) if row.get("launched_at") else None,
        problem=problem,
    )


def unsettled(row: Row, requests: Iterable[Request]) -> bool:
    """Whether what is not done yet is too little to judge a cluster by: it is being set up, and nobody does it."""
    return row.get("status") == "INIT" and not any(one.verb == LAUNCH and one.active for one in requests)


def waiting(name: str, request: Request) -> Machine:
    """A launch that the server has taken, and that has no cluster yet."""
    state, word = MachineState.CREATING, f"launch {request.status.lower()}"
    return Machine(NAME, name, state, word, run_id=run_id_of(name), created_at=request.at or None)


def failed(name: str) -> Machine:
    """A launch of which no cluster is left. It counts as there until its end is asked for."""
    return Machine(NAME, name, MachineState.FAILED, "launch failed", run_id=run_id_of(name))


def address(data: object) -> tuple[str, int]:
    """`POST /endpoints` → where sshd is: `{"22": "203.0.113.7:22"}`."""
    told = data.get(str(SSH)) if isinstance(data, Mapping) else None
    host, _, port = str(told or "").rpartition(":")
    if not host or not port.isdecimal():
        raise Odd(f"it does not tell where port {SSH} is")
    return host.strip("[]"), int(port)


def _latest(requests: Iterable[Request], verb: str) -> Request | None:
    return max((one for one in requests if one.verb == verb), key=lambda one: one.at, default=None)


def _interrupted(row: Row) -> str:
    last = str(row.get("init_status_reason") or row.get("last_event") or "")
    return f"its launch was not finished{f'; the last that was told: {last}' if last else ''}"


def _at(row: Row) -> float:
    return float(row.get("created_at") or 0.0)
