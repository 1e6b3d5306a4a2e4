"""What Verda sells: instance types by place, on demand and spot, their cards, and the images for them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from lyc.errors import UsageError
from lyc.planning.catalogue.cards import CARDS
from lyc.records.rental import Offer, Region
from lyc.units import GIB

NAME = "verda"
_GB = 10**9

_CARDS = {
    "A100": "a100-80",
    "A100.40S": "a100-40",
    "H100": "h100",
    "H200": "h200",
    "B200": "b200",
    "B300": "b300",
    "GB300": "gb300",
    "L40S": "l40s",
    "A6000": "rtx-a6000",
    "RTX6000ADA": "rtx-6000-ada",
    "RTXPRO6000": "rtx-pro-6000",
}
"""What stands after the count in an instance type (`1H100.80S.30V`), with its form where that matters → our card."""
_TYPE = re.compile(r"(\d+)([A-Z][A-Z0-9]*)(?:\.(\d+S))?\.")


def offer_id(instance_type: str, location: str, *, spot: bool) -> str:
    return "@".join([instance_type, location, *(["spot"] if spot else [])])


def parts(offer: str) -> tuple[str, str, bool]:
    """Instance type, location, spot. Raises UsageError `offer-gone` where it is none of Verda's."""
    words = offer.split("@")
    if len(words) not in (2, 3) or not all(words) or words[2:] not in ([], ["spot"]):
        raise gone(offer)
    return words[0], words[1], len(words) == 3


def gone(offer: str) -> UsageError:
    """`offer-gone`: to be raised."""
    hint = "lyc gpus --available"
    return UsageError("offer-gone", f"Verda does not sell {offer!r} any more", where=offer, hint=hint)


def offers(
    types: Iterable[Mapping[str, Any]],
    places: Mapping[str, str],
    stock: Mapping[bool, Mapping[str, frozenset[str]]],
    *,
    now: float,
) -> list[Offer]:
    """Each type with a GPU at each place, on demand and spot. places: location → country. stock: by spot, the types
    that each location has now; how many, it does not say.
    """
    found: list[Offer] = []
    for row in types:
        count = int((row.get("gpu") or {}).get("number_of_gpus") or 0)
        if not count:
            continue
        name = str(row["instance_type"])
        for place, country in places.items():
            for spot in (False, True):
                price = money(row.get("spot_price" if spot else "price_per_hour"))
                if price is None:
                    continue
                here = name in stock[spot].get(place, ())
                found.append(
                    Offer(
                        NAME,
                        offer_id(name, place, spot=spot),
                        card(row, count),
                        name,
                        count,
                        price,
                        str(row.get("currency") or "usd").upper(),
                        region=place,
                        country=country,
                        spot=spot,
                        stock=None if here else 0,
                        vcpus=(row.get("cpu") or {}).get("number_of_cores"),
                        memory=_gigabytes(row.get("memory")),
                        seen_at=now,
                    )
                )
    return found


def places(rows: Iterable[Mapping[str, Any]], known: Mapping[str, Region]) -> dict[str, str]:
    """Country of each location, as Verda says it now, else as its documents did."""
    codes = {str(row["code"]): str(row.get("country_code") or "").upper() for row in rows}
    return {code: country or (known[code].country if code in known else "") for code, country in codes.items()}


def stock(rows: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """The types that each location has now."""
    return {str(row["location_code"]): frozenset(row["availabilities"]) for row in rows}


def money(value: object) -> Decimal | None:
    """A price as text or as a number; None where it is not sold so: null, 0, or no number."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount > 0 else None


def card(row: Mapping[str, Any], count: int) -> str:
    """Our name of the card; empty where the catalogue has none of that name and size."""
    match = _TYPE.match(str(row["instance_type"]))
    code, form = (match[2], match[3]) if match else ("", None)
    name = _CARDS.get(f"{code}.{form}", _CARDS.get(code, ""))
    if not name:
        return ""
    # A variant with other memory under the same letters would be another card. Of several cards some rows tell the
    # memory of all, and some that of one.
    told = (_gigabytes(row.get("gpu_memory")) or 0) / _GB * GIB / CARDS[name].memory
    return name if any(0.8 <= share <= 1.2 for share in (told, told / count)) else ""


def image(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The newest Ubuntu with the newest CUDA; with open drivers and Docker where there is the choice. None: none."""
    fit = [name for row in rows if not row.get("is_cluster") and _image_rank(name := str(row.get("image_type") or ""))]
    return max(fit, key=lambda name: _image_rank(name) or (), default=None)


def _image_rank(name: str) -> tuple[Any, ...] | None:
    match = re.fullmatch(r"ubuntu-(\d+)\.(\d+)-cuda-(\d+)\.(\d+)(-open)?(-docker)?", name)
    return (*(int(part) for part in match.groups()[:4]), *map(bool, match.groups()[4:])) if match else None


def _gigabytes(part: object) -> int | None:
    size = part.get("size_in_gigabytes") if isinstance(part, Mapping) else None
    return int(size) * _GB if isinstance(size, int | float) else None
