"""`lyc hosts prepare|prune|unlock|rm`: what changes a host, or what lyc knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.hosts_add import existing_host
from lyc.cli.options import Host, Json
from lyc.cli.session import open_session
from lyc.errors import Interrupted, LycError, UsageError
from lyc.units import parse_bytes, show_bytes, show_duration

if TYPE_CHECKING:
    from lyc.cli.session import Session
    from lyc.control.client import ControllerClient

PREPARE_EXAMPLES = """
lyc hosts prepare gpu1
"""
PRUNE_EXAMPLES = """
lyc hosts prune gpu1 --dry-run
lyc hosts prune gpu1
lyc hosts prune gpu1 --free 50GB
"""
UNLOCK_EXAMPLES = """
lyc hosts unlock gpu1
lyc hosts unlock gpu1 --force
"""
RM_EXAMPLES = """
lyc hosts rm gpu1
lyc hosts rm gpu1 --purge
lyc hosts rm gpu1 --purge --yes --force
"""


def prepare(context: typer.Context, name: Host, as_json: Json = False) -> None:
    """Make a host fit to run engines, ahead of the first deploy.

    A deploy does the same by itself. What is done already is left as it is.
    """
    session = open_session(context, as_json=as_json)
    client = existing_host(session, name)
    result = client.prepare_host(name, session.output.say)
    session.output.done(f"{name} is prepared" if result.get("changed") else f"{name} was prepared already")
    session.output.answer(result, "")


def prune(
    context: typer.Context,
    name: Host,
    *,
    free: Annotated[
        str | None,
        typer.Option("--free", metavar="SIZE", help="Stop as soon as so much is free there: 50GB. Default: all."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Remove weights and engines from a host that no release needs.

    What a release in use needs stays, and what a rollback would go to. The longest unused go first.
    """
    session = open_session(context, as_json=as_json)
    size = _size(free)
    found = existing_host(session, name).prune_host(name, free=size, dry_run=dry_run)
    rows = [(one["kind"], show_bytes(one["bytes"]), one["name"]) for one in found["removed"]]
    output = session.output
    output.answer(dict(found), output.table(("KIND", "SIZE", "NAME"), rows, numbers=("SIZE",)) if rows else "")
    if not rows:
        output.done(f"{name} holds nothing that may go")
    elif dry_run:
        output.say(f"{show_bytes(found['bytes'])} would be removed from {name}")
        output.hint(f"lyc hosts prune {name}" + (f" --free {free}" if free else ""))
    else:
        output.done(f"{show_bytes(found['bytes'])} removed from {name}")


def unlock(
    context: typer.Context,
    name: Host,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also if another controller holds it.")] = False,
    as_json: Json = False,
) -> None:
    """Give a host's lock back, and say who held it.

    A controller holds the lock while it changes something there, so that no other does. It stays when that controller
    dies in the middle; its next start takes it up again.
    """
    session = open_session(context, as_json=as_json)
    found = existing_host(session, name).unlock_host(name, force=force)
    session.output.answer(dict(found), "")
    lock = found["lock"]
    if lock is None:
        session.output.done(f"nobody holds {name}")
        return
    reason = f": {lock['reason']}" if lock["reason"] else ""
    session.output.done(f"{name} is unlocked; {lock['who']} held it for {show_duration(lock['age'])}{reason}")


def rm(
    context: typer.Context,
    name: Host,
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="First remove all that lyc put there: units, account, engines, weights.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --purge: end also what another controller runs there.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Forget a host and its key.

    Without --purge nothing is changed on the machine, and what lyc put there stays.
    """
    if force and not purge:
        raise UsageError("needless-force", "--force is for --purge", where="--force", hint=f"lyc hosts rm {name}")
    session = open_session(context, as_json=as_json)
    client = existing_host(session, name)
    output = session.output
    if not purge:
        prepared = client.host(name)["prepared"]
        output.answer(client.remove_host(name), "")
        output.done(f"{name} is forgotten" + ("; what lyc put there stays" if prepared else ""))
        return
    if not yes:
        _ask(session, client, name)
    output.answer(client.purge_host(name, output.say, force=force), "")
    output.done(f"nothing of lyc is left on {name}, and it is forgotten")


def _ask(session: Session, client: ControllerClient, name: str) -> None:
    """Raises Interrupted `declined`."""
    try:
        use = client.use_of_host(name)
    except LycError as problem:
        if problem.ref != "host-not-prepared":
            raise
    else:
        engines = f"{_many(len(use['engines']), 'engine')} ({show_bytes(sum(use['engines'].values()))})"
        weights = f"{_many(use['snapshots'], 'model')} ({show_bytes(use['weights'])})"
        others = f", and runs {_many(use['others'], 'engine')} of other controllers" if use["others"] else ""
        session.output.say(f"{name} holds {engines} and {weights} below {use['root']}{others}")
    if not session.output.confirm(f"Remove all of lyc from {name}, and forget it?"):
        raise Interrupted("declined", "nothing was removed")


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' * (count != 1)}"


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except ValueError as problem:
        raise UsageError("invalid-size", str(problem), where="--free") from problem
