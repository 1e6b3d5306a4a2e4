"""`lyc releases NAME`: what has been released, what became of it, and who serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import typer

from lyc.cli.changing import path
from lyc.cli.ls import short_model
from lyc.cli.options import Json, Name, existing
from lyc.cli.session import open_session
from lyc.units import show_duration

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.control.scale_documents import ReleaseRowDocument, ReleasesDocument

EXAMPLES = """
lyc releases support-8b
lyc releases support-8b --json | jq '.releases[] | select(.serves) | .number'
"""


def releases(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the releases of a deployment, and which of them serve."""
    session = open_session(context, as_json=as_json)
    found = cast("ReleasesDocument", existing(session, name).call("GET", path(name, "releases")))
    session.output.answer(dict(found), _text(session.output, found, time.time()))
    if len(found["releases"]) > 1 and not as_json:
        session.output.hint(f"lyc rollback {name} --to N")


def _text(output: Output, found: ReleasesDocument, now: float) -> str:
    rows = [
        (
            ("*" if one["target"] else "") + str(one["number"]),
            one["state"],
            f"{one['ready']}/{one['replicas']}" if one["replicas"] else "-",
            f"{one['share']:.0%}" if one["serves"] else "-",
            show_duration(max(0.0, now - one["created_at"])),
            f"{show_duration(max(0.0, now - one['active_at']))} ago" if one["active_at"] is not None else "-",
            one["gpu"],
            one["host"],
            short_model(one["model"]),
        )
        for one in found["releases"]
    ]
    columns = ("RELEASE", "STATE", "READY", "REQUESTS", "AGE", "ACTIVATED", "GPU", "HOST", "MODEL")
    lines = [output.table(columns, rows, spare=("GPU", "HOST", "AGE"))]
    lines += [f"release {one['number']} failed: {_why(one)}" for one in found["releases"] if one["error"]]
    return "\n".join(lines)


def _why(one: ReleaseRowDocument) -> str:
    error = one["error"] or {}
    return " ".join(str(part) for part in (error.get("what"), error.get("why") and f"({error['why']})") if part)
