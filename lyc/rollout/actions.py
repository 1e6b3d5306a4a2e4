"""What can be decided. Each action is idempotent, and the store is told of it before the world is."""

from __future__ import annotations

from dataclasses import dataclass

from lyc.records.deployment import ReleaseState
from lyc.rollout.transitions import Signal


@dataclass(frozen=True, slots=True)
class CreateReplica:
    """Write down the intent of one more replica of a release. host: where; None = where the release was deployed to."""

    release: int
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Expand:
    """Look for one more host for a release, of which `count` replicas have no room."""

    release: int
    count: int


@dataclass(frozen=True, slots=True)
class MoveReplica:
    """Give a replica a signal. until: when to retry (DIED, UNWELL), to end a drain (DRAIN), or when another may be
    started in its stead (PUT_BY, None = at once). clean: forget old failures. starts: how often its host has started it
    by now (RESTARTED, FOUND). sleeps: whether its engine is started so that it can sleep (START, RETRY).
    """

    replica: str
    signal: Signal
    error: dict[str, object] | None = None
    until: float | None = None
    clean: bool = False
    starts: int | None = None
    sleeps: bool = False


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Start the engine of a replica, unless it runs."""

    replica: str


@dataclass(frozen=True, slots=True)
class SleepEngine:
    """Let the engine of a replica give its cards back, and keep its weights in the memory of the host."""

    replica: str


@dataclass(frozen=True, slots=True)
class WakeEngine:
    """The way back."""

    replica: str


@dataclass(frozen=True, slots=True)
class StopProcess:
    """Stop the engine of a replica: ask, and after `grace` seconds kill."""

    replica: str
    grace: float


@dataclass(frozen=True, slots=True)
class SettleRelease:
    """A release became a canary, active, superseded or failed. One that becomes active has a new `active_at`, and what
    failed before is forgotten; not so where it is `back`: it serves again in place of a release that failed.
    """

    release: int
    state: ReleaseState
    error: dict[str, object] | None = None
    back: bool = False


@dataclass(frozen=True, slots=True)
class Retarget:
    """Serve another release from now on, None = nothing is left to serve. error: why the old wish was given up."""

    release: int | None
    error: dict[str, object] | None


@dataclass(frozen=True, slots=True)
class RemoveDeployment:
    """Nothing of it runs any more: forget it."""


OnReplica = MoveReplica | StartProcess | SleepEngine | WakeEngine | StopProcess
Action = CreateReplica | Expand | OnReplica | SettleRelease | Retarget | RemoveDeployment
