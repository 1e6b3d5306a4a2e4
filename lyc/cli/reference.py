"""Writes the reference pages: `python -m lyc.cli.reference docs`. A test compares them with what stands there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lyc.cli.app import EXIT_CODES, build
from lyc.spec.settings import CREDENTIALS, SETTINGS, Setting

if TYPE_CHECKING:
    from typer._click import Command, Context  # the types alone; Typer offers no public names for them

_NOTE = "<!-- Written by `python -m lyc.cli.reference docs`; do not edit. -->"


def pages() -> dict[str, str]:
    """File name → content of every generated page."""
    return {
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "lyc.schema.json": schema_page(),
    }


def cli_page() -> str:
    """Every verb with its help, as the terminal shows it at 80 columns."""
    command = typer.main.get_command(build())
    documents = _table(("command", "document"), [(f"`{verb}`", text) for verb, text in _DOCUMENTS])
    parts = [_CLI_HEAD.format(note=_NOTE, documents=documents, codes=_codes())]
    parts += [f"## {path}\n\n```text\n{text}\n```\n" for path, text in _helps(command, "lyc")]
    return "\n".join(parts)


def settings_page() -> str:
    """The two tables of settings."""
    rows = [(f"`{row.flag}`" if row.flag else "", f"`{row.env}`", _key(row), row.default, row.help) for row in SETTINGS]
    secrets = [(f"`{row.env}`", "yes" if row.secret else "", row.default, row.help) for row in CREDENTIALS]
    return _SETTINGS_PAGE.format(
        note=_NOTE,
        settings=_table(("flag", "environment", "key in config.toml", "default", "meaning"), rows),
        credentials=_table(("environment", "secret", "default", "meaning"), secrets),
    )


def schema_page() -> str:
    """The JSON schema of lyc.toml."""
    from lyc.spec.deployment import schema

    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _helps(command: Command, path: str, parent: Context | None = None) -> Iterator[tuple[str, str]]:
    context = command.make_context(
        path.rpartition(" ")[2], [], parent=parent, resilient_parsing=True, max_content_width=80, terminal_width=80
    )
    context.info_name = path if parent is None else path.rpartition(" ")[2]
    yield path, command.get_help(context).rstrip()
    for name in getattr(command, "commands", {}):
        yield from _helps(command.commands[name], f"{path} {name}", context)  # type: ignore[attr-defined]  # a group


def _codes() -> str:
    return _table(("code", "meaning"), [(str(code), text) for code, text in EXIT_CODES])


def _key(row: Setting) -> str:
    return f"`{row.key}`" if row.key else ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


_DOCUMENTS = (
    (
        "lyc plan",
        "`{model, chosen, nearest, fits: [Fit], rejected: [Fit], notes}`, see [planning](plan.md#the-document);"
        " exit 5 where `fits` is empty",
    ),
    (
        "lyc plan --check",
        "`{name, release, model, band_gib, compared: [{what, predicted, reported, error}]}`",
    ),
    (
        "lyc gpus",
        "`{gpus: [Gpu], rates}`, see [GPUs and prices](gpus.md#the-document)",
    ),
    (
        "lyc gpus NAME",
        "`{gpu: Gpu}`",
    ),
    (
        "lyc deploy",
        "`{name, state, url, key, model, release, host, changed, served_name, seconds, proof: {kind, answer,"
        " seconds}}`; `key` is null unless it was made just now",
    ),
    (
        "lyc deploy --no-wait",
        "`{name, state, url, key, model, release, host, operation}` and exit 8; what is not known yet is null",
    ),
    ("lyc ls", "`{deployments: [Deployment]}`"),
    (
        "lyc status",
        "`Deployment`: `{name, state, url, model, release, host, gpu, engine, min, max, replicas: {ready, desired},"
        " why, wake, ready_in, replica_list, releases, operation, error, warnings, created_at, updated_at}`,"
        " see [the controller's API](controller-api.md)",
    ),
    ("lyc logs", "a line each: `{replica, at, line}`"),
    ("lyc chat", "`{model, answer, seconds}`"),
    (
        "lyc scale",
        "`{name, state, release, paused, policy: {min, max, target_concurrency, idle, idle_sleep,"
        " idle_release, schedule, wake_timeout, hosts}, bounds:"
        " {min, max}, desired, ready, target, why, last_request, next_change, wake, wakes, ready_in, load,"
        " canary, homeless, warnings, replicas}`,"
        " see [the controller's API](controller-api.md)",
    ),
    (
        "… --dry-run",
        "of `scale`, `pause`, `resume`, `restart`, `rollback`, `promote` and `down`: `{name, dry_run, changed, changes,"
        " steps: [{action, subject, text}], release, operation}`",
    ),
    (
        "lyc deploy --dry-run",
        "the same with `{model, host, gpu, engine, max_model_len, rent, warnings}`; what is decided on a machine that"
        " is yet to be rented is null",
    ),
    ("lyc pause", "`{name, state, changed}`"),
    (
        "lyc resume, restart, rollback",
        "`{name, changed, changes, state, url, release, ready, desired, seconds}`; with `--no-wait` `{name, changed,"
        " changes, release, operation}` and exit 8",
    ),
    (
        "lyc releases",
        "`{name, target, canary, bake, releases: [{number, state, model, host, gpu, image, created_at, active_at,"
        " target, serves, share, ready, replicas, error}]}`",
    ),
    ("lyc promote", "`{name, release, changes}`"),
    ("lyc events", "a line each: `{id, at, deployment, actor, action, subject, cause, result, detail}`"),
    ("lyc down", "`{name, state, stopped, seconds}`"),
    (
        "lyc cost",
        "`{name, by, since, until, currency, lines: [Line], total: Line, per_hour, served_since, further}`,"
        " see [costs](cost.md#the-document)",
    ),
    ("lyc keys create", "`{id, key, label, prefix, created_at, expires_at}`"),
    ("lyc keys ls", "`{deployment, keys: [{id, label, prefix, created_at, expires_at, revoked_at}]}`"),
    ("lyc keys revoke", "`{deployment, id, revoked_at}`"),
    ("lyc hosts add", "`Host` with `new`: whether it was not known before"),
    ("lyc hosts ls", "`{hosts: [Host]}`"),
    (
        "lyc hosts show",
        "`Host` with `use`, what lyc has and does there now, and `use_error`, why that could not be asked; either may"
        " be null; see [hosts](hosts.md#the-documents)",
    ),
    ("lyc hosts check", "`Host` with `fit`: whether no check failed; exit 1 where it is false"),
    ("lyc hosts prepare", "`{name, changed}`"),
    (
        "lyc hosts prune",
        "`{name, dry_run, removed: [{kind, name, bytes}], bytes}`; `kind` is `engine`, `weights` or `leftovers`",
    ),
    ("lyc hosts unlock", "`{name, unlocked, lock: {owner, who, reason, age, ours} or null}`"),
    ("lyc hosts rm", "`{name, removed}`, and `purged` with `--purge`"),
    ("lyc controller start", "as `status`, with `started`"),
    ("lyc controller restart", "as `start`"),
    ("lyc controller status", "`{running, lyc_version, api, pid, started_at, home, log, gateway}`"),
    ("lyc controller stop", "`{running, stopped, serving: [names]}`"),
    ("lyc doctor", "`{healthy, findings: [{check, state, found, remedy}]}`; `state` is ok, warning or fail"),
)

_CLI_HEAD = """\
# The command line

