"""What can be hoped for by a request that found no replica."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lyc.units import MIB

WakeState = Literal["ready", "waking", "paused", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Waking:
    """How a deployment stands, and how long its requests may wait.

    state: `ready` a replica can answer; `waking` one comes; `paused`, `failed` none will come by itself; `unknown`
    there is no such deployment. expected: seconds until a replica is ready, None = not known; of one that has failed,
    until it may be asked for again. error: a `LycError`'s document, why it is paused or failed, or what keeps it from
    waking just now. timeout: seconds that a request may wait. queue, queue_bytes: requests, and bytes of their bodies,
    that may wait at once. replica: ids to which the gateway sends requests right now; only with one of them is a
    request handed back. sockets: replica id → unix socket of its engine, for a caller kept alive.
    """

    state: WakeState
    expected: float | None = None
    error: Mapping[str, object] | None = None
    timeout: float = 600.0
    queue: int = 1000
    queue_bytes: int = 256 * MIB
    replica: frozenset[str] = frozenset()
    sockets: Mapping[str, str] = field(default_factory=dict)
