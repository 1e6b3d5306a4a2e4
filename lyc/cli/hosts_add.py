"""`lyc hosts add`, and the host of a `lyc deploy`, which may be an address that is not known yet."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import AcceptHostKey, Json, duration
from lyc.cli.session import open_session
from lyc.errors import Failed, Interrupted, LycError, NotFound, UsageError
from lyc.spec.residency import country_code

if TYPE_CHECKING:
    from lyc.cli.session import Session
    from lyc.control.client import ControllerClient
    from lyc.control.documents import HostDocument

ADD_EXAMPLES = """
lyc hosts add ssh://ubuntu@gpu1.example.eu
lyc hosts add gpu-box --name h100
lyc hosts add ssh://root@203.0.113.7:2222 --accept-host-key SHA256:…
lyc hosts add gpu-box --lease 15m
"""
LOCAL, ANY, RENT = "local", "any", "rent"
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_SHORTEST_LEASE = 60.0
"""Seconds. The controller renews a lease every 20 s; shorter ones would end when it is restarted."""


def add(
    context: typer.Context,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="ssh://user@box:port, user@box, or a Host of ~/.ssh/config.")
    ],
    *,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Default: that of the machine.")] = None,
    accept: AcceptHostKey = None,
    lease: Annotated[
        str | None,
        typer.Option(
            "--lease", metavar="TIME|none", help="Let it stop what runs there when lyc was silent for so long: 15m."
        ),
    ] = None,
    country: Annotated[
        str | None, typer.Option("--country", metavar="CC|none", help="Where it stands, such as FI; for --residency.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a machine known: accept its key, and look at what it has.

    Needs a login by key or agent; passwords are never asked for. On first contact the fingerprint is shown and
    confirmed. Nothing is changed on the machine.
    """
    from lyc.cli.hosts_view import added

    session = open_session(context, as_json=as_json)
    seconds = _lease(lease)
    checked_fingerprint(accept)
    host, new = known(
        session, session.client(), address, name=name, accept=accept, lease=seconds, country=_country(country)
    )
    session.output.done(f"{host['name']} is {'added' if new else 'known, and looked at again'}")
    session.output.answer({**host, "new": new}, added(session.output, host))


def known(
    session: Session,
    client: ControllerClient,
    address: str,
    *,
    name: str | None = None,
    accept: str | None = None,
    lease: int | None = None,
    country: str | None = None,
) -> tuple[HostDocument, bool]:
    """(the host of the address after a look, whether it is new). Asks about its key where a person can answer.

    Raises UsageError `invalid-address`, Interrupted `declined`, and what the controller answers.
    """
    from lyc.spec.host_address import name_of, parse_address, shown

    where = parse_address(address)
    url = shown(*where)
    same = next((host["name"] for host in client.hosts() if host["address"] == url), None)
    chosen = name or same or name_of(where[0])
    try:
        return client.add_host(chosen, url, accept_host_key=accept, hub=hub(), lease=lease, country=country)
    except Failed as problem:
        if problem.ref != "host-key-unknown" or not _terminal(session):
            raise
        accepted = _ask(session, url, problem)
        return client.add_host(chosen, url, accept_host_key=accepted, hub=hub(), lease=lease, country=country)


def host_known(session: Session, written: str) -> str:
    """As `host_of`, but that nothing is made known: NotFound `no-such-host` for an address that is new."""
    from lyc.spec.host_address import is_address, parse_address, shown

    if is_address(written):
        url = shown(*parse_address(written, where="--host"))
        found = next((host["name"] for host in session.client().hosts() if host["address"] == url), None)
        if found is None:
            raise NotFound(
                "no-such-host",
                f"{url} is not known yet",
                why="a dry run changes nothing, and to look at a host its key must be known",
                where="--host",
                hint=f"lyc hosts add {url}",
            )
        return found
    return host_of(session, written, accept=None)


def host_of(session: Session, written: str, *, accept: str | None) -> str:
    """The name of the host that a deploy names: one that is known, `any`, `rent`, or an address, made known first.

    Raises NotFound `no-such-host` for a name that is none, and what `known` raises.
    """
    from lyc.spec.host_address import is_address, parse_address, shown

    if written in (LOCAL, ANY, RENT):
        return written
    client = session.client()
    hosts = client.hosts()
    if not is_address(written):
        if any(host["name"] == written for host in hosts):
            return written
        names = ", ".join(host["name"] for host in hosts)
        raise NotFound(
            "no-such-host",
            f"there is no host {written!r}",
            why=f"known are {LOCAL}{', ' if names else ''}{names}",
            where="--host",
            hint=f"make it known: lyc hosts add {written}; or name its address: --host user@{written}",
        )
    url = shown(*parse_address(written, where="--host"))
    found = next((host["name"] for host in hosts if host["address"] == url), None)
    if found is not None:
        return found
    try:
        host, _ = known(session, client, written, accept=accept)
    except LycError as problem:
        if problem.ref == "host-name-taken":
            problem.where, problem.hint = "--host", f"make it known by another name: lyc hosts add {url} --name NAME"
        raise
    session.output.done(f"{url} is known as {host['name']} now")
    return host["name"]


def existing_host(session: Session, name: str) -> ControllerClient:
    """The client, to ask after a host that must exist. Raises NotFound without starting a controller for nothing."""
    if session.untouched:
        raise NotFound("no-such-host", f"there is no host {name!r}", hint="lyc hosts ls")
    return session.client()


def checked_fingerprint(accept: str | None) -> None:
    """Raises UsageError `invalid-fingerprint`."""
    if accept is not None and accept != "accept-new" and not _FINGERPRINT.fullmatch(accept):
        raise UsageError(
            "invalid-fingerprint",
            f"{accept!r} is no fingerprint of a host key",
            where="--accept-host-key",
            hint="it begins with SHA256: and has 43 characters after that; or: accept-new",
        )


def hub() -> str | None:
    """The Hub as this user reaches it; what is no address at all is for `lyc deploy` to complain of."""
    written = os.environ.get("HF_ENDPOINT", "")
    return written if written.startswith(("http://", "https://")) else None


def _country(text: str | None) -> str | None:
    """Two letters, empty for `none`. Raises UsageError `invalid-country`."""
    if text is None:
        return None
    code = "" if text == "none" or not text.strip() else country_code(text)
    if code is None:
        raise UsageError(
            "invalid-country",
            f"{text!r} is not a country",
            where="--country",
            hint="write its two letters: --country FI",
        )
    return code


def _lease(text: str | None) -> int | None:
    """Seconds, 0 for `none`. Raises UsageError `invalid-duration` and `invalid-lease`."""
    if text == "none":
        return 0
    seconds = duration(text, "--lease")
    if seconds is not None and seconds < _SHORTEST_LEASE:
        raise UsageError(
            "invalid-lease",
            f"a lease of {text} is too short",
            why="it would run out while the controller is restarted",
            where="--lease",
            hint="--lease 15m, or --lease none to end it",
        )
    return None if seconds is None else int(seconds)


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
