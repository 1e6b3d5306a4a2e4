"""How a long piece of work looks while it runs: live phases on a terminal, one line a phase elsewhere.

Both are fed with the same events. The state of the phases is a value (`Phases`) that knows neither clock nor terminal.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from lyc.cli.output import Output
from lyc.records.progress import PhaseEvent, PhaseStatus
from lyc.units import show_bytes, show_duration

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

NAME_WIDTH = 17
BAR_WIDTH = 20
WHILE_SECONDS, LEAST_SECONDS = 10.0, 1.0
"""Over so long a rate is taken, and from so long on it is shown."""
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass(frozen=True, slots=True)
class Running:
    """A phase under way. since: the clock's seconds at its start. marks: (seconds, bytes done) of the last while."""

    since: float
    message: str = ""
    done: int | None = None
    total: int | None = None
    fraction: float | None = None
    marks: tuple[tuple[float, int], ...] = field(default=(), compare=False)

    def rate(self, now: float) -> float | None:
        """Bytes a second over the last while; None where that cannot be told yet. Falls while nothing comes."""
        if not self.marks or (seconds := now - self.marks[0][0]) < LEAST_SECONDS:
            return None
        return max(0.0, (self.marks[-1][1] - self.marks[0][1]) / seconds)


@dataclass(frozen=True, slots=True)
class Ended:
    """A phase that is over, as it is to be shown."""

    phase: str
    status: str
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Phases:
    """The phases that run, in the order of their start."""

    running: Mapping[str, Running] = field(default_factory=dict)

    def after(self, event: PhaseEvent, now: float) -> tuple[Phases, Ended | None]:
        """The state after an event, and the phase that it ended, if it did."""
        before = self.running.get(event.phase)
        if event.status in {PhaseStatus.STARTED, PhaseStatus.PROGRESS}:
            known = before or Running(since=now)
            changed = replace(
                known,
                message=event.message or known.message,
                done=event.done if event.done is not None else known.done,
                total=event.total if event.total is not None else known.total,
                fraction=event.fraction if event.fraction is not None else known.fraction,
                marks=_marked(known, event, now),
            )
            return Phases({**self.running, event.phase: changed}), None
        seconds = event.seconds if event.seconds is not None else now - before.since if before else 0.0
        rest = {phase: running for phase, running in self.running.items() if phase != event.phase}
        return Phases(rest), Ended(event.phase, event.status, seconds, event.message)


def _marked(known: Running, event: PhaseEvent, now: float) -> tuple[tuple[float, int], ...]:
    """With another total, or fewer bytes, something else is counted from now on."""
    if event.done is None:
        return known.marks
    if event.total != known.total or event.done < (known.done or 0):
        return ((now, event.done),)
    old = next((index for index, (at, _) in enumerate(known.marks) if now - at <= WHILE_SECONDS), len(known.marks))
    return (*known.marks[max(0, old - 1) :], (now, event.done))


class Progress(Protocol):
    """A display of phases, used as a context: at its end nothing of the running phases stays on the screen."""

    def event(self, event: PhaseEvent) -> None: ...

    def warn(self, message: str) -> None: ...

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def make_progress(output: Output) -> Progress:
    return LiveProgress(output) if output.live else LineProgress(output)


class LineProgress:
    """One plain line when a phase ends; nothing at all in quiet mode."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._phases = Phases()

    def event(self, event: PhaseEvent) -> None:
        self._phases, ended = self._phases.after(event, time.monotonic())
        if ended is not None:
            self._output.say(ended_line(ended))

    def warn(self, message: str) -> None:
        self._output.warn(message)

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class LiveProgress:
    """Phases on a terminal: ended ones scroll up and stay, running ones are redrawn below them."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._phases = Phases()
        self._live: Live | None = None

    def event(self, event: PhaseEvent) -> None:
        self._phases, ended = self._phases.after(event, time.monotonic())
        if ended is None:
            return
        colour = {PhaseStatus.DONE: "green", PhaseStatus.FAILED: "red"}.get(PhaseStatus(ended.status), "dim")
        mark = {PhaseStatus.DONE: "✓", PhaseStatus.FAILED: "✗"}.get(PhaseStatus(ended.status), "-")
        self._above(f"{self._output.paint(mark, colour, on=self._output.stderr)} {ended_line(ended)}", cut=True)

    def warn(self, message: str) -> None:
        self._above(f"{self._output.paint('warning', 'yellow', on=self._output.stderr)}: {message}")

    def _above(self, line: str, *, cut: bool = False) -> None:
        if self._live is None:
            self._output.say(line)
        else:
            from rich.text import Text

            style = {"no_wrap": True, "overflow": "ellipsis"} if cut else {"soft_wrap": True}
            self._live.console.print(Text.from_ansi(line), **style)

    def __enter__(self) -> LiveProgress:
        # Rich takes a fifth of a second to import: only who looks at a terminal waits for it.
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._output.stderr, no_color=not self._output.colour, highlight=False)
        self._live = Live(self, console=console, transient=True, refresh_per_second=10, redirect_stdout=False)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._phases = Phases()
            self._live.stop()
            self._live = None
            self._output.stderr.flush()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        now = time.monotonic()
        for phase, running in list(self._phases.running.items())[: max(1, options.size.height - 2)]:
            yield Text(running_line(phase, running, now, options.max_width), no_wrap=True, overflow="ellipsis")


def ended_line(ended: Ended) -> str:
    """`resolve           0.8s  hf:acme/support-8b@3f2a…`"""
    word = {PhaseStatus.SKIPPED: "skipped", PhaseStatus.FAILED: "failed after " + show_duration(ended.seconds)}
    took = word.get(PhaseStatus(ended.status), show_duration(ended.seconds))
    return f"{ended.phase:<{NAME_WIDTH}}{took:>6}  {ended.message}".rstrip()


def running_line(phase: str, running: Running, now: float, width: int) -> str:
    """`⠹ fetch            12.3s  ━━━━━━━━────────────  40%  1.2 GiB of 3.0 GiB, 98 MiB/s`, at most `width` long."""
    elapsed = max(0.0, now - running.since)
    parts = [f"{_FRAMES[int(elapsed * 10) % len(_FRAMES)]} {phase:<{NAME_WIDTH}}{show_duration(elapsed):>6}"]
    fraction = running.fraction
    if running.total:
        fraction = (running.done or 0) / running.total
    if fraction is not None:
        filled = round(min(1.0, max(0.0, fraction)) * BAR_WIDTH)
        parts.append(f"{'━' * filled}{'─' * (BAR_WIDTH - filled)} {min(100, int(fraction * 100)):>3}%")
    if running.total:
        rate = running.rate(now)
        speed = f", {show_bytes(round(rate))}/s" if rate is not None else ""
        parts.append(f"{show_bytes(running.done or 0)} of {show_bytes(running.total)}{speed}")
    if running.message:
        parts.append(running.message)
    line = "  ".join(parts)
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"


def phase_event(data: Mapping[str, object]) -> PhaseEvent | None:
    """The event in a `phase` document of the controller; None if it names a phase that this lyc does not know."""
    from lyc.records.progress import Phase

    try:
        phase, status = Phase(str(data.get("phase"))), PhaseStatus(str(data.get("status")))
    except ValueError:
        return None
    done, total = data.get("done"), data.get("total")
    fraction, seconds = data.get("fraction"), data.get("seconds")
    return PhaseEvent(
        phase,
        status,
        str(data.get("message") or ""),
        done=done if isinstance(done, int) else None,
        total=total if isinstance(total, int) else None,
        fraction=float(fraction) if isinstance(fraction, int | float) else None,
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
    )
