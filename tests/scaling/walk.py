"""A week of time to walk through, and a deployment that is measured once a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lyc.records.scaling import Sample, ScalePolicy, ScalerState
from lyc.scaling import decide

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()
"""A Wednesday."""


@dataclass
class Walk:
    """What the controller does: a sample each step, and a decision on those of the last two minutes."""

    policy: ScalePolicy
    state: ScalerState = field(default_factory=ScalerState)
    capacity: float = 20.0
    now: float = NOON
    step: float = 1.0
    window: list[Sample] = field(default_factory=list)
    desired: list[int] = field(default_factory=list)

    def tick(self, in_flight: int | None, **more: object) -> int:
        self.now += self.step
        self.window = [*self.window[-119:], Sample(self.now, in_flight, **more)]  # type: ignore[arg-type]
        return self.decide()

    def decide(self) -> int:
        self.state = decide(tuple(self.window), self.policy, self.state, self.now, capacity=self.capacity)
        self.desired.append(self.state.desired)
        return self.state.desired

    def through(self, seconds: float, in_flight: int | Callable[[float], int | None] | None, **more: object) -> int:
        begin = self.now
        while self.now - begin < seconds:
            load = in_flight(self.now - begin) if callable(in_flight) else in_flight
            self.tick(load, **more)
        return self.state.desired

    def replay(self, loads: Iterable[int | None]) -> list[int]:
        return [self.tick(load) for load in loads]
