"""Verda's JSON to our records, and an Order to its JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from lyc.providers.verda.market import NAME, parts
from lyc.records.rental import Leftover, Machine, MachineState, Order, machine_name, run_id_of

TAG = "lyc"
DISK = 100 * 10**9
"""Bytes of an OS volume that nobody gave a size: its images and one engine fit."""
_GB = 10**9

STATES: Mapping[str, MachineState] = {
    "new": MachineState.CREATING,
    "ordered": MachineState.CREATING,
    "pending": MachineState.CREATING,
    "provisioning": MachineState.CREATING,
    "validating": MachineState.CREATING,
    "restoring": MachineState.CREATING,
    "running": MachineState.RUNNING,
    "offline": MachineState.STOPPED,
    "starting_hibernation": MachineState.STOPPED,
    "hibernating": MachineState.STOPPED,
    "deleting": MachineState.ENDING,
    "error": MachineState.FAILED,
    "installation_failed": MachineState.FAILED,
    "no_capacity": MachineState.FAILED,
    "discontinued": MachineState.GONE,
    "deleted": MachineState.GONE,
    "notfound": MachineState.GONE,
}
"""Its words, those that its SDKs have beside the documents too. `unknown` is one of them, and means what ours does."""

_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


def identity(answer: object) -> str | None:
    """The id in the answer to a create: bare text, a JSON string, or the object itself. None: there is none."""
    found = answer.get("id") if isinstance(answer, Mapping) else answer
    return found if isinstance(found, str) and _IDENTITY.fullmatch(found) else None


def machine(row: Mapping[str, Any]) -> Machine:
    """One instance. Raises KeyError and TypeError where id or status is missing."""
    word = str(row["status"])
    state = STATES.get(word, MachineState.UNKNOWN)
    address = row.get("ip") or None
    return Machine(
        NAME,
        str(row["id"]),
        state,
        word,
        run_id=run_id(row),
        address=address,
        port=22 if address else None,
        region=str(row.get("location") or ""),
        created_at=epoch(row.get("created_at")),
        problem=word if state is MachineState.FAILED else "",
    )


def run_id(row: Mapping[str, Any]) -> str | None:
    """From a name, the description, or the tag, whichever still has it. Of instances, volumes and scripts."""
    tags = [tag.get("value") for tag in row.get("tags") or () if isinstance(tag, Mapping) and tag.get("key") == TAG]
    names = [row.get("hostname"), row.get("name"), row.get("description"), *(machine_name(str(tag)) for tag in tags)]
    return next((found for found in map(run_id_of, names) if found), None)


def epoch(text: object) -> float | None:
    """An ISO time as seconds since the epoch; None where it is none."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def order_json(order: Order, *, image_type: str, key: str, script: str | None) -> dict[str, object]:
    """The body of `POST /instances`. Raises UsageError `offer-gone`."""
    instance_type, location, spot = parts(order.offer.id)
    tags = [{"key": TAG, "value": order.run_id}]
    volume: dict[str, object] = {"name": order.name, "size": -(-(order.disk or DISK) // _GB), "tags": tags}
    if spot:
        # Without it the disk of a machine that was taken back stays, and costs.
        volume["on_spot_discontinue"] = "delete_permanently"
    body: dict[str, object] = {
        "instance_type": instance_type,
        "image": image_type,
        "hostname": order.name,
        "description": order.name,
        "location_code": location,
        "ssh_key_ids": [key],
        "os_volume": volume,
        "is_spot": spot,
        "contract": "SPOT" if spot else "PAY_AS_YOU_GO",
        "tags": tags,
    }
    if script is not None:
        body["startup_script_id"] = script
    return body


def end_json(row: Mapping[str, Any]) -> dict[str, object]:
    """The body of the delete of an instance: with its OS volume, for good. What else hangs on it is only detached.

    Where no volumes are named the OS volume goes too, by way of the trash: for a machine that does not know it yet.
    """
    body: dict[str, object] = {"id": [str(row["id"])], "action": "delete"}
    if row.get("os_volume_id"):
        body |= {"volume_ids": [str(row["os_volume_id"])], "delete_permanently": True}
    return body


def failures(answer: object, identity: str) -> list[tuple[int, str]]:
    """What went wrong in the answer to an action (202, 207): status and text of each, a missing instance left out."""
    rows = answer if isinstance(answer, list) else []
    bad = [
        row
        for row in rows
        if isinstance(row, Mapping)
        and row.get("instanceId") in (identity, None)
        and (row.get("error") or row.get("status") not in ("success", None))
    ]
    told = [(int(row.get("statusCode") or 400), str(row.get("error") or row.get("status"))) for row in bad]
    return [(status, text) for status, text in told if status != 404]


def same_key(one: object, other: str) -> bool:
    """Whether two public keys are one, whatever their comments."""
    return str(one).split()[:2] == other.split()[:2]


def leftovers(
    owner: str, *, volumes: Iterable[Mapping[str, Any]], keys: Iterable[Mapping[str, Any]],
    scripts: Iterable[Mapping[str, Any]],
) -> list[Leftover]:  # fmt: skip
    """What bears this owner's names. A volume in the trash is not among them: it is gone for good within four days."""
    found: list[Leftover] = []
    for kind, rows, billed in (("volume", volumes, True), ("script", scripts, False)):
        for row in rows:
            whose = run_id(row)
            deleted = row.get("deleted_at") or row.get("status") in ("deleted", "deleting")
            if whose and whose.startswith(f"{owner}-") and not deleted:
                found.append(Leftover(NAME, kind, str(row["id"]), whose, f"named {row['name']}", billed=billed))
    found += [
        Leftover(NAME, "key", str(row["id"]), None, f"named {row['name']}")
        for row in keys
        if row.get("name") == key_name(owner)
    ]
    return found


def key_name(owner: str) -> str:
    """One key for all machines of an owner."""
    return f"lyc-{owner}"
