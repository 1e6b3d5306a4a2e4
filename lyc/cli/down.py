"""`lyc down NAME`: let running requests end, then stop and forget a deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from lyc.cli.changing import DryRun, foretold, path
from lyc.cli.options import Json, Name, duration, existing
from lyc.cli.session import open_session
from lyc.errors import Interrupted, Pending

if TYPE_CHECKING:
    from lyc.control.documents import DeploymentDocument
    from lyc.control.scale_documents import ChangeDocument

EXAMPLES = """
lyc down support-8b
lyc down support-8b --yes --drain-timeout 2m
lyc down support-8b --force
lyc down support-8b --dry-run
"""
_DRAIN_SECONDS = 30.0


def down(
    context: typer.Context,
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    drain_timeout: Annotated[
        str, typer.Option("--drain-timeout", metavar="TIME", help="How long running requests may take to end.")
    ] = "30s",
    force: Annotated[
        bool,
        typer.Option("--force", help="Do not wait for hosts that do not answer; what runs there ends when they do."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is gone, or exit 8 at once.")] = True,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Drain and stop a deployment.

    Running requests may end, then the replicas stop, and the keys are forgotten. The weights stay where they are.
    """
    from lyc.cli.follow import follow

    session = open_session(context, as_json=as_json)
    drain = duration(drain_timeout, "--drain-timeout")
    client = existing(session, name)
    deployment = client.deployment(name)
    output = session.output
    if dry_run:
        foretold(output, cast("ChangeDocument", client.call("GET", path(name, "down"))))
        return
    if not yes:
        output.say(_will_stop(deployment))
        if not output.confirm("Stop it?"):
            raise Interrupted("declined", "nothing was stopped")
    silent = dict.fromkeys(one["host"] for one in deployment["replica_list"] if one["state"] == "unreachable")
    if silent and not force:
        output.warn(
            f"{', '.join(silent)} does not answer, and is waited for: lyc down {name} --force goes on without it"
        )
    operation = client.down(name, drain_timeout=_DRAIN_SECONDS if drain is None else drain, force=force)
    if not wait:
        output.answer({"name": name, "state": "stopping", "operation": operation}, "")
        output.say(f"{name} is being stopped in the background")
        output.hint("lyc ls")
        raise typer.Exit(Pending.exit_code)
    try:
        with session.progress() as progress:
            result = follow(session.client, operation, progress)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted", "you stopped watching", why=f"{name} is being stopped in the background", hint="lyc ls"
        ) from None
    output.done(f"{name} is stopped")
    output.answer({"name": name, "state": "stopped", **result}, "")


def _will_stop(deployment: DeploymentDocument) -> str:
    ready, url = deployment["replicas"]["ready"], deployment["url"] or "no URL yet"
    replicas = f"{ready} of {deployment['replicas']['desired']} replicas ready on {deployment['host'] or 'no host yet'}"
    return f"{deployment['name']}: {deployment['state']}, {replicas}, {url}\nIts URL and its keys end with it."
