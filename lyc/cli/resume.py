"""`lyc resume NAME`: end a pause, and wait until it serves."""

from __future__ import annotations

import typer

from lyc.cli.changing import DryRun, Timeout, Wait, asked, awaited, foretold
from lyc.cli.options import Json, Name, duration, existing
from lyc.cli.session import open_session

EXAMPLES = """
lyc resume support-8b
lyc resume support-8b --no-wait
"""


def resume(
    context: typer.Context,
    name: Name,
    *,
    wait: Wait = True,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """End a pause, or try again what was given up.

    An engine that dies five times in a row is given up; its log stays.
    """
    session = open_session(context, as_json=as_json)
    seconds = duration(timeout, "--timeout")
    change = asked(existing(session, name), name, "resume", dry_run=dry_run)
    if dry_run:
        foretold(session.output, change)
        return
    if not change["changed"]:
        session.output.done(f"{name} is not paused: nothing was changed")
    awaited(session, change, wait=wait, timeout=seconds, doing=f"the start of {name}")
