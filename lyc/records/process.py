"""A supervised process, whoever supervises it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lyc.records.secret import Secret


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to keep. id: unique, stable, safe as a file name; starting the same id twice gives the one process.

    directory: private folder of this process (made 0700) for its record, its exit and its log.
    argv and env hold no secret. files: written 0600 before the start.
    """

    id: str
    directory: Path
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    files: dict[Path, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What is true of a process right now.

    state: `absent` (never started), `running`, `exited`. exit_code: negative = killed by that signal; None while
    running or when nobody saw the end (power cut). ended_at: seconds since the epoch.
    """

    state: str
    pid: int | None = None
    exit_code: int | None = None
    ended_at: float | None = None
