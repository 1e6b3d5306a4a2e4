"""What every verb starts with: the settings, the output, and the way to the controller."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from lyc.cli.output import Output
from lyc.errors import LycError, Unreachable
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
from lyc.spec.settings import Settings, load

if TYPE_CHECKING:
    from lyc.cli.progress import Progress
    from lyc.control.client import ControllerClient


@dataclass(frozen=True, slots=True)
class Session:
    """The settings and the output of one run of one verb."""

    settings: Settings
    output: Output

    def client(self, progress: Progress | None = None) -> ControllerClient:
        """The controller's client; the controller is started if none runs. Raises what the start or the client says."""
        client = self.running()
        if client is None:
            started = time.monotonic()
            self._phase(progress, PhaseStatus.STARTED)
            # The start of a controller needs all of lyc; talking to one needs almost nothing of it.
            from lyc.wiring import ensure_controller

            ensure_controller(self.settings)
            self._phase(progress, PhaseStatus.DONE, time.monotonic() - started)
            client = self.running()
        if client is None:
            raise Unreachable(
                "controller-ended", "the controller has ended right after its start", hint="lyc controller logs"
            )
        return client

    def running(self) -> ControllerClient | None:
        """The client if a controller runs, else None. Raises Failed `other-controller-version`."""
        from lyc.control.client import ControllerClient

        client = ControllerClient(self.settings.controller_socket)
        try:
            info = client.info()
        except Unreachable as problem:
            if problem.ref == "controller-not-running":
                return None
            raise
        self._warn_unheard(info.get("settings", {}))
        return client

    def _warn_unheard(self, running: Mapping[str, str]) -> None:
        """A setting that the running controller was not started with would else be dropped without a word."""
        for env, value in self.settings.unheard(running).items():
            self.output.warn(
                f"{env}={value} is not heard: the controller runs with {running[env]} (lyc controller restart)"
            )

    def progress(self) -> Progress:
        """The display for a long piece of work, as a context."""
        from lyc.cli.progress import make_progress

        return make_progress(self.output)

    @staticmethod
    def _phase(progress: Progress | None, status: PhaseStatus, seconds: float | None = None) -> None:
        if progress is not None:
            progress.event(PhaseEvent(Phase.CONTROLLER, status, seconds=seconds))

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever deployed under this home: then a reading verb need not start a controller."""
        return not self.settings.database.exists()


def open_session(context: typer.Context, *, as_json: bool = False) -> Session:
    """The session of the verb that Typer calls. Raises UsageError for a setting that is wrong."""
    overrides: Mapping[str, str] = context.find_root().obj or {}
    settings = load(os.environ, overrides=overrides)
    return Session(settings, make_output(settings, as_json=as_json))


def make_output(settings: Settings, *, as_json: bool = False) -> Output:
    return Output(
        as_json=as_json,
        plain=settings.plain or os.environ.get("TERM") == "dumb",
        quiet=settings.quiet,
        colour=not settings.no_color and os.environ.get("TERM") != "dumb",
    )


def output_of_last_resort(words: Sequence[str], overrides: Mapping[str, str]) -> Output:
    """The output for an error that may have come before a session: the settings themselves may be what is wrong."""
    said = words[: words.index("--")] if "--" in words else words
    try:
        return make_output(load(os.environ, overrides=overrides), as_json="--json" in said)
    except LycError:
        return Output(as_json="--json" in said, plain=True, colour=False)
