"""RunPod's words to ours, and an order to its JSON. Pure.

Shapes: https://rest.runpod.io/v1/openapi.json (pods, bills), https://graphql-spec.runpod.io (what is for sale).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from lyc.planning.catalogue.cards import of_product
from lyc.providers.runpod.places import REGIONS
from lyc.records.rental import Billed, Machine, MachineState, Offer, Order, run_id_of

NAME = "runpod"
IMAGE = "runpod/pytorch:2.8.0-py3.11-cuda12.8.1-cudnn-devel-ubuntu22.04"
"""RunPod's own, which its hosts have at hand: sshd, curl, a compiler for kernels that are built on the go."""
CUDA = ("13.0",)
"""What the drivers of its hosts must support: that of lyc's engine. The API knows of no newer one."""
DISK_GB = 50
SECURE, COMMUNITY = "SECURE", "COMMUNITY"
GB = 10**9
_COUNTS = (1, 2, 4, 8)
_HOUR = 3600
_CARDS = {"AMD Instinct MI300X OAM": "mi300x"}
_SOLD_OUT = {"none", "out of stock", "unavailable", ""}


class Odd(ValueError):
    """An answer that lacks what the documents promise."""


def offers(data: Mapping[str, Any], now: float) -> list[Offer]:
    """What `api.MARKET` answers → one offer a kind, data centre, count of cards and way to rent.

    Prices are a card's. Stock is told as a word, and only whether there is any is taken from it. Community Cloud, which
    stands at other people's, is sold without a place: its country is unknown.
    """
    kinds = {str(kind["id"]): kind for kind in _list(data, "gpuTypes") if kind.get("id") not in (None, "unknown")}
    found: list[Offer] = []
    for centre in _list(data, "dataCenters"):
        if centre.get("listed") is False:
            continue
        for row in centre.get("gpuAvailability") or ():
            kind = kinds.get(str(row.get("gpuTypeId")))
            if kind is not None and kind.get("secureCloud") is not False:
                stock = 0 if str(row.get("stockStatus") or "").lower() in _SOLD_OUT else None
                found += _of_kind(kind, SECURE, str(centre["id"]), stock, now)
    for kind in kinds.values():
        if kind.get("communityCloud"):
            found += _of_kind(kind, COMMUNITY, "", None, now)
    return found


def _of_kind(kind: Mapping[str, Any], cloud: str, region: str, stock: int | None, now: float) -> Iterator[Offer]:
    way = "Secure" if cloud == SECURE else "Community"
    most = kind.get(f"maxGpuCount{way}Cloud") or 1
    product = str(kind.get("displayName") or kind["id"]) + ("" if cloud == SECURE else " (Community Cloud)")
    least = kind.get("lowestPrice") or {}
    for spot in (False, True):
        price = kind.get(f"{way.lower()}SpotPrice" if spot else f"{way.lower()}Price")
        if not price:
            continue
        for count in _COUNTS:
            if count > most:
                break
            one = count == 1
            yield Offer(
                provider=NAME,
                id="/".join((cloud, region, "spot" if spot else "on-demand", str(count), str(kind["id"]))),
                card=_card(str(kind["id"])),
                product=product,
                count=count,
                per_hour=Decimal(str(price)) * count,
                currency="USD",
                region=region,
                country=REGIONS[region].country if region in REGIONS else "",
                spot=spot,
                stock=stock,
                # The least that comes with one card; with several nothing is said.
                vcpus=least.get("minVcpu") if one else None,
                memory=int(least["minMemory"]) * GB if one and least.get("minMemory") else None,
                seen_at=now,
            )


def _card(product: str) -> str:
    card = of_product(product)
    return card.name if card else _CARDS.get(product, "")