{note}

stdout is the answer, stderr is the talk. With `--json` there is one JSON document on stdout and nothing else, also for
an error: `{{"version": 1, "error": {{kind, ref, what, why, where, hint, detail, exit_code, retry}}}}`. `version` stands
in every document; it grows when a key changes its meaning or goes, and new keys do not count. `lyc logs --json` and
`lyc events --json` are streams: a document a line.

Scripts may match on exit codes and on `ref`, never on texts.

{documents}

## Exit codes

{codes}

`lyc logs -f`, `lyc events -f` and `lyc controller logs -f` end with 0 on Ctrl-C. A reader that goes away
(`lyc logs x | head`) is no error either. `lyc controller status` exits 6 when no controller runs. A controller of
another version of lyc is error `other-controller-version`, exit 1: `lyc controller restart` mends it without dropping a
request.
"""

_SETTINGS_PAGE = """\
# Settings

{note}

A flag wins over the environment, that over `config.toml` in the home, that over the default. The flags may stand
anywhere on the line. An empty variable counts as not set. A relative path is relative to the current folder, in
`config.toml` to the home.

The controller keeps the settings it was started with; `lyc controller restart` with new ones changes them.

{settings}

`NO_COLOR` means on with any value that is not empty (no-color.org); the other switches take `1` or `0`.

## Credentials

They have no flags: what stands on a command line can be read by every user of the machine. `lyc deploy` hands them to
the controller for that one fetch. Without `HF_TOKEN`, the token that `hf auth login` wrote is taken.

{credentials}
"""


def main(folder: Path) -> None:
    """Write the pages into `folder`."""
    for name, content in pages().items():
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
