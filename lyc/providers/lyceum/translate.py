"""Lyceum's JSON to our records, and an Order to its JSON. Pure; what is odd raises ValueError with the reason.

Null fields, addresses with and without a port, times with and without a zone, and machines long dead in the list all
happen and are read as such; a machine without an id or a status is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from lyc.records.rental import Billed, Leftover, Machine, MachineState, Offer, Order, run_id_of

NAME = "lyceum"
CURRENCY = "USD"

CPU = "cpu"
"""Its one profile without a GPU, which is also our word for that."""
CARDS = {CPU: "cpu", "a100": "a100-80", "b200": "b200", "b300": "b300", "h100": "h100", "h200": "h200", "l40s": "l40s"}
"""Its profiles by our cards. It does not say whether they are SXM, nor how much memory an A100 has: taken for 80 GB."""

STATES = {
    "pending": MachineState.CREATING,
    "provisioning": MachineState.CREATING,
    "running": MachineState.RUNNING,
    "ready": MachineState.RUNNING,
    "failed": MachineState.FAILED,
    "error": MachineState.FAILED,
    "terminated": MachineState.GONE,
}

NO_CAPACITY = "could not be provisioned"
"""In the text of a 500: the only thing that tells having no machine left from a breakdown."""

_HOUR = 3600


def offers(prices: object, availability: object, now: float) -> list[Offer]:
    """Every profile that has a price; what the availability leaves out is sold out.

    It says which sizes can be had, not how many. The list of prices has spot rows that are never to be had. A machine
    without a GPU has one size, which the list of prices calls `1x`.
    """
    open_now = {
        f"{_text(variant, 'instance_type')}.{_text(variant, 'hardware_profile')}.{count}x"
        for variant in _rows(availability, "available_instance_variants")
        for count in ((1,) if variant.get("hardware_profile") == CPU else _counts(variant))
    }
    found = [_offer(price, open_now, now) for price in _rows(prices, "prices")]
    return [offer for offer in found if offer is not None]


def _offer(price: Mapping[str, Any], open_now: set[str], now: float) -> Offer | None:
    if price.get("meter_slug") != "vm_running":
        return None
    applies = price.get("applies_to") or price.get("group_by") or {}
    words = str(applies.get("hardware_profile", "") if isinstance(applies, Mapping) else "").split(".")
    if len(words) != 3 or not words[2].removesuffix("x").isdecimal():
        return None
    kind, profile, size = words
    per_hour = _per_hour(price)
    identity = ".".join(words)
    count = 0 if profile == CPU else int(size.removesuffix("x"))
    return Offer(
        NAME, identity, CARDS.get(profile, ""), profile, count, per_hour, CURRENCY,
        spot=kind == "spot", stock=None if identity in open_now else 0, seen_at=now,
    )  # fmt: skip


def _per_hour(price: Mapping[str, Any]) -> Decimal:
    """The hour as it is shown, else 3600 times the second, which is rounded."""
    try:
        if price.get("unit_price_per_hour") is not None:
            return Decimal(str(price["unit_price_per_hour"]))
        if price.get("unit") == "second":
            return Decimal(str(price["unit_price"])) * _HOUR
    except (InvalidOperation, KeyError) as error:
        raise ValueError("a price is not a number") from error
    raise ValueError(f"a price for each {price.get('unit')!r}")


def _counts(variant: Mapping[str, Any]) -> Sequence[int]:
    now = variant.get("available_gpus_per_instance")
    counts = variant.get("allowed_gpus_per_instance") if now is None else now
    return [count for count in counts or () if isinstance(count, int)]


def order(wish: Order) -> dict[str, Any]:
    """The body of a create. The count is read under `instance_specs` alone, and one of 0 would rent one card; a machine
    without a GPU is asked for without any.

    No volume is asked for: it would outlive the machine, and what the machine has of its own is not documented.
    Raises ValueError where the id of the offer is not one of `offers`.
    """
    kind, profile, size = wish.offer.id.split(".")
    return {
        "user_public_key": wish.public_key,
        "hardware_profile": profile,
        "instance_type": kind,
        **({} if profile == CPU else {"instance_specs": {"gpu_count": int(size.removesuffix("x"))}}),
        "display_name": wish.name,
    }


def machine(row: object) -> Machine:
    """One machine of the list, of a create or of its status."""
    if not isinstance(row, Mapping):
        raise ValueError("a machine is not an object")
    word = _text(row, "status")
    host, port = address(row.get("ip_address"))
    state = STATES.get(word.lower(), MachineState.UNKNOWN)
    return Machine(
        NAME,
        _text(row, "vm_id"),
        state,
        word,
        run_id=run_id_of(_name(row.get("display_name"))) or run_id_of(_name(row.get("name"))),
        address=host,
        port=port,
        created_at=_time(row.get("created_at")),
        problem=f"its status is {word}" if state is MachineState.FAILED else "",
    )


def machines(answer: object) -> list[Machine]:
    """All machines of the account. ValueError where the answer says itself that it holds only a part."""
    rows = _rows(answer, "vms")
    total = answer.get("total") if isinstance(answer, Mapping) else None
    if isinstance(total, int) and total > len(rows):
        raise ValueError(f"{len(rows)} of {total} machines")
    return [machine(row) for row in rows]


def address(text: object) -> tuple[str | None, int | None]:
    """`host`, `host:port`, `[v6]:port` or nothing, which also a machine that is ready may have."""
    if not isinstance(text, str) or not text.strip():
        return None, None
    text = text.strip()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        return None, None
    return host or None, int(port) if port and host else None


def volumes_of_dead(answer: object) -> list[str]:
    """Ids of the volumes that the answer to a delete says it has left behind."""
    rows = _rows(answer, "detached_volumes", optional=True)
    return [str(row["volume_id"]) for row in rows if row.get("volume_id")]


def leftovers(listed: object, volumes: object, owner: str) -> Iterator[Leftover]:
    """Volumes of this owner: by name, or because they came with one of its machines, alive or dead.

    lyc hands no volume to a machine, and one can be handed over at the create only: so these are nobody else's.
    """
    run_ids: dict[str, str] = {}
    by_machine: dict[str, str] = {}
    for row in _rows(listed, "vms"):
        run_id = machine(row).run_id
        if run_id is not None:
            by_machine[_text(row, "vm_id")] = run_id
            run_ids |= {str(part.get("volume_id")): run_id for part in _rows(row, "volumes", optional=True)}
    for row in _rows(volumes, "volumes"):
        identity = _text(row, "volume_id")
        by_name = run_id_of(_name(row.get("name")))
        run_id = by_name or by_machine.get(str(row.get("attached_vm_id"))) or run_ids.get(identity)
        if run_id is not None and run_id.startswith(f"{owner}-"):
            why = "it has the name of a run" if by_name else "it came with a machine of that run"
            yield Leftover(NAME, "volume", identity, run_id, note=f"{row.get('size_gb')} GB; {why}", billed=True)


def billed(listed: object, since: float, until: float) -> Iterator[Billed]:
    """What the list says of each machine that was there in the span: for its whole life, as it has no other figure.

    The pages name no unit; prices and balance are in dollars.
    """
    for row in _rows(listed, "vms"):
        created, amount = _time(row.get("created_at")), row.get("billed")
        up = row.get("uptime_seconds")
        if created is None or not isinstance(amount, int | float) or created >= until:
            continue
        end = min(created + up, until) if isinstance(up, int | float) else until
        if end >= since:
            yield Billed(_text(row, "vm_id"), Decimal(str(amount)), CURRENCY, created, end)


def blames(body: object, fields: Sequence[str]) -> bool:
    """Whether a 422 says that one of these fields of the request is wrong."""
    detail = body.get("detail") if isinstance(body, Mapping) else None
    places = [row.get("loc") for row in detail if isinstance(row, Mapping)] if isinstance(detail, list) else []
    return any(isinstance(place, list) and set(place) & set(fields) for place in places)


def account(answer: object) -> str:
    """The organisation's short name; empty where it tells none."""
    if not isinstance(answer, Mapping):
        return ""
    return str(answer.get("slug") or answer.get("name") or "")


def _rows(answer: object, key: str, *, optional: bool = False) -> list[Mapping[str, Any]]:
    rows = answer.get(key) if isinstance(answer, Mapping) else None
    if rows is None and optional:
        return []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"there is no list {key!r}")
    return rows


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"there is no {key!r}")
    return value


def _name(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _time(value: object) -> float | None:
    """ISO, with `Z` or without a zone, which is UTC then."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
