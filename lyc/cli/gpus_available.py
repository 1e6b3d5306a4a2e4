"""`lyc gpus --available`: what providers have just now."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from lyc.errors import NoFit, from_document
from lyc.units import show_duration

if TYPE_CHECKING:
    from lyc.cli.session import Session

OFFERS_SECONDS = 60.0


def show(session: Session, name: str | None, providers: Sequence[str], residency: str | None) -> None:
    """In stock first, then the cheapest by currency. Raises NoFit `no-provider` where none is configured."""
    from lyc.cli.credentials import for_providers
    from lyc.cli.offers import listed
    from lyc.planning.catalogue.cards import find
    from lyc.planning.offers import CPU
    from lyc.spec.residency import parse_residency

    card = name if name is None or name == CPU.name else find(name, "NAME").name
    allowed = None if residency is None else parse_residency(residency)
    body = {"providers": list(providers), "credentials": for_providers(os.environ)}
    found = session.client().call("POST", "/v1/offers", body=body, timeout=OFFERS_SECONDS)
    asked = cast("list[str]", found["asked"])
    problems = cast("dict[str, dict[str, Any]]", found["problems"])
    if not asked:
        raise NoFit("no-provider", "no provider is configured", hint="lyc providers ls, then: lyc providers login NAME")
    if len(problems) == len(asked) and not found["offers"]:
        raise from_document(next(iter(problems.values())))
    offers = [
        one
        for one in cast("list[dict[str, Any]]", found["offers"])
        if (card is None or one["card"] == card) and (allowed is None or one["country"] in allowed)
    ]
    output = session.output
    there = sorted((one for one in offers if one["stock"] != 0), key=_order)
    output.answer({**found, "offers": offers}, listed(output, there) if there else "")
    for provider in cast("list[str]", found["stale"]):
        seen = max((one["seen_at"] for one in there if one["provider"] == provider), default=0.0)
        output.say(f"what {provider} has is of {show_duration(max(time.time() - seen, 0.0))} ago")
    for provider, problem in problems.items():
        output.warn(f"{provider} is left out: {problem.get('what')}")
    if gone := len(offers) - len(there):
        output.say(f"{gone} more are sold out")
    if not there and not output.as_json:
        place = f" of which it is known that it stands in {residency}" if residency else ""
        output.say(f"none of {', '.join(asked)} has {card or 'a GPU'}{place} just now")


def _order(one: Mapping[str, Any]) -> tuple[str, int, str, Decimal]:
    return one["card"], one["count"], one["currency"], Decimal(one["per_hour"])
