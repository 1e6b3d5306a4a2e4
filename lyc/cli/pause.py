"""`lyc pause NAME`: nothing of it runs, and no request wakes it."""

from __future__ import annotations

import typer

from lyc.cli.changing import DryRun, asked, foretold
from lyc.cli.options import Json, Name, existing
from lyc.cli.session import open_session

EXAMPLES = """
lyc pause support-8b
lyc pause support-8b --dry-run
"""


def pause(context: typer.Context, name: Name, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Stop all replicas of a deployment until it is resumed.

    Running requests may end. Its URL, its keys and its releases stay; requests are refused at once.
    """
    session = open_session(context, as_json=as_json)
    client, output = existing(session, name), session.output
    deployment = client.deployment(name)
    change = asked(client, name, "pause", dry_run=dry_run)
    if dry_run:
        foretold(output, change)
        return
    if deployment.get("rented"):
        output.warn(f"what it has rented goes on costing; lyc down {name} gives it back")
    output.done(f"{name} is paused" if change["changed"] else f"{name} is paused already")
    output.hint(f"lyc resume {name}")
    output.answer({"name": name, "state": "paused", "changed": change["changed"]}, "")