def create_body(order: Order, start: str, ends_at: float | None) -> dict[str, Any]:
    """Order → body of `POST /pods`. start: `start.script`; ends_at: epoch seconds.

    No volume: it would be paid for while the pod is stopped, and is there by default. Raises ValueError for the id of
    an offer that is not one of `offers`.
    """
    cloud, region, way, count, kind = order.offer.id.split("/", 4)
    env = {
        # Not PUBLIC_KEY: RunPod sets that to the keys of the account.
        "LYC_PUBLIC_KEY": order.public_key,
        "LYC_RUN": order.run_id,
    }
    if ends_at is not None:
        env["LYC_ENDS_AT"] = str(math.ceil(ends_at))
    if order.boot_script is not None:
        env["LYC_BOOT_SCRIPT"] = base64.b64encode(order.boot_script.encode()).decode()
    body: dict[str, Any] = {
        "name": order.name,
        "imageName": IMAGE,
        "cloudType": cloud,
        "computeType": "GPU",
        "gpuTypeIds": [kind],
        "gpuCount": int(count),
        "allowedCudaVersions": list(CUDA),
        "containerDiskInGb": max(DISK_GB, math.ceil((order.disk or 0) / GB)),
        "volumeInGb": 0,
        "ports": ["22/tcp"],
        "interruptible": way == "spot",
        "env": env,
        "dockerStartCmd": ["bash", "-c", start],
    }
    # In Secure Cloud each pod has one.
    return body | ({"supportPublicIp": True} if cloud == COMMUNITY else {"dataCenterIds": [region]})


def pods(answer: object) -> list[Machine]:
    """`GET /pods` → machines, those that are gone left out."""
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        raise Odd("it lists no pods")
    return [one for one in map(pod, answer) if one.alive]


def pod(answer: object) -> Machine:
    """One pod. RUNNING is what RunPod wishes for it: it runs once it can be reached."""
    if not isinstance(answer, Mapping) or not answer.get("id"):
        raise Odd("a pod has no id")
    word = str(answer.get("desiredStatus") or "")
    port = _port(answer.get("portMappings"))
    address = str(answer.get("publicIp") or "") if port else ""
    state = _STATES.get(word, MachineState.UNKNOWN)
    if state is MachineState.RUNNING and not address:
        state = MachineState.CREATING
    machine = answer.get("machine")
    return Machine(
        provider=NAME,
        id=str(answer["id"]),
        state=state,
        word=word,
        run_id=run_id_of(answer.get("name")),
        address=address or None,
        port=port if address else None,
        region=str(machine.get("dataCenterId") or "") if isinstance(machine, Mapping) else "",
        problem=str(answer.get("lastStatusChange") or "") if state is MachineState.FAILED else "",
    )


_STATES = {
    "RUNNING": MachineState.RUNNING,
    # lyc never stops a pod: it was taken back (spot), the account is empty, or somebody stopped it. Its disk is wiped.
    "EXITED": MachineState.FAILED,
    "TERMINATED": MachineState.GONE,
}


def _port(mappings: object) -> int | None:
    found = mappings.get("22") if isinstance(mappings, Mapping) else None
    return int(found) if isinstance(found, int | str) and str(found).isdecimal() else None


def bills(answer: object) -> list[Billed]:
    """`GET /billing/pods`, by pod and hour. A record without a pod is of something that was deleted long ago."""
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        raise Odd("it lists no bills")
    found = []
    for row in answer:
        if row.get("podId") and row.get("amount") is not None and row.get("time"):
            since = epoch(str(row["time"]))
            found.append(Billed(str(row["podId"]), Decimal(str(row["amount"])), "USD", since, since + _HOUR))
    return found


def epoch(text: str) -> float:
    """`2023-01-01T00:00:00Z`, or the same with a space and no zone (UTC) → epoch seconds. Raises Odd."""
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise Odd(f"{text!r} is no time") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def stamp(at: float) -> str:
    """Epoch seconds → `2023-01-01T00:00:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sold_out(text: str) -> bool:
    """Whether a refusal means that there is no such machine now. RunPod has a sentence for it, and no code."""
    return "instances" in text.lower() and "available" in text.lower()


def too_poor(text: str) -> bool:
    """Whether a refusal is about the account's money or limits. As above."""
    return any(word in text.lower() for word in ("balance", "funds", "spend limit", "spending limit", "quota"))


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    found = data.get(key)
    if not isinstance(found, list):
        raise Odd(f"{key} is missing")
    return found
