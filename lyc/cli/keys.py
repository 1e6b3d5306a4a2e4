"""`lyc keys`: who may use an endpoint."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import Json, Name, duration, existing
from lyc.cli.session import open_session
from lyc.units import show_duration

if TYPE_CHECKING:
    from lyc.control.documents import KeyDocument

CREATE_EXAMPLES = """
lyc keys create support-8b --label ci
LYC_KEY=$(lyc keys create support-8b --ttl 8h)
"""
LS_EXAMPLES = """
lyc keys ls support-8b
lyc keys ls support-8b --all --json
"""
REVOKE_EXAMPLES = """
lyc keys revoke support-8b key-1a2b3c4d
"""
OWN_LABEL = "lyc-"
"""Labels of keys that lyc makes for itself and takes back after a request begin so."""


def create(
    context: typer.Context,
    name: Name,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What it is for.")] = "",
    ttl: Annotated[str | None, typer.Option("--ttl", metavar="TIME", help="Ends by itself after 8h, 30d …")] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is printed this once; lyc keeps only a hash of it."""
    session = open_session(context, as_json=as_json)
    seconds = duration(ttl, "--ttl")
    client = existing(session, name)
    key = client.create_key(name, label=label, ttl=seconds)
    session.output.answer(dict(key), key["key"])
    session.output.hint(f"this is the only time the key is shown; lyc keys revoke {name} {key['id']} ends it")


def ls(
    context: typer.Context,
    name: Name,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that ended, and those that lyc makes for itself.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the keys of a deployment."""
    session = open_session(context, as_json=as_json)
    now = time.time()
    keys = [key for key in existing(session, name).keys(name) if everything or _counts(key, now)]
    output = session.output
    rows = [
        (key["id"], key["prefix"] + "…", key["label"] or "-", show_duration(now - key["created_at"]), _state(key, now))
        for key in keys
    ]
    table = output.table(("ID", "KEY", "LABEL", "AGE", "STATE"), rows) if rows else ""
    output.answer({"deployment": name, "keys": keys}, table)
    if not keys and not as_json:
        output.say("no keys")
        output.hint(f"lyc keys create {name}")


def revoke(
    context: typer.Context,
    name: Name,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key; lyc keys ls NAME lists them.")],
    as_json: Json = False,
) -> None:
    """End a key, at once. Ending it twice does nothing."""
    session = open_session(context, as_json=as_json)
    result = existing(session, name).revoke_key(name, key_id)
    session.output.answer({"deployment": name, **result}, "")
    session.output.done(f"{key_id} of {name} is revoked")


def _counts(key: KeyDocument, now: float) -> bool:
    return _state(key, now).startswith(("open", "ends")) and not key["label"].startswith(OWN_LABEL)


def _state(key: KeyDocument, now: float) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    if key["expires_at"] is None:
        return "open"
    return f"ends in {show_duration(key['expires_at'] - now)}" if key["expires_at"] > now else "expired"
