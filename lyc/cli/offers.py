"""Offers of providers, before one is rented: the numbered table, the question, and whether to rent at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from lyc.errors import Interrupted, UsageError
from lyc.records.host import LOCAL, RENT

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.cli.session import Session
    from lyc.records.deployment import DeploymentSpec

RANK_SECONDS = 300.0
"""Longest wait for a ranked list: the model is inspected, and every provider asked."""
SHOWN = 12


def with_own(spec: DeploymentSpec, *, said: str | None) -> DeploymentSpec:
    """The spec of something to be rented: machines of the user's own first, unless only rented ones were asked for."""
    from lyc.records.rental import OWN

    others = bool(spec.rent.providers) and OWN not in spec.rent.providers
    return replace(spec, host=RENT, rent=replace(spec.rent, own=not others and RENT not in (said, spec.host)))


def place_of(session: Session, spec: DeploymentSpec, *, said: str | None) -> str:
    """The host of the spec, or `rent` where none was named and this machine will not do.

    Something is rented when the user says what may be rented, or names a GPU and this machine has none.
    """
    from lyc.records.deployment import RentWish

    # Where data may be holds for every machine; all else is about renting.
    wished = replace(spec.rent, residency=None, sovereign=False) != RentWish()
    if said is not None or spec.host != LOCAL:
        if wished and RENT not in (spec.host, *(spec.scale.hosts or ())):
            raise UsageError(
                "nothing-to-rent",
                f"{spec.host} is named, so nothing is rented",
                why="--provider, --max-price and the like say what may be rented",
                where="--host",
                hint="leave --host out, or leave those out",
            )
        return spec.host
    if wished:
        return RENT
    if spec.gpu in ("auto", "cpu"):
        return LOCAL
    from lyc.wiring import build_machine

    return LOCAL if build_machine(session.settings).host.facts().accelerators else RENT


def chosen(session: Session, spec: DeploymentSpec, *, ask: bool) -> tuple[str, str] | None:
    """(provider, id) of the offer that a person takes; None = the best one, which is taken where nobody can be asked.

    Raises Interrupted where the person takes none.
    """
    output = session.output
    if not ask or output.as_json or not (sys.stdin.isatty() and output.stderr.isatty()):
        return None
    from lyc.cli.credentials import needed

    output.say("asking providers what they have …")
    body = {"spec": asdict(spec), "credentials": needed(spec, os.environ)}
    found = session.client().call("POST", "/v1/offers/rank", body=body, timeout=RANK_SECONDS)
    rented = cast("list[dict[str, Any]]", found["rented"])
    if rented:
        return None  # it has a machine already, which is tried first
    if spec.rent.own and any(not host["rental"] for host in session.client().hosts()):
        return None  # machines of the user's own are tried before anything is rented
    candidates = cast("list[dict[str, Any]]", found["candidates"])
    for name, problem in cast("dict[str, dict[str, Any]]", found["problems"]).items():
        output.warn(f"{name} is left out: {problem.get('what')}")
    if not candidates:
        return None  # the deploy says why, with every reason
    output.say(ranked(output, candidates[:SHOWN]))
    if len(candidates) > SHOWN:
        output.say(f"and {len(candidates) - SHOWN} more")
    number = _asked(output, min(len(candidates), SHOWN))
    return candidates[number - 1]["provider"], candidates[number - 1]["id"]


def ranked(output: Output, candidates: Sequence[Mapping[str, Any]]) -> str:
    """The numbered table."""
    rows = [
        (
            str(number),
            one["provider"],
            _cards(one) + (" spot" if one["spot"] else ""),
            _place(one),
            f"{Decimal(one['per_hour']):.2f} {one['currency']}",
            "-" if one["per_million"] is None else f"{Decimal(one['per_million']):.2f}",
            _stock(one),
            _wake(one["wake"]),
            "may not fit" if one["doubtful"] else "",
        )
        for number, one in enumerate(candidates, 1)
    ]
    columns = ("#", "PROVIDER", "GPU", "WHERE", "PRICE/H", "€/MTOKEN", "STOCK", "WAKE", "NOTE")
    numbers = ("#", "PRICE/H", "€/MTOKEN", "STOCK")
    return output.table(columns, rows, spare=("NOTE", "WAKE"), numbers=numbers, optional=("NOTE", "WAKE"))


def listed(output: Output, offers: Sequence[Mapping[str, Any]]) -> str:
    """What there is, whatever the model."""
    rows = [
        (
            one["card"] or one["product"],
            str(one["count"] or "-"),
            one["provider"],
            _place(one),
            f"{Decimal(one['per_hour']):.2f} {one['currency']}",
            "spot" if one["spot"] else "",
            _stock(one),
        )
        for one in offers
    ]
    columns = ("GPU", "COUNT", "PROVIDER", "WHERE", "PRICE/H", "KIND", "STOCK")
    numbers = ("COUNT", "PRICE/H", "STOCK")
    return output.table(columns, rows, spare=("KIND",), numbers=numbers, optional=("KIND",))


def _asked(output: Output, most: int) -> int:
    """A number from 1 on."""
    question = f"which one? [1-{most}, default 1, q to leave] " if most > 1 else "take it? [Enter, or q to leave] "
    while True:
        try:
            output.ask(question)
            line = sys.stdin.readline()  # input() loses a Ctrl-C that comes while it flushes
        except KeyboardInterrupt:
            line = ""
        if not line:
            output.say("")  # the cursor stands behind the question still
        word = line.strip().lower() if line else "q"
        if word in ("q", "quit", "n", "no"):
            raise Interrupted("nothing-taken", "no offer was taken; nothing was rented")
        if word in ("", "y", "yes"):
            return 1
        if word.isdecimal() and 1 <= int(word) <= most:
            return int(word)
        output.say(f"{word!r} is none of them")


def _cards(one: Mapping[str, Any]) -> str:
    name = one["card"] or one["product"]
    used = f" ({one['used']} used)" if one.get("used") and one["used"] != one["count"] else ""
    return f"{one['count']} × {name}{used}" if one["count"] > 1 else str(name)


def _place(one: Mapping[str, Any]) -> str:
    return " ".join(part for part in (one["country"], one["region"]) if part) or "unknown"


def _wake(seconds: float | None) -> str:
    return "-" if seconds is None else f"{max(seconds / 60, 1):.0f} min"


def _stock(one: Mapping[str, Any]) -> str:
    return "?" if one["stock"] is None else str(one["stock"])
