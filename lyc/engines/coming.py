"""Whether an engine that starts still gets on. Loading may take an hour where it says so line by line; one that says
nothing new for long enough hangs: on a file system that is away, on a peer that never came, on a lock. Pure.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from lyc.engines.progress import bare

MUTE_SECONDS = 1200.0
"""So long a start may say nothing new. The longest that was seen are a graph that is compiled (156 s on a slow CPU) and
one shard of 50 GB from a slow disk (500 s)."""
UNANSWERED_SECONDS = 900.0
"""So long an engine that listens may owe its first answer, and say nothing: kernels are compiled for it."""
REMEMBERED = 64
_NUMBER_IN_SECONDS = re.compile(r"\d+(?:\.\d+)? ?s(?:econds)?\b")


@dataclass(slots=True)
class Coming:
    """One start. Each `now` is in seconds of one clock that is never set. since: when it said something new last."""

    since: float
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def heard(self, lines: Iterable[str], now: float) -> None:
        """What it says again and again is nothing new, but for what counts: a bar that moves is another line."""
        for line in lines:
            text = _NUMBER_IN_SECONDS.sub("s", bare(line))
            if text.strip() and text not in self._lines:
                self._lines.append(text)
                self.since = now

    def begun(self, now: float) -> None:
        """It is somewhere else than it was, or was not heard for a while."""
        self.since = now

    def mute(self, now: float) -> bool:
        return now - self.since >= MUTE_SECONDS

    def unanswered(self, now: float) -> bool:
        return now - self.since >= UNANSWERED_SECONDS
