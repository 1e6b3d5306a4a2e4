"""What a long piece of work says while it runs."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Phase(enum.StrEnum):
    """The phases of a deploy, in the order in which a user sees them."""

    CONTROLLER = "start controller"
    RESOLVE = "resolve"
    INSPECT = "inspect"
    RENT = "rent"
    PREPARE = "prepare host"
    INSTALL = "install engine"
    FETCH = "fetch"
    GATEWAY = "start gateway"
    ENGINE = "start engine"
    LOAD = "load weights"
    READY = "ready"
    DRAIN = "drain"
    STOP = "stop"
    RELEASE = "give back"


class PhaseStatus(enum.StrEnum):
    STARTED = "started"
    PROGRESS = "progress"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PhaseEvent:
    """One word from a worker. done and total in bytes when total is set; fraction 0…1 otherwise; seconds when done."""

    phase: Phase
    status: PhaseStatus
    message: str = ""
    done: int | None = None
    total: int | None = None
    fraction: float | None = None
    seconds: float | None = None
