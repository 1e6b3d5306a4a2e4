"""`lyc status NAME`: one deployment, its replicas, and what is wrong with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from lyc.cli.ls import COLOURS
from lyc.cli.options import Json, Name, existing
from lyc.cli.session import open_session
from lyc.units import show_duration

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.control.documents import DeploymentDocument, ErrorDocument
    from lyc.control.rent_documents import RentedDocument

EXAMPLES = """
lyc status support-8b
lyc status support-8b --json | jq .replicas
"""
_RELEASES_SHOWN = 5


def status(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show one deployment, and what is wrong with it."""
    session = open_session(context, as_json=as_json)
    deployment = existing(session, name).deployment(name)
    session.output.answer(dict(deployment), _text(session.output, deployment, time.time()))


def _text(output: Output, deployment: DeploymentDocument, now: float) -> str:
    state, replicas = deployment["state"], deployment["replicas"]
    limits = "" if deployment["min"] is None else f" (min {deployment['min']}, max {deployment['max']})"
    engine = f"{deployment['engine']} on {deployment['gpu']}, {deployment['host']}" if deployment["engine"] else "-"
    facts = [
        ("state", output.paint(state, COLOURS.get(state, "yellow"))),
        ("replicas", f"{replicas['ready']} of {replicas['desired']} ready{limits}"),
        *([("why", why)] if (why := _why(deployment)) else []),
        ("URL", deployment["url"] or "-"),
        ("model", deployment["model"] or "-"),
        ("release", str(deployment["release"] or "-")),
        ("engine", engine),
        *(("rented", _rented(one)) for one in deployment.get("rented") or []),
        ("age", show_duration(max(0.0, now - deployment["created_at"]))),
    ]
    parts = [f"{output.paint(deployment['name'], 'bold')}\n" + "\n".join(f"  {k:<9} {v}" for k, v in facts)]
    if deployment["replica_list"]:
        parts.append(_replicas(output, deployment, now))
    if len(deployment["releases"]) > 1:
        parts.append(_releases(output, deployment, now))
    parts += [f"{output.paint('warning', 'yellow')}: {text}" for text in deployment["warnings"]]
    if (error := deployment["error"]) is not None:
        parts.append(_error(output, error))
    others = {
        one["error"]["what"]: one["error"] for one in deployment["replica_list"] if one["error"] not in (None, error)
    }
    parts += [_error(output, other) for other in others.values()]
    return "\n\n".join(parts)


def _why(deployment: DeploymentDocument) -> str:
    """As many replicas as there are, and how soon it could answer."""
    paused = deployment["state"] == "paused"
    return f"paused: lyc resume {deployment['name']}" if paused else deployment.get("why") or ""


def _rented(one: RentedDocument) -> str:
    from lyc.cli.rented import price

    cards = f"{one['count']} × {one['product']}" if one["count"] > 1 else one["product"]
    return f"{cards} at {one['provider']}, {price(one)}"


def _replicas(output: Output, deployment: DeploymentDocument, now: float) -> str:
    rows = [
        (
            replica["id"],
            str(replica["release"]),
            replica["state"],
            replica["host"],
            ",".join(map(str, replica["gpus"] or ())) or "-",
            str(replica["pid"] or "-"),
            str(replica["attempts"]),
            show_duration(max(0.0, now - replica["ready_at"])) if replica["ready_at"] else "-",
        )
        for replica in deployment["replica_list"]
    ]
    columns = ("REPLICA", "RELEASE", "STATE", "HOST", "GPUS", "PID", "STARTS", "READY FOR")
    return output.table(columns, rows, optional=("GPUS",))


def _releases(output: Output, deployment: DeploymentDocument, now: float) -> str:
    latest = sorted(deployment["releases"], key=lambda release: -release["number"])[:_RELEASES_SHOWN]
    rows = [
        (
            str(release["number"]),
            release["state"],
            show_duration(max(0.0, now - release["created_at"])),
            release["model"],
        )
        for release in latest
    ]
    return output.table(("RELEASE", "STATE", "AGE", "MODEL"), rows)


def _error(output: Output, error: ErrorDocument) -> str:
    lines = [f"{output.paint('error[' + error['ref'] + ']', 'red')}: {error['what']}"]
    lines += [f"  why: {error['why']}"] if error["why"] else []
    lines += [f"  at: {error['where']}"] if error["where"] else []
    lines += [f"  │ {line}" for line in error["detail"]]
    lines += ["", f"hint: {error['hint']}"] if error["hint"] else []
    return "\n".join(lines)
