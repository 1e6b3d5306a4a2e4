"""Who can wake a deployment."""

from __future__ import annotations

from typing import Protocol

from lyc.records.wake import Waking


class Waker(Protocol):
    """Asked by the activator whenever a request has found no replica."""

    def wake(self, deployment: str) -> Waking:
        """Note that `deployment` is wanted, and say how it stands.

        Called from several threads; soon after each request that arrives (those that come together share one call),
        and at least every half second while some wait. Must not wait for the replica. What it raises is logged, and
        the requests wait on.
        """
        ...
