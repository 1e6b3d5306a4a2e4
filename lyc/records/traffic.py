"""What passed through the gateway: requests and tokens by deployment and day, and when anything was being served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Span = tuple[float, float]
"""(beginning, end) in epoch seconds."""


@dataclass(frozen=True, slots=True)
class Served:
    """Requests that reached a replica, and their tokens as the engine counted them. uncounted: of those, requests that
    were answered well and told no tokens.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0

    def __add__(self, other: Served) -> Served:
        return Served(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.uncounted + other.uncounted,
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """reaches: from when on it is told, what was before is not kept; None = nothing was ever dropped.

    served: by deployment and ISO day of UTC on which the request began. busy: by deployment, the spans in which at
    least one request ran, in their order; they do not touch.
    """

    reaches: float | None = None
    served: Mapping[tuple[str, str], Served] = field(default_factory=dict)
    busy: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
