"""Whether an engine that serves still moves: a server can accept requests, say that it is well, and never answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lyc.records.engine import EngineLoad

SILENT_SECONDS = 120.0
"""So long an engine may answer nothing at all. Many cores at work on a long prompt can keep its server from the CPU."""
STALLED_SECONDS = 120.0
"""So long no token may be read or written while requests are there, before it is asked for one to be sure."""
BARREN_SECONDS = 30.0
"""So long requests may end without a token, before it is asked for one: it may refuse all, and say that it is well."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Times in seconds of one clock that is never set. moved_at: when it last made a token, or had nothing to do.
    tokens: then. silent_since: the first of the looks in a row that it has not answered; None = it answered the last.
    answered: requests that had ended in all when it made its last token, None = not known. barren_since: when one was
    seen to have ended since; None = none has.
    """

    moved_at: float
    tokens: int = 0
    silent_since: float | None = None
    answered: int | None = None
    barren_since: float | None = None

    def beat(self, load: EngineLoad | None, in_flight: int | None, now: float, sent: int | None = None) -> Pulse:
        """After one more look. in_flight: requests that the gateway waits for there, sent: all that it has ever sent
        there; None = not known.
        """
        if load is None:
            return self if self.silent_since is not None else replace(self, silent_since=now)
        idle = load.running + load.waiting == 0 and not in_flight
        moved_at = now if idle or load.tokens != self.tokens else self.moved_at
        answered = None if sent is None or in_flight is None else sent - in_flight
        if load.tokens != self.tokens or self.answered is None or (answered is not None and answered < self.answered):
            return Pulse(moved_at, load.tokens, answered=answered)
        ended = answered is not None and answered > self.answered
        since = self.barren_since if self.barren_since is not None or not ended else now
        return Pulse(moved_at, load.tokens, None, self.answered, since)

    def silent(self, now: float) -> bool:
        """Nothing was heard for too long."""
        return self.silent_since is not None and now - self.silent_since >= SILENT_SECONDS

    def barren(self, now: float) -> bool:
        """Requests have ended for so long, and it has made nothing of them."""
        return self.silent_since is None and self.barren_since is not None and now - self.barren_since >= BARREN_SECONDS

    def stalled(self, now: float) -> bool:
        """Requests are there, and nothing has moved for too long."""
        return self.silent_since is None and now - self.moved_at >= STALLED_SECONDS
