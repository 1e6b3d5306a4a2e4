"""Scaleway's JSON to our records, and an Order to its JSON. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from lyc.errors import Failed, UsageError
from lyc.planning.catalogue.cards import CARDS
from lyc.records.rental import Leftover, Machine, MachineState, Offer, Order, Region, machine_name, run_id_of

NAME = "scaleway"
DISK = 100 * 10**9
"""Bytes of a disk that nobody gave a size: its image with the drivers and one engine fit."""
IMAGES = ("ubuntu_noble_gpu_os_13_nvidia", "ubuntu_noble_gpu_os_12", "ubuntu_jammy_gpu_os_12")
"""Labels of images with NVIDIA's driver and container toolkit, the best first. Not each fits each type."""
SCRIPT = "/var/lib/lyc-boot"
"""Where the boot script lies on the machine."""
_GB = 10**9

STATES: Mapping[str, MachineState] = {
    "starting": MachineState.CREATING,
    "running": MachineState.RUNNING,
    # Created and not powered on, or powered off: the disk costs in any case. In place: the whole machine does.
    "stopped": MachineState.STOPPED,
    "stopped in place": MachineState.STOPPED,
    "stopped_in_place": MachineState.STOPPED,
    "stopping": MachineState.ENDING,
    # By Scaleway itself, over abuse or bills.
    "locked": MachineState.FAILED,
}

_CARDS = {
    "L4": "l4",
    "L40S": "l40s",
    "H100-PCIe": "h100-pcie",
    "H100-SXM": "h100",
    "H200-SXM": "h200",
    "B200-SXM": "b200",
    "B300-SXM": "b300",
}
"""`gpu_info.gpu_name` → our card."""
_BUSY = frozenset({"transient_state", "precondition_failed", "resource_still_in_use", "conflict"})


def error_type(body: object) -> str:
    """What kind of refusal it is; empty where it does not say."""
    return str(body.get("type") or "") if isinstance(body, Mapping) else ""


def is_busy(status: int, body: object) -> bool:
    """Whether it is refused for now only, since the thing is in the middle of something else or in use."""
    return status in (409, 412) or error_type(body) in _BUSY


def offer_id(server_type: str, zone: str) -> str:
    return f"{server_type}@{zone}"


def parts(offer: str, zones: Mapping[str, Region]) -> tuple[str, str]:
    """Type and zone. Raises UsageError `offer-gone` where it is none of Scaleway's."""
    server_type, _, zone = offer.partition("@")
    if not server_type or zone not in zones:
        raise gone(offer)
    return server_type, zone


def gone(offer: str) -> UsageError:
    """`offer-gone`: to be raised."""
    hint = "lyc gpus --available"
    return UsageError("offer-gone", f"Scaleway does not sell {offer!r} any more", where=offer, hint=hint)


def place(identity: str, zones: Mapping[str, Region]) -> tuple[str, str]:
    """Zone and its id of what we know as `zone/id`: in any other zone it would be said to be missing."""
    zone, _, rest = identity.partition("/")
    if zone not in zones or not re.fullmatch(r"[0-9A-Za-z-]+", rest):
        raise Failed("provider-refused", "that is no id of Scaleway's", why="it must be zone/id", where=identity)
    return zone, rest


def offers(
    zone: str,
    country: str,
    types: Mapping[str, Mapping[str, Any]],
    stock: Mapping[str, Mapping[str, Any]],
    *,
    now: float,
) -> list[Offer]:
    """The types of a zone that have GPUs. Of its stock it says shortage, scarce or available, and no number."""
    found: list[Offer] = []
    for name, row in types.items():
        count, price = int(row.get("gpu") or 0), money(row.get("hourly_price"))
        if not count or price is None or row.get("end_of_service"):
            continue
        left = 0 if (stock.get(name) or {}).get("availability") == "shortage" else None
        found.append(
            Offer(
                NAME,
                offer_id(name, zone),
                card(row),
                name,
                count,
                price,
                "EUR",
                region=zone,
                country=country,
                stock=left,
                vcpus=row.get("ncpus"),
                memory=row.get("ram"),
                seen_at=now,
            )
        )
    return found


