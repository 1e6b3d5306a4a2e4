"""A replica after a signal: its state by the table, and what the signal says beside it. Pure."""

from __future__ import annotations

from dataclasses import replace

from lyc.records.deployment import Replica
from lyc.rollout.actions import MoveReplica
from lyc.rollout.transitions import Signal, move


def moved(old: Replica, action: MoveReplica, now: float) -> Replica:
    """What the store shall hold of it. now: seconds since the epoch. Raises Bug `no-such-transition`."""
    new = replace(old, state=move(old.state, action.signal), updated_at=now, error=action.error or old.error)
    match action.signal:
        case Signal.START | Signal.RETRY:
            return replace(new, attempts=old.attempts + 1, retry_at=None, starts=1)
        case Signal.DIED | Signal.UNWELL:
            failures = 1 if action.clean else old.failures + 1
            return replace(new, failures=failures, retry_at=action.until, ready_at=None)
        case Signal.RESTARTED | Signal.FOUND:
            return replace(new, ready_at=None, starts=old.starts if action.starts is None else action.starts)
        case Signal.LOST:
            return replace(new, ready_at=None)
        case Signal.PROVEN:
            return replace(new, ready_at=now, error=None)
        case Signal.DRAIN:
            return replace(new, drain_deadline=action.until)
        case Signal.STOP:
            return replace(new, retry_at=None)
        case Signal.PUT_BY:
            return replace(new, retry_at=action.until)
    return new
