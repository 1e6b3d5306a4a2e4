"""THE table: which state a replica moves to on which signal. Nothing else in lyc assigns a replica's state.

             ┌───────────── retry ──────────────┐
PENDING → STARTING → LOADING → PROBING → READY → BACKOFF          (died or unwell, will be tried again)
    │         └─────────┴─────────┴────────┴──→ FAILED            (will not be tried again)
    │                                      READY → DRAINING → STOPPING → STOPPED
    └──────────────── stop ───────────────────────────────────────↗
READY → DRAINING → ASLEEP → PROBING (an engine that can sleep, and wakes), and DRAINING → READY where it shall stay.
FAILED → STOPPED as soon as its wish is over (put by), so that the next wish begins without it.
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
    UNWELL = "unwell"  # its process runs, but must be stopped and started again: it answers no more, or wrongly
    GAVE_UP = "gave-up"  # it ended unasked or cannot answer, and trying again is pointless
    RETRY = "retry"
    DRAIN = "drain"
    STOP = "stop"
    GONE = "gone"  # its process has ended as asked
    LOST = "lost"  # its host does not answer any more
    FOUND = "found"  # its host answers again; whether the engine does is not known yet
    RESTARTED = "restarted"  # its host has started the process again by itself
    PUT_BY = "put-by"  # it was given up for a wish that is over
    SLEEP = "sleep"
    WAKE = "wake"
    STAY = "stay"  # it drains, and is wanted again


TABLE: Mapping[tuple[State, Signal], State] = {
    (State.PENDING, Signal.START): State.STARTING,
    (State.PENDING, Signal.STOP): State.STOPPED,
    (State.STARTING, Signal.LOADING): State.LOADING,
    (State.STARTING, Signal.LISTENING): State.PROBING,
    (State.STARTING, Signal.DIED): State.BACKOFF,
    (State.STARTING, Signal.UNWELL): State.BACKOFF,
    (State.STARTING, Signal.GAVE_UP): State.FAILED,
    (State.STARTING, Signal.STOP): State.STOPPING,
    (State.LOADING, Signal.LISTENING): State.PROBING,
    (State.LOADING, Signal.DIED): State.BACKOFF,
    (State.LOADING, Signal.UNWELL): State.BACKOFF,
    (State.LOADING, Signal.GAVE_UP): State.FAILED,
    (State.LOADING, Signal.STOP): State.STOPPING,
    (State.PROBING, Signal.PROVEN): State.READY,
    (State.PROBING, Signal.DIED): State.BACKOFF,
    (State.PROBING, Signal.UNWELL): State.BACKOFF,
    (State.PROBING, Signal.GAVE_UP): State.FAILED,
    (State.PROBING, Signal.STOP): State.STOPPING,
    (State.READY, Signal.DIED): State.BACKOFF,
    (State.READY, Signal.UNWELL): State.BACKOFF,
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
    (State.DRAINING, Signal.STAY): State.READY,
    (State.DRAINING, Signal.SLEEP): State.ASLEEP,
    (State.ASLEEP, Signal.WAKE): State.PROBING,
    (State.ASLEEP, Signal.STOP): State.STOPPING,
    (State.ASLEEP, Signal.GONE): State.STOPPED,
    (State.ASLEEP, Signal.RESTARTED): State.STARTING,
    (State.STOPPING, Signal.GONE): State.STOPPED,
    (State.FAILED, Signal.PUT_BY): State.STOPPED,
}

ENDED = frozenset({State.STOPPED, State.FAILED})
RUNNING = frozenset(State) - ENDED - {State.PENDING, State.BACKOFF}
GOING = frozenset({State.DRAINING, State.STOPPING})
COMING_OR_SERVING = frozenset(State) - ENDED - GOING


def move(state: State, signal: Signal) -> State:
    """The state after `signal`. Raises Bug `no-such-transition` for a pair that is not in the table."""
    try:
        return TABLE[state, signal]
    except KeyError:
        raise Bug("no-such-transition", f"a {state} replica cannot take the signal {signal!r}") from None
