"""The verbs put together: the one place that says which there are, in the order in which help shows them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from lyc import __version__
from lyc.cli import (
    budget,
    chat,
    completion,
    controller,
    cost,
    deploy,
    doctor,
    down,
    events,
    gc,
    gpus,
    hosts,
    hosts_add,
    hosts_care,
    keys,
    logs,
    ls,
    pause,
    plan,
    promote,
    providers,
    releases,
    restart,
    resume,
    rollback,
    scale,
    status,
)
from lyc.cli.commands import Command, Group
from lyc.spec.settings import SETTINGS

EXIT_CODES = (
    (0, "ok"),
    (1, "failed"),
    (2, "usage"),
    (3, "the spec is wrong"),
    (4, "not authorised"),
    (5, "nothing fits, or no capacity"),
    (6, "unreachable"),
    (7, "locked by another run"),
    (8, "still pending (--no-wait, or the wait ran out)"),
    (70, "a bug in lyc"),
    (130, "interrupted"),
)


def build() -> typer.Typer:
    """The application. Typer's own completion flags and tracebacks are off: `lyc completion` and `main` do both."""
    app = typer.Typer(
        name="lyc",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help starts three times as fast, and reads as well
        epilog=f"{_settings()}\n\n{_examples(deploy.EXAMPLES)}\n\n{_exit_codes()}",
    )
    app.callback(cls=Group, invoke_without_command=True)(root)
    for name, function, examples in (
        ("plan", plan.plan, plan.EXAMPLES),
        ("gpus", gpus.gpus, gpus.EXAMPLES),
        ("deploy", deploy.deploy, deploy.EXAMPLES),
        ("ls", ls.ls, ls.EXAMPLES),
        ("status", status.status, status.EXAMPLES),
        ("logs", logs.logs, logs.EXAMPLES),
        ("chat", chat.chat, chat.EXAMPLES),
        ("scale", scale.scale, scale.EXAMPLES),
        ("pause", pause.pause, pause.EXAMPLES),
        ("resume", resume.resume, resume.EXAMPLES),
        ("restart", restart.restart, restart.EXAMPLES),
        ("releases", releases.releases, releases.EXAMPLES),
        ("rollback", rollback.rollback, rollback.EXAMPLES),
        ("promote", promote.promote, promote.EXAMPLES),
        ("events", events.events, events.EXAMPLES),
        ("down", down.down, down.EXAMPLES),
        ("cost", cost.cost, cost.EXAMPLES),
        ("budget", budget.budget, budget.EXAMPLES),
        ("gc", gc.gc, gc.EXAMPLES),
    ):
        app.command(name, cls=Command, epilog=_examples(examples))(function)
    app.add_typer(_keys(), name="keys")
    app.add_typer(_hosts(), name="hosts")
    app.add_typer(_providers(), name="providers")
    app.add_typer(_controller(), name="controller")
    app.command("doctor", cls=Command, epilog=_examples(doctor.EXAMPLES))(doctor.doctor)
    app.command("completion", cls=Command, epilog=_examples(completion.EXAMPLES))(completion.completion)
    if completion.VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # as Typer itself imports it

        completion_init()
    return app


def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Turn fine-tuned weights into a private, authenticated, OpenAI-compatible endpoint."""
    if version:
        typer.echo(f"lyc {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _keys() -> typer.Typer:
    group = typer.Typer(rich_markup_mode=None, help="Make, list and revoke the keys of a deployment.")
    group.callback(cls=Group, invoke_without_command=True)(_help)
    group.command("create", cls=Command, epilog=_examples(keys.CREATE_EXAMPLES))(keys.create)
    group.command("ls", cls=Command, epilog=_examples(keys.LS_EXAMPLES))(keys.ls)
    group.command("revoke", cls=Command, epilog=_examples(keys.REVOKE_EXAMPLES))(keys.revoke)
    return group


def _hosts() -> typer.Typer:
    group = typer.Typer(rich_markup_mode=None, help="Make machines known over SSH, and look after them.")
    group.callback(cls=Group, invoke_without_command=True)(_help)
    for name, function, examples in (
        ("add", hosts_add.add, hosts_add.ADD_EXAMPLES),
        ("ls", hosts.ls, hosts.LS_EXAMPLES),
        ("show", hosts.show, hosts.SHOW_EXAMPLES),
        ("check", hosts.check, hosts.CHECK_EXAMPLES),
        ("prepare", hosts_care.prepare, hosts_care.PREPARE_EXAMPLES),
        ("prune", hosts_care.prune, hosts_care.PRUNE_EXAMPLES),
        ("unlock", hosts_care.unlock, hosts_care.UNLOCK_EXAMPLES),
        ("rm", hosts_care.rm, hosts_care.RM_EXAMPLES),
        ("ssh", hosts.ssh, hosts.SSH_EXAMPLES),
    ):
        group.command(name, cls=Command, epilog=_examples(examples))(function)
    return group


def _providers() -> typer.Typer:
    group = typer.Typer(rich_markup_mode=None, help="Rent machines: who there is, and your accounts.")
    group.callback(cls=Group, invoke_without_command=True)(_help)
    group.command("ls", cls=Command, epilog=_examples(providers.LS_EXAMPLES))(providers.ls)
    group.command("check", cls=Command, epilog=_examples(providers.CHECK_EXAMPLES))(providers.check)
    group.command("login", cls=Command, epilog=_examples(providers.LOGIN_EXAMPLES))(providers.login)
    group.command("logout", cls=Command, epilog=_examples(providers.LOGOUT_EXAMPLES))(providers.logout)
    return group


def _controller() -> typer.Typer:
    group = typer.Typer(rich_markup_mode=None, help="Look after the controller.")
    group.callback(cls=Group, invoke_without_command=True)(_help)
    group.command("start", cls=Command, epilog=_examples(controller.START_EXAMPLES))(controller.start)
    group.command("stop", cls=Command, epilog=_examples(controller.STOP_EXAMPLES))(controller.stop)
    group.command("restart", cls=Command, epilog=_examples(controller.RESTART_EXAMPLES))(controller.restart)
    group.command("status", cls=Command, epilog=_examples(controller.STATUS_EXAMPLES))(controller.status)
    group.command("logs", cls=Command, epilog=_examples(controller.LOGS_EXAMPLES))(controller.logs)
    return group


def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _settings() -> str:
    """The flags of the table of settings. `main` takes them off the line, so Typer does not know them."""
    rows = [(entry.usage, entry.help) for entry in SETTINGS if entry.flag]
    width = max(len(usage) for usage, _ in rows) + 2
    lines = "\n".join(f"  {usage:<{width}}{text}" for usage, text in rows)
    return f"\b\nSettings, anywhere on the line:\n{lines}"


def _exit_codes() -> str:
    return "\b\nExit codes:\n" + "\n".join(f"  {code:<4}{text}" for code, text in EXIT_CODES)


def _examples(text: str) -> str:
    lines = "\n".join(f"  {line}" for line in text.strip().splitlines())
    return f"\b\nExamples:\n{lines}"  # \b keeps the line breaks
