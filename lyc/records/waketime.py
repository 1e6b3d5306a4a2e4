"""How long it took to wake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WakeStep = Literal["asleep", "stopped", "released", "new"]
"""What it woke from: an engine that slept; a host that has engine, weights and compile cache; no machine at all; or a
host that had nothing of the release yet.
"""


@dataclass(frozen=True, slots=True)
class WakeTime:
    """Of one release, from the wish to a replica that takes requests. at: when it was there, seconds since the epoch.
    seconds: as long as it took, on the clock of the controller.
    """

    deployment: str
    release: int
    step: WakeStep
    at: float
    seconds: float
