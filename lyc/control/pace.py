"""How long the loop of a deployment rests in which nothing is under way, so that a thousand of them are no load."""

from __future__ import annotations

AWAKE_SHARE = 0.1
ASLEEP_SHARE = 0.04
"""Of one CPU, that the looks at all deployments may take together. Where none of its replicas is there, nothing can
happen to a deployment but what its loop is woken for.
"""
LONGEST = 10.0
"""Seconds. A replica that the gateway finds unwell is looked at within a second all the same."""
_NEW = 0.3
"""The weight of the last look among all."""


class Pace:
    """Of one loop, by what its looks have cost so far."""

    def __init__(self) -> None:
        self._cost = 0.0

    def rest(self, shortest: float, cost: float, loops: int, *, asleep: bool) -> float:
        """Seconds. cost: seconds on a CPU that this look took. loops: of how many deployments."""
        self._cost = cost if not self._cost else (1 - _NEW) * self._cost + _NEW * cost
        share = ASLEEP_SHARE if asleep else AWAKE_SHARE
        return min(LONGEST, max(shortest, loops * self._cost / share))
