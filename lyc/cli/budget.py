"""`lyc budget`: how much rented machines may cost, how it stands, and what is stopped when it is spent."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lyc.cli.options import Json
from lyc.cli.session import open_session
from lyc.errors import UsageError

if TYPE_CHECKING:
    from lyc.cli.output import Output

EXAMPLES = """
lyc budget
lyc budget 50EUR/day
lyc budget 300EUR/week --stop batch,idle,youngest,keep:support-8b
lyc budget --off
"""


def budget(
    context: typer.Context,
    amount: Annotated[
        str | None, typer.Argument(metavar="AMOUNT", help="50EUR/day, 300EUR/week or 1000EUR/month.")
    ] = None,
    *,
    stop: Annotated[
        str | None,
        typer.Option(
            "--stop",
            metavar="ORDER",
            help="Whom to stop first: names, idle, dearest, youngest, oldest; keep:NAME never. Default: idle,youngest.",
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Have no budget any more.")] = False,
    as_json: Json = False,
) -> None:
    """Show or set what rented machines may cost.

    At 80 % it warns; when it is spent, deployments on rented machines are taken down in the order of --stop until
    nothing is left that may be stopped. Days, weeks and months are those of UTC.
    """
    if off and amount is not None:
        raise UsageError("contradictory-budget", "an amount and --off", where="--off", hint="leave one of them out")
    session = open_session(context, as_json=as_json)
    change = off or amount is not None or stop is not None
    if session.untouched and not change:
        session.output.answer({"budget": None}, "")
        session.output.say("no budget")
        return
    client = session.client()
    body = {"budget": "" if off else amount, "stop": stop}
    found = client.call("PUT", "/v1/budget", body=body) if change else client.call("GET", "/v1/budget")
    output = session.output
    output.answer(found, shown(output, found))
    if found["budget"] is None and not output.as_json:
        output.say("no budget")
        output.hint("lyc budget 50EUR/day")
    if found.get("level") not in (None, "ok"):
        output.warn(words(found))


def shown(output: Output, found: dict[str, Any]) -> str:
    """How it stands, in lines; empty without a budget."""
    limit = cast("dict[str, str] | None", found["budget"])
    if limit is None:
        return ""
    money = limit["currency"]
    until = datetime.fromtimestamp(found["until"]).astimezone()
    rows = [
        ("budget", f"{limit['amount']} {money} a {limit['period']}, until {until:%Y-%m-%d %H:%M}"),
        ("spent", f"{Decimal(found['spent']):.2f} {money}"),
        ("now", f"{Decimal(found['per_hour']):.2f} {money}/h"),
        ("at the end", f"{Decimal(found['projected']):.2f} {money}"),
        ("stops first", ", ".join(found["stop"])),
    ]
    return "\n".join(f"{output.paint(f'{name:<12}', 'dim')}{text}" for name, text in rows)


def words(found: dict[str, Any]) -> str:
    """What a person should know of a budget that is nearly or wholly spent, or cannot be reckoned."""
    limit = found["budget"]
    text = f"{Decimal(found['spent']):.2f} of {limit['amount']} {limit['currency']} a {limit['period']} are spent"
    missing = ", ".join(f"{one['amount']} {one['currency']}" for one in found["without"])
    return text + (f"; {missing} cannot be converted and are not in it" if missing else "")
