"""Whether an engine that serves still moves: a server can accept requests, say that it is well, and never answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lyc.records.engine import EngineLoad

SILENT_SECONDS = 120.0
"""So long an engine may answer nothing at all. Many cores at work on a long prompt can keep its server from the CPU."""
STALLED_SECONDS = 120.0
"""So long no token may be read or written while requests are there, before it is asked for one to be sure."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Times in seconds of one clock that is never set. moved_at: when it last made a token, or had nothing to do.
    tokens: then. silent_since: the first of the looks in a row that it has not answered; None = it answered the last.
    """

    moved_at: float
    tokens: int = 0
    silent_since: float | None = None

    def beat(self, load: EngineLoad | None, in_flight: int | None, now: float) -> Pulse:
        """After one more look. in_flight: requests that the gateway has sent it, None = not known."""
        if load is None:
            return self if self.silent_since is not None else replace(self, silent_since=now)
        idle = load.running + load.waiting == 0 and not in_flight
        moved = idle or load.tokens != self.tokens
        return Pulse(now if moved else self.moved_at, load.tokens)

    def silent(self, now: float) -> bool:
        """Nothing was heard for too long."""
        return self.silent_since is not None and now - self.silent_since >= SILENT_SECONDS

    def stalled(self, now: float) -> bool:
        """Requests are there, and nothing has moved for too long."""
        return self.silent_since is None and now - self.moved_at >= STALLED_SECONDS
