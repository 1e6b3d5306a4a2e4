"""A wish being carried out, and what it says meanwhile."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class OperationKind(enum.StrEnum):
    DEPLOY = "deploy"
    DOWN = "down"
    ROLLBACK = "rollback"
    RESTART = "restart"
    RESUME = "resume"
    EXPAND = "expand"


class OperationState(enum.StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Operation:
    """Written before its work begins, so that a controller that was killed takes it up again.

    request: what is needed to run it again; holds no credentials.
    """

    id: str
    kind: OperationKind
    deployment: str
    request: dict[str, object]
    state: OperationState
    created_at: float
    finished_at: float | None = None
    result: dict[str, object] | None = None
    error: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class OperationEvent:
    """seq grows over the life of the operation, across restarts too. kind: `phase | warning | result | error`."""

    seq: int
    at: float
    kind: str
    data: dict[str, object] = field(default_factory=dict)
