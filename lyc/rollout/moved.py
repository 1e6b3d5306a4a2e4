"""A replica after a signal: its state by the table, and what the signal says beside it; and after a clock was set.
Pure.
"""

from __future__ import annotations

from dataclasses import replace

from lyc.records.deployment import Replica
from lyc.rollout.actions import MoveReplica
from lyc.rollout.transitions import ENDED, Signal, move


def moved(old: Replica, action: MoveReplica, now: float) -> Replica:
    """What the store shall hold of it. now: seconds since the epoch. Raises Bug `no-such-transition`."""
    state = move(old.state, action.signal)
    new = replace(old, state=state, updated_at=now, error=action.error or old.error, woken_at=None)
    match action.signal:
        case Signal.START | Signal.RETRY:
            return replace(new, attempts=old.attempts + 1, retry_at=None, starts=1, sleeps=action.sleeps)
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
        case Signal.SLEEP | Signal.STAY:
            return replace(new, drain_deadline=None)
        case Signal.WAKE:
            return replace(new, woken_at=now)
        case Signal.STOP:
            return replace(new, retry_at=None)
        case Signal.PUT_BY:
            return replace(new, retry_at=action.until)
    return new


def shifted(old: Replica, leap: float) -> Replica:
    """What the store shall hold of it after the clock was set by so many seconds: what it waits for takes as long as it
    would have. When it was made, and became ready, stay as they were.
    """
    if old.state in ENDED:
        return old
    return replace(
        old,
        updated_at=old.updated_at + leap,
        retry_at=None if old.retry_at is None else old.retry_at + leap,
        drain_deadline=None if old.drain_deadline is None else old.drain_deadline + leap,
        woken_at=None if old.woken_at is None else old.woken_at + leap,
    )
