"""The load of one deployment at one instant, from what the gateway counts and what its engines say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lyc.records.deployment import Replica
from lyc.records.engine import EngineLoad
from lyc.records.gateway import GatewayStatus
from lyc.records.scaling import Sample


@dataclass(frozen=True, slots=True)
class Passed:
    """in_flight: requests at its replicas. finished: those that came since the last reading. ready: replicas that the
    gateway sends requests to. None = not known.
    """

    in_flight: int | None
    finished: int
    ready: int | None


@dataclass(slots=True)
class Meter:
    """Remembers the counters of the last reading: totals by replica, and arrived at the activator. A counter that goes
    back has begun anew with its process; what it shows then has come since.
    """

    totals: dict[str, int] = field(default_factory=dict)
    arrived: int = 0

    def read(self, replicas: Sequence[Replica], status: GatewayStatus, arrived: int) -> Passed:
        """arrived: requests that the activator has seen so far."""
        came, self.arrived = _grown(self.arrived, arrived), arrived
        if status.active is None or status.total is None:
            return Passed(None, came, None)
        active, total = status.active, status.total
        came += sum(_grown(self.totals.get(one.id, 0), total.get(one.id, 0)) for one in replicas)
        self.totals = {one.id: total.get(one.id, 0) for one in replicas}
        ready = sum(one.id in (status.healthy or ()) for one in replicas)
        return Passed(sum(active.get(one.id, 0) for one in replicas), came, ready)


def sample(at: float, passed: Passed, held: int, loads: Sequence[EngineLoad]) -> Sample:
    """held: requests that wait at the activator. loads: of the engines that said something."""
    waiting = sum(one.waiting for one in loads) if loads else None
    usage = max((one.kv_usage for one in loads if one.kv_usage is not None), default=None)
    return Sample(at, passed.in_flight, held, passed.finished, waiting, usage, ready=passed.ready)


def _grown(before: int, after: int) -> int:
    return after - before if after >= before else after
