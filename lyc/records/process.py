"""A supervised process, whoever supervises it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lyc.records.secret import Secret

PORT = "{port}"
"""Stands in argv for a free port of the machine's loopback; the supervisor chooses it and says which in the status."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to keep. id: unique, stable, safe as a file name; starting the same id twice gives the one process.

    directory: private folder of this process (made 0700) for its record, its exit and its log.
    argv and env hold no secret. files: written 0600 before the start. socket: where it is to be reached on this
    machine, for one that listens on `PORT` of another. devices: the cards that it may use, by their index on the
    machine; None = all. image: of the container to run it in, None = none.
    """

    id: str
    directory: Path
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    files: dict[Path, Secret] = field(default_factory=dict)
    socket: Path | None = None
    devices: tuple[int, ...] | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What is true of a process right now.

    state: `absent` (never started), `running`, `exited`, `unknown` (its machine cannot be asked, `error` says why;
    without one it was not heard yet).
    exit_code: negative = killed by that signal; None while running or when nobody saw the end (power cut). ended_at:
    seconds since the epoch. starts: how often its machine has started it by itself, after a crash or a boot; each is
    another process. gave_up: it ended, and its machine will not start it again; crash_loop: because it has died too
    often. error: document of an error. rebooted: its machine itself went down or goes down, or its last start followed
    that: neither was its own doing.
    """

    state: str
    pid: int | None = None
    exit_code: int | None = None
    ended_at: float | None = None
    starts: int = 1
    gave_up: bool = False
    crash_loop: bool = False
    rebooted: bool = False
    error: dict[str, object] | None = None
