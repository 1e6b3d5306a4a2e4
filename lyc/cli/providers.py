"""`lyc providers ls|check|login|logout`: who rents machines, and the user's accounts there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import quote

import typer

from lyc.cli.options import Json, Provider
from lyc.cli.session import open_session
from lyc.errors import UsageError

if TYPE_CHECKING:
    from lyc.cli.session import Session

LS_EXAMPLES = """
lyc providers ls
lyc providers ls --json | jq -r '.providers[] | select(.source) | .name'
"""
CHECK_EXAMPLES = """
lyc providers check lyceum
"""
LOGIN_EXAMPLES = """
lyc providers login lyceum
printenv MY_KEY | lyc providers login lyceum
lyc providers login verda --keyring
"""
LOGOUT_EXAMPLES = """
lyc providers logout lyceum
"""
CHECK_SECONDS = 120.0


def ls(context: typer.Context, as_json: Json = False) -> None:
    """List the providers that lyc can rent from, and which of them there is a credential for."""
    session = open_session(context, as_json=as_json)
    found = cast("list[dict[str, Any]]", session.client().call("GET", "/v1/providers")["providers"])
    output = session.output
    rows = [
        (
            one["name"],
            one["title"],
            one["owner"] or "unknown",
            one["jurisdiction"] or "unknown",
            " ".join(one["countries"]) or "unknown",
            _limit(one),
            one["source"] or "-",
        )
        for one in found
    ]
    columns = ("NAME", "PROVIDER", "OWNER", "LAW OF", "MACHINES IN", "TIME LIMIT", "CREDENTIAL")
    output.answer({"providers": found}, output.table(columns, rows, spare=("TIME LIMIT", "OWNER", "PROVIDER")))
    missing = next((one for one in found if not one["source"]), None)
    if missing is not None:
        output.hint(f"lyc providers login {missing['name']}   ({missing['credentials_page']})")


def check(context: typer.Context, name: Provider, as_json: Json = False) -> None:
    """Ask a provider whether it takes the credential, what it sells, and what is rented there."""
    from lyc.cli.credentials import for_providers

    session = open_session(context, as_json=as_json)
    body = {"credentials": for_providers(os.environ)}
    path = f"/v1/providers/{quote(name, safe='')}/check"
    found = session.client().call("POST", path, body=body, timeout=CHECK_SECONDS)
    output = session.output
    machines = cast("list[dict[str, Any]]", found["machines"])
    rows = [(one["id"], one["word"], one["address"] or "-", one["run_id"] or "-") for one in machines]
    output.answer(found, output.table(("MACHINE", "STATE", "ADDRESS", "RUN"), rows) if rows else "")
    error = cast("dict[str, Any] | None", found["error"])
    if error is not None:
        from lyc.errors import from_document

        problem = from_document(error)
        if output.as_json:  # it is in the document already
            raise typer.Exit(problem.exit_code)
        raise problem
    whose = f" as {found['account']}" if found["account"] else ""
    output.done(f"{found['title']} takes the credential{whose}, from {found['source']}")
    output.done(f"{found['in_stock']} of {found['offers']} kinds of machines are in stock")
    if not rows:
        output.done("nothing of lyc's is rented there")


def login(
    context: typer.Context,
    name: Provider,
    *,
    keyring: Annotated[bool, typer.Option("--keyring", help="Keep it in the system's keyring.")] = False,
    as_json: Json = False,
) -> None:
    """Keep the credential of a provider, once the provider has taken it.

    It is asked for without showing it, or read from the standard input, one line for each part; it is never an
    argument, which everybody on the machine could see. The file is readable by you alone.
    """
    session = open_session(context, as_json=as_json)
    client = session.client()
    found = cast("list[dict[str, Any]]", client.call("GET", "/v1/providers")["providers"])
    one = next((row for row in found if row["name"] == name), None)
    if one is None:
        names = ", ".join(row["name"] for row in found)
        raise UsageError("unknown-provider", f"there is no provider {name!r}", hint=f"providers are {names}")
    from lyc.providers.accounts import endpoint_variable

    session.output.say(f"a credential of {one['title']} is made at {one['credentials_page']}")
    values = {row["env"]: value for row in one["credentials"] if (value := _value(session, row))}
    if address := os.environ.get(endpoint_variable(name)):
        values[endpoint_variable(name)] = address
    body = {"credentials": values, "keyring": keyring}
    done = client.call("PUT", f"/v1/providers/{quote(name, safe='')}", body=body, timeout=CHECK_SECONDS)
    session.output.answer(done, "")
    whose = f" as {done['account']}" if done["account"] else ""
    session.output.done(f"{one['title']} takes it{whose}; it is kept in {done['source']}")
    session.output.hint("lyc gpus --available")


def logout(context: typer.Context, name: Provider, as_json: Json = False) -> None:
    """Forget the credential of a provider."""
    session = open_session(context, as_json=as_json)
    done = session.client().call("DELETE", f"/v1/providers/{quote(name, safe='')}")
    session.output.answer(done, "")
    session.output.done(f"the credential of {name} is forgotten" if done["removed"] else f"{name} had none")


def _value(session: Session, row: dict[str, Any]) -> str:
    """One part of a credential: from the environment, the standard input, or a prompt that shows nothing."""
    if value := os.environ.get(row["env"]):
        session.output.say(f"{row['env']} is taken from the environment")
        return value
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    import getpass

    optional = "" if row["required"] else ", may be left empty"
    return getpass.getpass(f"{row['env']} ({row['help'].rstrip('.')}{optional}): ", stream=sys.stderr).strip()


def _limit(one: dict[str, Any]) -> str:
    return "yes" if one["time_limit"] else "by lease"
