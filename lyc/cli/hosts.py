"""`lyc hosts`: the machines that lyc may use, over SSH."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import Json
from lyc.cli.session import open_session
from lyc.errors import Failed, Interrupted, LycError, NotFound, UsageError

if TYPE_CHECKING:
    from lyc.cli.session import Session
    from lyc.control.client import ControllerClient
    from lyc.control.documents import HostDocument

ADD_EXAMPLES = """
lyc hosts add ssh://ubuntu@gpu1.example.eu
lyc hosts add gpu-box --name h100
lyc hosts add ssh://root@203.0.113.7:2222 --accept-host-key SHA256:…
"""
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
RM_EXAMPLES = """
lyc hosts rm gpu1
"""
SSH_EXAMPLES = """
lyc hosts ssh gpu1
lyc hosts ssh gpu1 -- nvidia-smi
"""
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def host_names(incomplete: str) -> list[str]:
    """Names for the shell's completion, if a controller runs."""
    try:
        from lyc.control.client import ControllerClient
        from lyc.spec.settings import load

        client = ControllerClient(load(os.environ).controller_socket)
        return sorted(host["name"] for host in client.hosts() if host["name"].startswith(incomplete))
    except Exception:  # noqa: BLE001  whatever is wrong, the user is typing: no word of it now
        return []


Host = Annotated[str, typer.Argument(metavar="NAME", help="Name of the host.", autocompletion=host_names)]


def add(
    context: typer.Context,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="ssh://user@box:port, user@box, or a Host of ~/.ssh/config.")
    ],
    *,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Default: that of the machine.")] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            "--accept-host-key",
            metavar="SHA256:…|accept-new",
            help="Trust this key; accept-new: any, of a machine never seen.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a machine known: accept its key, and look at what it has.

    Needs a login by key or agent; passwords are never asked for. On first contact the fingerprint is shown and
    confirmed. Nothing is changed on the machine.
    """
    from lyc.cli.hosts_view import added
    from lyc.spec.host_address import name_of, parse_address, shown

    session = open_session(context, as_json=as_json)
    where = parse_address(address)
    if accept is not None and accept != "accept-new" and not _FINGERPRINT.fullmatch(accept):
        raise UsageError(
            "invalid-fingerprint",
            f"{accept!r} is no fingerprint of a host key",
            where="--accept-host-key",
            hint="it begins with SHA256: and has 43 characters after that; or: accept-new",
        )
    client = session.client()
    url = shown(*where)
    same = next((host["name"] for host in client.hosts() if host["address"] == url), None)
    chosen = name or same or name_of(where[0])
    try:
        host, new = client.add_host(chosen, url, accept_host_key=accept, hub=_hub())
    except Failed as problem:
        if problem.ref != "host-key-unknown" or not _terminal(session):
            raise
        host, new = client.add_host(chosen, url, accept_host_key=_ask(session, url, problem), hub=_hub())
    session.output.done(f"{host['name']} is {'added' if new else 'known, and looked at again'}")
    session.output.answer({**host, "new": new}, added(session.output, host))


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
    """Show what a host is and has, as of the last look."""
    from lyc.cli.hosts_view import page

    session = open_session(context, as_json=as_json)
    host = _existing(session, name).host(name)
    session.output.answer(dict(host), page(session.output, host, time.time()))


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
    client = _existing(session, name)
    host = client.check_host(name, hub=_hub())
    if model is not None:
        from lyc.cli.hosts_model import checked

        host = checked(session, host, model)
    failed = any(check["state"] == "failed" for check in host["checks"])
    session.output.answer({**host, "fit": not failed}, report(session.output, host))
    if failed:
        raise typer.Exit(1)


def rm(context: typer.Context, name: Host, as_json: Json = False) -> None:
    """Forget a host and its key. Nothing is changed on the machine."""
    session = open_session(context, as_json=as_json)
    result = _existing(session, name).remove_host(name)
    session.output.answer(result, "")
    session.output.done(f"{name} is forgotten")


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
    host = _existing(session, name).host(name)
    address, port = parse_address(host["address"])
    argv = host_access(session.settings).argv(
        HostRecord(name, address, port), command or (), terminal=sys.stdin.isatty() and sys.stdout.isatty()
    )
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606  a terminal needs ssh itself in the place of this process


def _existing(session: Session, name: str) -> ControllerClient:
    """The client, to ask after a host that must exist. Raises NotFound without starting a controller for nothing."""
    if session.untouched:
        raise NotFound("no-such-host", f"there is no host {name!r}", hint="lyc hosts ls")
    return session.client()


def _hub() -> str | None:
    """The Hub as this user reaches it; what is no address at all is for `lyc deploy` to complain of."""
    written = os.environ.get("HF_ENDPOINT", "")
    return written if written.startswith(("http://", "https://")) else None


def _terminal(session: Session) -> bool:
    return not session.output.as_json and sys.stdin.isatty() and sys.stderr.isatty()


def _ask(session: Session, url: str, problem: Failed) -> str:
    """The fingerprint that the user confirms. Raises Interrupted `declined`."""
    found = [match[0] for line in problem.detail if (match := _FINGERPRINT.search(line))]
    if not found:
        raise problem
    session.output.say(f"{url} was never seen before. The fingerprint of its key is\n\n  {found[0]}\n")
    session.output.say("The machine itself tells it with: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    if not session.output.confirm("Is it the same?", flag=f"--accept-host-key {found[0]}"):
        raise Interrupted("declined", "the key was not accepted, and nothing was stored")
    return found[0]


def _looked(session: Session, hosts: list[HostDocument]) -> list[HostDocument]:
    """All of them at once; what keeps a look from succeeding is in the document."""
    from concurrent.futures import ThreadPoolExecutor

    client = session.client()

    def one(host: HostDocument) -> HostDocument:
        try:
            return client.check_host(host["name"], hub=_hub())
        except LycError:
            return client.host(host["name"])

    with ThreadPoolExecutor(min(len(hosts), 16)) as pool:
        return list(pool.map(one, hosts))
