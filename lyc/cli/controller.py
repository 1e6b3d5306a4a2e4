"""`lyc controller`: look after the process that makes reality equal the wishes. It starts by itself when needed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import Json
from lyc.cli.session import open_session
from lyc.errors import Failed, Unreachable, UsageError
from lyc.units import show_duration

if TYPE_CHECKING:
    from lyc.cli.session import Session
    from lyc.control.documents import ControllerDocument, StopDocument

START_EXAMPLES = """
lyc controller start
lyc controller start --gateway-port 9000
"""
STOP_EXAMPLES = """
lyc controller stop
"""
RESTART_EXAMPLES = """
lyc controller restart
"""
STATUS_EXAMPLES = """
lyc controller status
lyc controller status --json | jq -r .gateway.url
"""
LOGS_EXAMPLES = """
lyc controller logs --tail 50
lyc controller logs -f
lyc controller logs --gateway
"""
_STOP_SECONDS = 20.0
_PAUSE_SECONDS = 0.05


def start(context: typer.Context, as_json: Json = False) -> None:
    """Start the controller if none runs. Every verb that needs one does this by itself."""
    session = open_session(context, as_json=as_json)
    ran = session.running() is not None
    with session.progress() as progress:
        client = session.client(progress)
    info = client.info()
    session.output.done(f"the controller {'runs already' if ran else 'runs'} (pid {info['pid']})")
    session.output.answer({"started": not ran, **_document(info)}, "")


def stop(context: typer.Context, as_json: Json = False) -> None:
    """Stop the controller. Gateway and replicas go on serving; nobody looks after them until it is back."""
    session = open_session(context, as_json=as_json)
    found = _stop(session)
    output = session.output
    serving, rented = (found["serving"], found.get("rented") or []) if found else ([], [])
    answer = {"running": False, "stopped": found is not None, "serving": serving, "rented": rented}
    output.answer(answer, "")
    if found is None:
        output.done("no controller runs")
        return
    output.done("the controller is stopped")
    if rented:
        output.warn(
            f"rented still, and paid for: {', '.join(rented)}; without a controller they power off in 15 minutes,"
            " which not every provider takes for an end: start it again (lyc ls does), or lyc down NAME first"
        )
    if serving:
        output.hint(f"still served: {', '.join(serving)}; lyc down NAME stops one")


def restart(context: typer.Context, as_json: Json = False) -> None:
    """Stop the controller and start this version of it. No request is dropped: the gateway goes on meanwhile."""
    session = open_session(context, as_json=as_json)
    _stop(session)
    with session.progress() as progress:
        info = session.client(progress).info()
    session.output.done(f"the controller runs (pid {info['pid']}, lyc {info['version']})")
    session.output.answer({"started": True, **_document(info)}, "")


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show the controller and the gateway. Exits 6 when no controller runs."""
    session = open_session(context, as_json=as_json)
    client = session.running()
    if client is None:
        raise Unreachable(
            "controller-not-running",
            "no controller runs",
            where=str(session.settings.controller_socket),
            hint="lyc controller start",
        )
    info = client.info()
    session.output.answer(_document(info), _text(info, time.time()))


def logs(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")] = False,
    tail: Annotated[int, typer.Option("--tail", metavar="N", help="At most so many lines of the past.")] = 200,
    gateway: Annotated[bool, typer.Option("--gateway", help="The gateway's log instead.")] = False,
) -> None:
    """Show the controller's own log, whether it runs or not."""
    from lyc.control.layout import controller_log, gateway_process

    session = open_session(context)
    if tail < 0:
        raise UsageError("invalid-value", "--tail takes a number of lines, 0 or more", where="--tail")
    path = gateway_process(session.settings) / "output.log" if gateway else controller_log(session.settings)
    if not path.exists() and not follow:
        who = "gateway" if gateway else "controller"
        raise Failed("no-log", f"the {who} has never run here", where=str(path), hint="lyc controller start")
    try:
        _print(session, path, tail, follow=follow)
    except KeyboardInterrupt:
        if not follow:
            raise


def _stop(session: Session) -> StopDocument | None:
    """Stop whatever controller runs, of any version. Returns what goes on, or None if none ran."""
    from lyc.control.client import ControllerClient

    client = ControllerClient(session.settings.controller_socket)
    try:
        pid = client.info(any_version=True)["pid"]
        found = client.stop()
    except Unreachable as problem:
        if problem.ref == "controller-not-running":
            return None
        raise
    deadline = time.monotonic() + _STOP_SECONDS
    while _alive(pid):
        if time.monotonic() > deadline:
            raise Failed(
                "controller-stays",
                f"the controller has not ended within {_STOP_SECONDS:.0f} s",
                hint=f"kill {pid}",
            )
        time.sleep(_PAUSE_SECONDS)
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # ended, but its parent has not asked for its exit code yet
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return Path(f"/proc/{os.getpid()}").exists() is False
    return state != "Z"


def _document(info: ControllerDocument) -> dict[str, object]:
    """The answer for --json, where `version` is that of the document."""
    rest = {key: value for key, value in info.items() if key != "version"}
    return {"running": True, "lyc_version": info["version"], **rest}


def _text(info: ControllerDocument, now: float) -> str:
    gateway = info["gateway"]
    running = f", pid {gateway['pid']}" if gateway["pid"] else ""
    rows = [
        (
            "controller",
            f"running, pid {info['pid']}, lyc {info['version']}, for {show_duration(now - info['started_at'])}",
        ),
        ("home", info["home"]),
        ("log", info["log"]),
        ("gateway", f"{gateway['state']}{running}, {gateway['url'] or 'no address yet'}"),
    ]
    if (error := gateway.get("error")) is not None:
        rows.append(("error", f"{error['what']} [{error['ref']}]"))
    return "\n".join(f"{label:<11} {value}" for label, value in rows)


def _print(session: Session, path: Path, tail: int, *, follow: bool) -> None:
    offset = 0
    if path.exists():
        content = path.read_bytes()
        offset = len(content)
        lines = content.decode(errors="replace").splitlines(keepends=True)
        session.output.raw("".join(lines[len(lines) - min(tail, len(lines)) :]))
    while follow:
        time.sleep(_PAUSE_SECONDS * 4)
        if not path.exists():
            continue
        size = path.stat().st_size
        offset = min(offset, size) if size >= offset else 0  # begun anew
        if size > offset:
            with path.open("rb") as file:
                file.seek(offset)
                fresh = file.read()
            offset += len(fresh)
            session.output.raw(fresh.decode(errors="replace"))
