"""`lyc gc`: look at every provider for machines of lyc's that nothing uses, and end them."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from lyc.cli.options import Json
from lyc.cli.session import open_session
from lyc.errors import from_document

EXAMPLES = """
lyc gc --dry-run
lyc gc
lyc gc --json | jq '.providers[].ended'
"""
SWEEP_SECONDS = 900.0


def gc(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Give back what is rented and of no use.

    And remove what is left over of machines that are gone. The controller does this by itself all the time; this does
    it now and says what it finds. Only what carries the mark
    of this controller is ever touched. Exits 6 where a provider could not be asked.
    """
    session = open_session(context, as_json=as_json)
    output = session.output
    if session.untouched:
        output.answer({"dry_run": dry_run, "providers": []}, "")
        output.done("nothing was ever rented from here")
        return
    found = session.client().call("POST", "/v1/gc", body={"dry_run": dry_run}, timeout=SWEEP_SECONDS)
    providers = cast("list[dict[str, Any]]", found["providers"])
    rows = [
        (one["provider"], step["machine"], "machine", step["why"]) for one in providers for step in one["ended"]
    ] + [
        (one["provider"], left["id"], left["kind"], left["note"] or "left over")
        for one in providers
        for left in one["leftovers"]
    ]
    output.answer(found, output.table(("PROVIDER", "ID", "KIND", "WHY"), rows) if rows else "")
    kept = sum(len(one["machines"]) - len(one["ended"]) for one in providers)
    use = f"{kept} machine is in use" if kept == 1 else f"{kept} machines are in use"
    if not rows:
        asked = len([one for one in providers if one["error"] is None])
        output.done(f"{asked} provider{'' if asked == 1 else 's'} looked at, nothing to give back; {use}")
    elif dry_run:
        output.hint("lyc gc")
    else:
        output.done(f"{len(rows)} asked to go; {use}")
    for one in providers:
        if one["error"] is not None:
            problem = from_document(one["error"])
            if output.as_json:  # it is in the document already
                raise typer.Exit(problem.exit_code)
            raise problem
