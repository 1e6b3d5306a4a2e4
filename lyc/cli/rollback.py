"""`lyc rollback NAME`: serve a release of before again."""

from __future__ import annotations

from typing import Annotated

import typer

from lyc.cli.changing import DryRun, Timeout, Wait, asked, awaited, foretold
from lyc.cli.options import Json, Name, duration, existing
from lyc.cli.session import open_session

EXAMPLES = """
lyc rollback support-8b
lyc rollback support-8b --to 3
lyc rollback support-8b --dry-run
"""


def rollback(
    context: typer.Context,
    name: Name,
    *,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="N", help="Which release; lyc releases NAME lists them. Default: the one before."),
    ] = None,
    wait: Wait = True,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Serve a release of before again.

    It is started and must answer a real request before it gets traffic; where there is room the present release serves
    until then. Bounds and schedule stay as they are.
    """
    session = open_session(context, as_json=as_json)
    seconds = duration(timeout, "--timeout")
    change = asked(existing(session, name), name, "rollback", to=to, dry_run=dry_run)
    if dry_run:
        foretold(session.output, change)
        return
    session.output.say(f"{name}: {', '.join(change['changes'])}")
    awaited(session, change, wait=wait, timeout=seconds, doing=f"the rollback of {name}")
