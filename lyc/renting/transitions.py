"""THE table of a rental: which state it moves to on which signal. Nothing else in lyc assigns a rental's state.

INTENDED ──told──→ RENTED ──release──→ RELEASING ──vanished──→ GONE
    │                 └─────────────vanished───────────────────↗
    ├──release──→ RELEASING            (unwanted before the provider has answered)
    └──never────→ REFUSED ──told──→ RELEASING      (turned up after all)
                  GONE ────told──→ RELEASING       (is in the list again)
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from lyc.errors import Bug
from lyc.records.rental import RentalState as State


class Signal(enum.StrEnum):
    """What was learnt of a rental, or what is wanted of it."""

    TOLD = "told"  # the provider tells of its machine
    NEVER = "never"  # no machine came of it: refused for certain, or not in the list long after it was asked for
    RELEASE = "release"  # it shall go
    VANISHED = "vanished"  # the provider says that there is no such machine any more


TABLE: Mapping[tuple[State, Signal], State] = {
    (State.INTENDED, Signal.TOLD): State.RENTED,
    (State.INTENDED, Signal.NEVER): State.REFUSED,
    (State.INTENDED, Signal.RELEASE): State.RELEASING,
    (State.RENTED, Signal.TOLD): State.RENTED,
    (State.RENTED, Signal.RELEASE): State.RELEASING,
    (State.RENTED, Signal.VANISHED): State.GONE,
    (State.RELEASING, Signal.TOLD): State.RELEASING,
    (State.RELEASING, Signal.RELEASE): State.RELEASING,
    (State.RELEASING, Signal.VANISHED): State.GONE,
    (State.REFUSED, Signal.TOLD): State.RELEASING,
    (State.GONE, Signal.TOLD): State.RELEASING,
}

OPEN = frozenset({State.INTENDED, State.RENTED, State.RELEASING})
"""States in which there may be a machine that costs money."""


def after(state: State, signal: Signal) -> State:
    """Raises Bug `impossible-move`."""
    try:
        return TABLE[state, signal]
    except KeyError:
        raise Bug("impossible-move", f"a rental that is {state} cannot be {signal}") from None
