"""`lyc events NAME`: what was done to a deployment, by whom, why, and how it ended."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import Name, duration, existing
from lyc.cli.session import open_session
from lyc.errors import Unreachable, UsageError

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.cli.session import Session
    from lyc.control.scale_documents import JournalDocument

EXAMPLES = """
lyc events support-8b
lyc events support-8b -f
lyc events support-8b --since 1h --json | jq -r 'select(.actor == "user")'
"""
_AWAY_SECONDS = 60.0
_PAUSE_SECONDS = 0.5


def events(
    context: typer.Context,
    name: Name,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")] = False,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only the last 90s, 10m, 2h …")] = None,
    tail: Annotated[int, typer.Option("--tail", metavar="N", help="At most so many of the past.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
) -> None:
    """Show what was done to it, by whom, and how it ended."""
    session = open_session(context, as_json=as_json)
    if tail < 0:
        raise UsageError("invalid-value", "--tail takes a number of events, 0 or more", where="--tail")
    ago = duration(since, "--since")
    try:
        _show(session, name, tail, None if ago is None else time.time() - ago, follow=follow)
    except KeyboardInterrupt:
        if not follow:
            raise  # with -f, Ctrl-C is how one is done with it


def _show(session: Session, name: str, tail: int, since: float | None, *, follow: bool) -> None:
    after, limit = 0, tail
    client = existing(session, name)
    away_since: float | None = None
    while True:
        try:
            for one in client.journal(name, after=after, limit=limit, since=since, follow=follow):
                away_since = None
                after = max(after, one["id"])
                _print(session.output, one)
            if not follow:
                return
            client.deployment(name)  # the stream of one that is gone ends, and so does the follower
        except Unreachable:  # a follower outlives a restart of the controller; it does not start one by itself
            if not follow:
                raise
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > _AWAY_SECONDS:
                raise
        if after:
            limit, since = 10_000, None
        time.sleep(_PAUSE_SECONDS)


def _print(output: Output, one: JournalDocument) -> None:
    if output.as_json:
        output.document(dict(one), one_line=True)
        return
    at = datetime.fromtimestamp(one["at"]).astimezone()
    result = one["result"] or "under way"
    mark = "" if result == "done" else f"  [{output.paint(result, 'yellow' if one['result'] is None else 'red')}]"
    said = one["cause"]
    if not one["subject"] or one["subject"] not in said:  # the reconciler's causes are whole sentences
        said = " ".join(word for word in (one["action"], one["subject"]) if word) + (f": {said}" if said else "")
    when = output.paint(f"{at:%Y-%m-%d %H:%M:%S}", "dim")
    output.raw(f"{when}  {one['actor']:<10}  {said}{mark}\n")
