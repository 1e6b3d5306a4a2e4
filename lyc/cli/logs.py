"""`lyc logs NAME`: what the engines of a deployment say, also those that died."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import Name, duration, existing
from lyc.cli.session import open_session
from lyc.errors import Unreachable, UsageError

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.cli.session import Session
    from lyc.control.documents import LogDocument

EXAMPLES = """
lyc logs support-8b
lyc logs support-8b -f --since 10m
lyc logs support-8b --tail 1000 --json | jq -r .line
"""
_AWAY_SECONDS = 60.0
_PAUSE_SECONDS = 0.5


def logs(
    context: typer.Context,
    name: Name,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")] = False,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only the last 90s, 10m, 2h …")] = None,
    tail: Annotated[int, typer.Option("--tail", metavar="N", help="At most so many lines of the past.")] = 200,
    replica: Annotated[
        str | None, typer.Option("--replica", metavar="ID", help="Of one replica alone; lyc status NAME lists them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
) -> None:
    """Show what the engines say, also those that died."""
    session = open_session(context, as_json=as_json)
    if tail < 0:
        raise UsageError("invalid-value", "--tail takes a number of lines, 0 or more", where="--tail")
    ago = duration(since, "--since")
    start = None if ago is None else time.time() - ago
    try:
        _Log(session, name, replica).show(tail, start, follow=follow)
    except KeyboardInterrupt:
        if not follow:
            raise  # with -f, Ctrl-C is how one is done with it


class _Log:
    """Prints lines. With more than one replica each line begins with the replica's id."""

    def __init__(self, session: Session, name: str, replica: str | None) -> None:
        self._session = session
        self._name = name
        self._replica = replica
        self._seen: set[str] = set()
        self._latest: float | None = None

    def show(self, tail: int, since: float | None, *, follow: bool) -> None:
        client = existing(self._session, self._name)
        several = len(client.deployment(self._name)["replica_list"]) > 1 and self._replica is None
        away_since: float | None = None
        while True:
            try:
                lines = client.logs(self._name, tail=tail, since=since, follow=follow, replica=self._replica)
                for line in lines:
                    away_since = None
                    self._print(self._session.output, line, several=several)
                if not follow:
                    return
            except Unreachable:
                # A follower outlives a restart of the controller; it does not start one by itself.
                if not follow:
                    raise
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _AWAY_SECONDS:
                    raise
            time.sleep(_PAUSE_SECONDS)
            if self._latest is not None:
                tail, since = 100_000, self._latest

    def _print(self, output: Output, line: LogDocument, *, several: bool) -> None:
        at = line["at"]
        mark = f"{line['replica']}\0{at}\0{line['line']}"
        if self._latest is None or at > self._latest:
            self._latest = at
            self._seen.clear()
        elif mark in self._seen:  # asked for again after a restart
            return
        self._seen.add(mark)
        if output.as_json:
            output.document(dict(line), one_line=True)
        else:
            output.raw((f"{line['replica']} | " if several else "") + line["line"].rstrip("\n") + "\n")
