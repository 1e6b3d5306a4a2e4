"""`lyc restart NAME`: new replicas in place of those that run, one after the other."""

from __future__ import annotations

import typer

from lyc.cli.changing import DryRun, Timeout, Wait, asked, awaited, foretold
from lyc.cli.options import Json, Name, duration, existing
from lyc.cli.session import open_session

EXAMPLES = """
lyc restart support-8b
lyc restart support-8b --dry-run
"""


def restart(
    context: typer.Context,
    name: Name,
    *,
    wait: Wait = True,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Replace all replicas by new ones of the same release.

    Beside the old ones where there is room for both, else in their place; running requests may end. What was given up
    after too many crashes is tried again.
    """
    session = open_session(context, as_json=as_json)
    seconds = duration(timeout, "--timeout")
    change = asked(existing(session, name), name, "restart", dry_run=dry_run)
    if dry_run:
        foretold(session.output, change)
        return
    session.output.say(f"{name}: {', '.join(change['changes'])}")
    awaited(session, change, wait=wait, timeout=seconds, doing=f"the restart of {name}")
