"""`lyc ls`: every deployment on one line."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import typer

from lyc.cli.options import Json
from lyc.cli.session import open_session
from lyc.units import show_duration

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.control.documents import DeploymentDocument

EXAMPLES = """
lyc ls
lyc ls --json | jq -r '.deployments[] | select(.state != "ready") | .name'
"""

_COMMIT = re.compile(r"(@[0-9a-f]{8})[0-9a-f]{32}$")
COLOURS = {
    "ready": "green", "failed": "red", "degraded": "yellow", "updating": "cyan", "starting": "cyan", "canary": "cyan",
    "waking": "cyan", "idle": "dim", "paused": "yellow",
}  # fmt: skip


def ls(context: typer.Context, as_json: Json = False) -> None:
    """List the deployments."""
    session = open_session(context, as_json=as_json)
    # Nothing was ever deployed here: the answer is known, and reading must not leave a process behind.
    deployments = [] if session.untouched else session.client().deployments()
    output = session.output
    output.answer({"deployments": deployments}, _table(output, deployments, time.time()) if deployments else "")
    if not deployments and not as_json:
        output.say("no deployments")
        output.hint("lyc deploy MODEL")


def _table(output: Output, deployments: list[DeploymentDocument], now: float) -> str:
    rows = [
        (
            deployment["name"],
            deployment["state"],
            f"{deployment['replicas']['ready']}/{deployment['replicas']['desired']}",
            str(deployment["release"] or "-"),
            deployment["gpu"] or "-",
            hosts(deployment),
            short_model(deployment["model"] or "-"),
            deployment["url"] or "-",
            show_duration(max(0.0, now - deployment["created_at"])),
            price(deployment),
        )
        for deployment in deployments
    ]
    columns = ("NAME", "STATE", "READY", "RELEASE", "GPU", "HOST", "MODEL", "URL", "AGE", "COST/H")
    return output.table(columns, rows, spare=("URL", "GPU", "RELEASE"), optional=("COST/H",))


def price(deployment: DeploymentDocument) -> str:
    """What its rented machines cost an hour, by currency."""
    sums: dict[str, Decimal] = {}
    for one in deployment.get("rented") or []:
        sums[one["currency"]] = sums.get(one["currency"], Decimal(0)) + Decimal(one["per_hour"])
    return " + ".join(f"{amount:.2f} {currency}" for currency, amount in sums.items()) or "-"


def hosts(deployment: DeploymentDocument) -> str:
    """Where its replicas are, with a word on those that do not answer; before there are any, where they shall be."""
    states: dict[str, bool] = {}
    for replica in deployment["replica_list"]:
        if replica["state"] not in ("stopped", "failed"):
            silent = replica["state"] == "unreachable"
            states[replica["host"]] = states.get(replica["host"], False) or silent
    shown = ", ".join(f"{host} (unreachable)" if silent else host for host, silent in states.items())
    return shown or deployment["host"] or "-"


def short_model(model: str) -> str:
    """The reference with its commit cut to as many digits as tell commits apart."""
    return _COMMIT.sub(r"\1", model)
