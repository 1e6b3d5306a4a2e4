"""Options and arguments that several verbs share, and their completion."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.errors import NotFound, UsageError
from lyc.units import parse_duration

if TYPE_CHECKING:
    from lyc.cli.session import Session
    from lyc.control.client import ControllerClient


def deployment_names(incomplete: str) -> list[str]:
    """Names for the shell's completion, if a controller runs; a completion never starts or breaks anything."""
    try:
        from lyc.control.client import ControllerClient
        from lyc.spec.settings import load

        client = ControllerClient(load(os.environ).controller_socket)
        return sorted(
            deployment["name"] for deployment in client.deployments() if deployment["name"].startswith(incomplete)
        )
    except Exception:  # noqa: BLE001  whatever is wrong, the user is typing: no word of it now
        return []


def host_names(incomplete: str) -> list[str]:
    """Names of hosts for the shell's completion, if a controller runs."""
    try:
        from lyc.control.client import ControllerClient
        from lyc.spec.settings import load

        client = ControllerClient(load(os.environ).controller_socket)
        return sorted(host["name"] for host in client.hosts() if host["name"].startswith(incomplete))
    except Exception:  # noqa: BLE001  as above
        return []


def places(incomplete: str) -> list[str]:
    """Where a deployment may run: hosts, and this machine."""
    return [name for name in ("local", "any", "rent") if name.startswith(incomplete)] + host_names(incomplete)


def card_names(incomplete: str) -> list[str]:
    """GPUs for the shell's completion, also the next one of a list with commas."""
    try:
        from lyc.planning.catalogue.cards import CARDS
    except Exception:  # noqa: BLE001  as above
        return []
    before, comma, word = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in ("auto", *CARDS) if name.startswith(word.lower())]


Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the deployment.", autocompletion=deployment_names)]
Host = Annotated[str, typer.Argument(metavar="NAME", help="Name of the host.", autocompletion=host_names)]
AcceptHostKey = Annotated[
    str | None,
    typer.Option(
        "--accept-host-key",
        metavar="SHA256:…|accept-new",
        help="Trust this key; accept-new: any, of a machine never seen.",
    ),
]


def provider_names(incomplete: str) -> list[str]:
    """Providers for the shell's completion."""
    try:
        from importlib.metadata import entry_points

        return sorted(one.name for one in entry_points(group="lyc.providers") if one.name.startswith(incomplete))
    except Exception:  # noqa: BLE001  as above
        return []


Provider = Annotated[str, typer.Argument(metavar="NAME", help="Name of the provider.", autocompletion=provider_names)]
Providers = Annotated[
    list[str] | None,
    typer.Option(
        "--provider", metavar="NAME", help="Only of this provider; repeatable.", autocompletion=provider_names
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def duration(text: str | None, flag: str) -> float | None:
    """Seconds of `90s`, `15m`, `7d`. Raises UsageError `invalid-duration`."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as problem:
        raise UsageError("invalid-duration", str(problem), where=flag) from problem


def existing(session: Session, name: str) -> ControllerClient:
    """The client, to ask after a deployment that must exist.

    Raises NotFound `no-such-deployment` without starting a controller where nothing was ever deployed.
    """
    if session.untouched:
        raise NotFound("no-such-deployment", f"there is no deployment {name!r}", hint="lyc ls")
    return session.client()
