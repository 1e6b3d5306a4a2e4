"""`lyc promote NAME`: give a canary all requests, or another share."""

from __future__ import annotations

from typing import Annotated

import typer

from lyc.cli.changing import DryRun, asked, foretold
from lyc.cli.options import Json, Name, existing
from lyc.cli.session import open_session
from lyc.errors import UsageError

EXAMPLES = """
lyc promote support-8b
lyc promote support-8b --share 50%
"""


def promote(
    context: typer.Context,
    name: Name,
    *,
    share: Annotated[
        str | None, typer.Option("--share", metavar="PART", help="Only so much of the requests, such as 50%.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give a canary all requests, or another share.

    The release before it drains and stops once the canary has all.
    """
    session = open_session(context, as_json=as_json)
    client, output = existing(session, name), session.output
    if share is None:
        change = asked(client, name, "promote", dry_run=dry_run)
    else:
        change = asked(client, name, "canary", share=_share(share), dry_run=dry_run)
    if dry_run:
        foretold(output, change)
        return
    output.done(f"{name}: {', '.join(change['changes'])}")
    output.hint(f"lyc releases {name}")
    output.answer({"name": name, "release": change["release"], "changes": change["changes"]}, "")


def _share(text: str) -> float:
    from lyc.spec.scale import parse_share

    try:
        return parse_share(text)
    except ValueError as problem:
        raise UsageError("invalid-value", str(problem), where="--share") from problem
