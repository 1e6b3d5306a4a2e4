"""`lyc hosts ls|show|check|ssh`: what the machines are that lyc may use, over SSH."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.hosts_add import existing_host, hub
from lyc.cli.options import Host, Json
from lyc.cli.session import open_session
from lyc.errors import LycError

if TYPE_CHECKING:
    from lyc.cli.session import Session
    from lyc.control.documents import HostDocument, UseDocument

LS_EXAMPLES = """
lyc hosts ls
lyc hosts ls --check
lyc hosts ls --json | jq -r '.hosts[] | select(.state == "ready") | .name'
"""
SHOW_EXAMPLES = """
lyc hosts show gpu1
lyc hosts show gpu1 --json | jq .facts.accelerators
"""
CHECK_EXAMPLES = """
lyc hosts check gpu1
lyc hosts check gpu1 acme/support-8b
lyc hosts check gpu1 --json | jq '.checks[] | select(.state == "failed")'
"""
SSH_EXAMPLES = """
lyc hosts ssh gpu1
lyc hosts ssh gpu1 -- nvidia-smi
"""
_SILENT = frozenset({"unreachable", "denied", "key-changed"})
"""States in which a host will not tell what it does now; to wait for that would be in vain."""


def ls(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Look at each of them now.")] = False,
    as_json: Json = False,
) -> None:
    """List the hosts, as they were at the last look."""
    from lyc.cli.hosts_view import table

    session = open_session(context, as_json=as_json)
    hosts = [] if session.untouched else session.client().hosts()
    if check and hosts:
        hosts = _looked(session, hosts)
    output = session.output
    output.answer({"hosts": hosts}, table(output, hosts, time.time()) if hosts else "")
    if not hosts and not as_json:
        output.say("no hosts but this machine")
        output.hint("lyc hosts add ssh://user@box")


def show(context: typer.Context, name: Host, as_json: Json = False) -> None:
    """Show what a host is and has, as of the last look, and what lyc does there now."""
    from lyc.cli.hosts_view import page

    session = open_session(context, as_json=as_json)
    client = existing_host(session, name)
    host = client.host(name)
    use: UseDocument | None = None
    problem: LycError | None = None
    if host["prepared"] and host["state"] not in _SILENT:
        try:
            use = client.use_of_host(name)
        except LycError as error:
            problem = error
    document = {**host, "use": use, "use_error": problem.document() if problem else None}
    session.output.answer(document, page(session.output, host, time.time(), use=use, problem=problem))


def check(
    context: typer.Context,
    name: Host,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Also whether this model could be served there now.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at a host now, and say what would keep it from serving. Exits 1 if something would."""
    from lyc.cli.hosts_view import report

    session = open_session(context, as_json=as_json)
    client = existing_host(session, name)
    host = client.check_host(name, hub=hub())
    if model is not None:
        from lyc.cli.hosts_model import checked

        host = checked(session, host, model)
    failed = any(check["state"] == "failed" for check in host["checks"])
    session.output.answer({**host, "fit": not failed}, report(session.output, host))
    if failed:
        raise typer.Exit(1)


def ssh(
    context: typer.Context,
    name: Host,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND…", help="What to run; without it, a shell.")
    ] = None,
) -> None:
    """Log in to a host, with the key that was accepted for it. The exit code is that of ssh."""
    from lyc.records.host import Host as HostRecord
    from lyc.spec.host_address import parse_address
    from lyc.wiring import host_access

    session = open_session(context)
    host = existing_host(session, name).host(name)
    address, port = parse_address(host["address"])
    argv = host_access(session.settings).argv(
        HostRecord(name, address, port), command or (), terminal=sys.stdin.isatty() and sys.stdout.isatty()
    )
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606  a terminal needs ssh itself in the place of this process


def _looked(session: Session, hosts: list[HostDocument]) -> list[HostDocument]:
    """All of them at once; what keeps a look from succeeding is in the document."""
    from concurrent.futures import ThreadPoolExecutor

    client = session.client()

    def one(host: HostDocument) -> HostDocument:
        try:
            return client.check_host(host["name"], hub=hub())
        except LycError:
            return client.host(host["name"])

    with ThreadPoolExecutor(min(len(hosts), 16)) as pool:
        return list(pool.map(one, hosts))
