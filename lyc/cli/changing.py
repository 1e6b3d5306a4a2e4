"""What the verbs that change a deployment share: ask for the change, show what it is, and watch it come true."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import quote

import typer

from lyc.errors import Interrupted, Pending

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.cli.session import Session
    from lyc.control.client import ControllerClient
    from lyc.control.scale_documents import ChangeDocument

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it serves, or exit 8 at once.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="TIME", help="Stop waiting after 90s, 15m …, and exit 8.")
]


def path(name: str, what: str) -> str:
    """Of a call about a deployment."""
    return f"/v1/deployments/{quote(name, safe='')}/{what}"


def asked(client: ControllerClient, name: str, what: str, *, method: str = "POST", **body: object) -> ChangeDocument:
    """Ask the controller for a change. Raises what it says."""
    return cast("ChangeDocument", client.call(method, path(name, what), body=body))


def foretold(output: Output, change: ChangeDocument) -> None:
    """Answer a dry run: what would be another, and each act that would follow."""
    lines = [output.paint(one, "bold") for one in change["changes"]]
    lines += [f"  {one['text']}" for one in change["steps"]]
    if not change["changes"]:
        lines.append(f"{change['name']} is so already: nothing would be changed")
    elif not change["steps"]:
        lines.append("  no replica is touched")
    output.answer(cast("Mapping[str, object]", change), "\n".join(lines))
    output.say("this was a dry run: nothing was done")


def awaited(session: Session, change: ChangeDocument, *, wait: bool, timeout: float | None, doing: str) -> None:
    """Watch the operation of a change until its deployment serves, and answer with its result. doing: `the rollback of
    support`. Exits 8 where nobody waits. Raises what the operation says.
    """
    from lyc.cli.follow import follow
    from lyc.units import show_duration

    output, name, operation = session.output, change["name"], change["operation"]
    document: dict[str, object] = {"name": name, "changed": change["changed"], "changes": change["changes"]}
    if operation is None:
        if change["changed"]:
            output.done(f"{name}: {', '.join(change['changes'])}")
        output.answer({**document, "release": change["release"]}, "")
        return
    if not wait:
        output.answer({**document, "release": change["release"], "operation": operation}, "")
        output.say(f"{doing} goes on in the background")
        output.hint(f"lyc status {name}")
        raise typer.Exit(Pending.exit_code)
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        with session.progress() as progress:
            result = follow(session.client, operation, progress, deadline=deadline)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted",
            "you stopped watching",
            why=f"{doing} goes on in the background",
            hint=f"lyc status {name}",
        ) from None
    except Pending as problem:
        problem.hint = problem.hint or f"lyc status {name}"
        raise
    seconds = float(str(result["seconds"]))
    if result["state"] == "ready":
        output.done(f"{name} serves release {result['release']}, {show_duration(seconds)}")
    else:
        output.say(f"{name} is {result['state']}: release {result['release']} comes up when it is woken")
    output.answer({**document, **result, "seconds": round(seconds, 3)}, "")