def money(value: object) -> Decimal | None:
    """A price as a number; None where it is not sold so."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount > 0 else None


def card(row: Mapping[str, Any]) -> str:
    """Our name of the card; empty where the catalogue has none of that name and size, or it is a part of one."""
    info = row.get("gpu_info") or {}
    name = _CARDS.get(str(info.get("gpu_name")), "")
    if not name or row.get("mig_profile"):
        return ""
    return name if 0.8 <= int(info.get("gpu_memory") or 0) / CARDS[name].memory <= 1.2 else ""


def image(answer: Mapping[str, Any], server_type: str) -> str | None:
    """The id of the image for this type among the local ones of a label and a zone; None where there is none."""
    rows = answer["local_images"]
    return next((str(row["id"]) for row in rows if server_type in (row.get("compatible_commercial_types") or ())), None)


def machine(row: Mapping[str, Any]) -> Machine:
    """One server. Raises KeyError and TypeError where id, zone or state is missing."""
    word = str(row["state"])
    state = STATES.get(word, MachineState.UNKNOWN)
    address = _address(row)
    return Machine(
        NAME,
        f"{row['zone']}/{row['id']}",
        state,
        word,
        run_id=run_id(row),
        address=address,
        port=22 if address else None,
        region=str(row["zone"]),
        created_at=epoch(row.get("creation_date")),
        problem=str(row.get("state_detail") or word) if state is MachineState.FAILED else "",
    )


def run_id(row: Mapping[str, Any]) -> str | None:
    """From the name, or the tags, whichever still has it. Of servers and of volumes."""
    names = [row.get("name"), *(row.get("tags") or ())]
    return next((found for found in map(run_id_of, names) if found), None)


def _address(row: Mapping[str, Any]) -> str | None:
    # public_ip is how it was told before there could be several.
    rows = [*(row.get("public_ips") or ()), row.get("public_ip") or {}]
    fourth = [one.get("address") for one in rows if one.get("family", "inet") == "inet"]
    return next((str(address) for address in fourth if address), None)


def epoch(text: object) -> float | None:
    """An ISO time as seconds since the epoch; None where it is none."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def labels(run: str) -> tuple[str, list[str]]:
    """Name and tags of everything that is made for a run."""
    return machine_name(run), ["lyc", machine_name(run)]


def order_json(order: Order, *, server_type: str, image: str) -> dict[str, object]:
    """The body of the create; the project is added to it."""
    size = -(-(order.disk or DISK) // _GB) * _GB
    key = "_".join(order.public_key.split()[:2])
    return {
        "name": order.name,
        "commercial_type": server_type,
        "image": image,
        "tags": [*labels(order.run_id)[1], f"AUTHORIZED_KEY={key}"],
        "volumes": {"0": {"name": order.name, "size": size, "volume_type": "sbs_volume"}},
        # Goes with the server, where a flexible one would stay and cost.
        "dynamic_ip_required": True,
        "protected": False,
    }


def cloud_init(order: Order) -> str:
    """User data: the key once more, for images that do not read tags, and the boot script. JSON is YAML too."""
    config: dict[str, object] = {"disable_root": False, "ssh_authorized_keys": [order.public_key]}
    if order.boot_script is not None:
        content = base64.b64encode(order.boot_script.encode()).decode()
        config["write_files"] = [{"path": SCRIPT, "permissions": "0700", "encoding": "b64", "content": content}]
        config["runcmd"] = [[SCRIPT]]
    return f"#cloud-config\n{json.dumps(config)}\n"


def own_volume(row: Mapping[str, Any]) -> tuple[str, bool] | None:
    """Id of the disk that came with a server, and whether it is of Block Storage. None: there is none, or none yet."""
    volume = (row.get("volumes") or {}).get("0") or {}
    return (str(volume["id"]), volume.get("volume_type") == "sbs_volume") if volume.get("id") else None


def leftovers(owner: str, zone: str, volumes: Iterable[Mapping[str, Any]]) -> list[Leftover]:
    """Volumes of this owner's runs."""
    found = []
    for row in volumes:
        whose = run_id(row)
        if whose and whose.startswith(f"{owner}-") and row.get("status") not in ("deleting", "deleted"):
            note = f"named {row.get('name')}, tags {', '.join(row.get('tags') or ()) or 'none'}"
            found.append(Leftover(NAME, "volume", f"{zone}/{row['id']}", whose, note, billed=True))
    return found
