"""THE table: which state a replica moves to on which signal. Nothing else in lyc assigns a replica's state.

             ┌───────────── retry ──────────────┐
PENDING → STARTING → LOADING → PROBING → READY → BACKOFF          (died, will be tried again)
    │         └─────────┴─────────┴────────┴──→ FAILED            (will not be tried again)
    │                                      READY → DRAINING → STOPPING → STOPPED
    └──────────────── stop ───────────────────────────────────────↗
On another host: READY → UNREACHABLE → STARTING (lost, found), and back to STARTING whenever the host itself has started
the process again (restarted).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from lyc.errors import Bug
from lyc.records.deployment import ReplicaState as State


class Signal(enum.StrEnum):
    """What was seen of a replica, or what is wanted of it."""

    START = "start"
    LOADING = "loading"  # the engine's log says that it reads weights
    LISTENING = "listening"  # its health route answers
    PROVEN = "proven"  # one real completion came back
    DIED = "died"  # the process ended unasked; it will be tried again
    GAVE_UP = "gave-up"  # it ended unasked or cannot answer, and trying again is pointless
    RETRY = "retry"
    DRAIN = "drain"
    STOP = "stop"
    GONE = "gone"  # its process has ended as asked
    LOST = "lost"  # its host does not answer any more
    FOUND = "found"  # its host answers again; whether the engine does is not known yet
    RESTARTED = "restarted"  # its host has started the process again by itself


TABLE: Mapping[tuple[State, Signal], State] = {
    (State.PENDING, Signal.START): State.STARTING,
    (State.PENDING, Signal.STOP): State.STOPPED,
    (State.STARTING, Signal.LOADING): State.LOADING,
    (State.STARTING, Signal.LISTENING): State.PROBING,
    (State.STARTING, Signal.DIED): State.BACKOFF,
    (State.STARTING, Signal.GAVE_UP): State.FAILED,
    (State.STARTING, Signal.STOP): State.STOPPING,
    (State.LOADING, Signal.LISTENING): State.PROBING,
    (State.LOADING, Signal.DIED): State.BACKOFF,
    (State.LOADING, Signal.GAVE_UP): State.FAILED,
    (State.LOADING, Signal.STOP): State.STOPPING,
    (State.PROBING, Signal.PROVEN): State.READY,
    (State.PROBING, Signal.DIED): State.BACKOFF,
    (State.PROBING, Signal.GAVE_UP): State.FAILED,
    (State.PROBING, Signal.STOP): State.STOPPING,
    (State.READY, Signal.DIED): State.BACKOFF,
    (State.READY, Signal.GAVE_UP): State.FAILED,
    (State.READY, Signal.DRAIN): State.DRAINING,
    (State.READY, Signal.STOP): State.STOPPING,
    (State.STARTING, Signal.RESTARTED): State.STARTING,
    (State.LOADING, Signal.RESTARTED): State.STARTING,
    (State.PROBING, Signal.RESTARTED): State.STARTING,
    (State.READY, Signal.RESTARTED): State.STARTING,
    (State.READY, Signal.LOST): State.UNREACHABLE,
    (State.UNREACHABLE, Signal.LOST): State.UNREACHABLE,
    (State.UNREACHABLE, Signal.FOUND): State.STARTING,
    (State.UNREACHABLE, Signal.DIED): State.BACKOFF,
    (State.UNREACHABLE, Signal.GAVE_UP): State.FAILED,
    (State.UNREACHABLE, Signal.STOP): State.STOPPING,
    (State.BACKOFF, Signal.RETRY): State.STARTING,
    (State.BACKOFF, Signal.STOP): State.STOPPED,
    (State.DRAINING, Signal.STOP): State.STOPPING,
    (State.DRAINING, Signal.GONE): State.STOPPED,
    (State.STOPPING, Signal.GONE): State.STOPPED,
}

ENDED = frozenset({State.STOPPED, State.FAILED})
RUNNING = frozenset(State) - ENDED - {State.PENDING, State.BACKOFF}
COMING_OR_SERVING = frozenset(State) - ENDED - {State.DRAINING, State.STOPPING}


def move(state: State, signal: Signal) -> State:
    """The state after `signal`. Raises Bug `no-such-transition` for a pair that is not in the table."""
    try:
        return TABLE[state, signal]
    except KeyError:
        raise Bug("no-such-transition", f"a {state} replica cannot take the signal {signal!r}") from None
