"""`lyc cost [NAME]`: what rented machines have cost, and what was served for it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lyc.cli.options import Json, deployment_names
from lyc.cli.session import open_session
from lyc.errors import UsageError
from lyc.units import parse_duration

if TYPE_CHECKING:
    from lyc.cli.session import Session
    from lyc.control.rent_documents import BilledDocument, CostDocument

EXAMPLES = """
lyc cost
lyc cost support-8b --since 7d
lyc cost --since 2026-11-01 --by day
lyc cost --since all --csv > cost.csv
lyc cost --billed
lyc cost --json | jq -r .total.cost.amount
"""
EVER = "all"
SECONDS = 120.0
"""Longest wait for the answer: a long access log is read for it."""


class By(StrEnum):
    """What a line is of."""

    DEPLOYMENT = "deployment"
    DAY = "day"
    HOST = "host"


def cost(  # noqa: PLR0917  Typer hands them over by name
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One deployment, also one that is gone.", autocompletion=deployment_names),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="SPAN|DAY|all", help="Such as 7d, or 2026-11-01 (UTC).")
    ] = "30d",
    by: Annotated[By, typer.Option("--by", help="What a line is of; days are those of UTC.")] = By.DEPLOYMENT,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values on stdout.")] = False,
    billed: Annotated[
        bool, typer.Option("--billed", help="Ask providers what they bill, and show it beside lyc's figures.")
    ] = False,
) -> None:
    """Show what rented machines have cost."""
    from lyc.cli import cost_view

    if billed and as_csv:
        raise UsageError("contradictory-flags", "--billed has no CSV", where="--csv", hint="lyc cost --billed --json")

    if as_json and as_csv:
        raise UsageError("contradictory-flags", "the answer has one form", where="--json, --csv", hint="leave one out")
    begun = parse_since(since, time.time())
    session = open_session(context, as_json=as_json)
    output = session.output
    if billed:
        _show_billed(session, name, begun)
        return
    found = _asked(session, name, by, begun)
    if as_csv:
        output.raw(cost_view.as_csv(found))
        return
    output.answer({"name": name, **found}, cost_view.text(output, found) if found["lines"] else "")
    if as_json:
        return
    for note in cost_view.notes(found):
        output.say(note)
    if not found["lines"]:
        whom = f" for {name}" if name else ""
        when = "" if begun is None else f" since {cost_view.moment(begun)}"
        output.say(f"nothing was rented{whom}{when}")
        output.hint("lyc cost --since all" if begun is not None else "lyc deploy MODEL --gpu h100")


def _show_billed(session: Session, name: str | None, since: float | None) -> None:
    from lyc.cli import cost_view
    from lyc.cli.options import existing

    output = session.output
    if name is None and session.untouched:
        output.answer({"name": name, "machines": [], "silent": [], "problems": {}}, "")
        output.say("nothing was rented")
        return
    client = session.client() if name is None else existing(session, name)
    query = {"name": name, "since": since}
    found = cast("BilledDocument", client.call("GET", "/v1/costs/billed", query=query, timeout=SECONDS))
    output.answer({"name": name, **found}, cost_view.billed(output, found) if found["machines"] else "")
    for provider, problem in found["problems"].items():
        output.warn(f"{provider} is left out: {problem.get('what')}")
    if found["silent"]:
        output.say(f"{', '.join(found['silent'])} cannot be asked what a machine is billed")
    if not found["machines"]:
        output.say("no provider told of a bill")


def parse_since(text: str, now: float, *, where: str = "--since") -> float | None:
    """`7d`, `2026-11-01`, `2026-11-01T08:00` (UTC) → epoch seconds; `all` → None. Raises UsageError `invalid-since`."""
    word = text.strip()
    if word.lower() == EVER:
        return None
    try:
        if re.match(r"\d{4}-", word):
            moment = datetime.fromisoformat(word)
            at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        else:
            at = now - parse_duration(word)
    except (ValueError, OverflowError):
        raise _invalid(text, "it is neither a span nor a day", where) from None
    if at > now:
        raise _invalid(text, "it is in the future", where)
    return max(at, 0.0)


def _invalid(text: str, why: str, where: str) -> UsageError:
    hint = f"write it like {where} 7d, {where} 2026-11-01, or {where} {EVER}"
    return UsageError("invalid-since", f"{text!r} is no time to begin at", why=why, where=where, hint=hint)


def _asked(session: Session, name: str | None, by: By, since: float | None) -> CostDocument:
    from lyc.cli.cost_view import nothing
    from lyc.cli.options import existing

    if name is None and session.untouched:
        return nothing(by, since, time.time())
    client = session.client() if name is None else existing(session, name)
    query = {"name": name, "by": by.value, "since": since}
    return cast("CostDocument", client.call("GET", "/v1/costs", query=query, timeout=SECONDS))
