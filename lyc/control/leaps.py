"""A clock that is set while something is due: noticed, so that what is due is moved along with it."""

from __future__ import annotations

from collections.abc import Callable

SKEW_SECONDS = 5.0
"""A clock that is corrected by less is the same clock."""
STRAY_SECONDS = 1.0
"""Two readings that are further apart say nothing: something else had the CPU between them."""


class Leaps:
    """Holds the clock against one that is never set. For one thread. Both: seconds."""

    def __init__(self, clock: Callable[[], float], steady: Callable[[], float]) -> None:
        self._clock = clock
        self._steady = steady
        self._ahead: float | None = None

    def found(self) -> float:
        """Seconds by which the clock was set since the call before; 0 where it was not."""
        before = self._steady()
        ahead = self._clock() - before
        if self._steady() - before > STRAY_SECONDS:
            return 0.0
        leap = 0.0 if self._ahead is None else ahead - self._ahead
        self._ahead = ahead
        return leap if abs(leap) > SKEW_SECONDS else 0.0
