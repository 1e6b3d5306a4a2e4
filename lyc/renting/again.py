"""When to try again to rent for a deployment whose machine is gone, after that went wrong. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LONGEST = 600.0
"""Seconds between two tries at most, where they cost nothing."""


@dataclass(frozen=True, slots=True)
class Past:
    """A try that has ended. at: when. error: its document, None = it went well. paid: a machine was rented in vain."""

    at: float
    error: Mapping[str, object] | None = None
    paid: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """until: when it may be tried again, `math.inf` = when a person has asked. error: of the last try."""

    until: float = -math.inf
    error: Mapping[str, object] | None = None


def wait(tries: Sequence[Past], now: float, *, pause: float, limit: int) -> Wait:
    """tries: oldest first, since a person asked for it last. pause: seconds after the first failure; after each further
    one in a row twice as many, `LONGEST` at most. limit: so many machines in a row are rented in vain, then none.

    A clock that was set back holds nothing up.
    """
    failed: list[Past] = []
    for one in reversed(tries):
        if one.error is None:
            break
        failed.append(one)
    if not failed:
        return Wait()
    last = failed[0]
    if sum(one.paid for one in failed) >= limit:
        return Wait(math.inf, last.error)
    until = last.at + min(pause * 2 ** min(len(failed) - 1, 16), max(LONGEST, pause))
    return Wait(until if last.at <= now else -math.inf, last.error)
