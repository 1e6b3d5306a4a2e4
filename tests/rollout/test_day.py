"""A day of traffic, from nobody to four replicas and back, through both deciders at once: in seconds, and the same each
time. Everybody is answered; whatever happens meanwhile.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lyc.records.deployment import ReplicaState
from lyc.records.scaling import Sample, ScalePolicy, ScalerState
from lyc.rollout import shifted
from lyc.scaling import decide, demanded
from tests.rollout.world import MAXIMUM, World

STEP, LOADS, LASTS = 10.0, 120.0, 20.0
"""Seconds between two looks, from the start of an engine to its first answer, and of a request."""
HOUR = 3600.0
POLICY = ScalePolicy(0, MAXIMUM, target_concurrency=16.0, idle=900.0)


def arrivals(hour: float) -> float:
    """Requests a second: none at night, a morning that fills, lunch, an afternoon with its peak, late one or two."""
    if 7 <= hour < 19:
        return 2.6 * math.sin(math.pi * (hour - 7) / 12) ** 2 * (0.6 if 12 <= hour < 13 else 1.0)
    return 1 / 600 if 21 <= hour < 22 else 0.0


@dataclass
class Day:
    """time: as the gateway has it, which is never set; the clock of the world is ahead of it by `ahead`."""

    seed: int = 1
    time: float = 0.0
    ahead: float = 0.0
    world: World = field(default_factory=World)
    state: ScalerState = field(default_factory=ScalerState)
    window: deque[Sample] = field(default_factory=lambda: deque(maxlen=120))
    begun: dict[tuple[str, int], float] = field(default_factory=dict)
    there: dict[str, list[float]] = field(default_factory=dict)  # at each replica, when they will be answered
    held: list[float] = field(default_factory=list)  # since when
    came: int = 0
    answered: int = 0
    lost: int = 0
    waits: list[float] = field(default_factory=list)
    most: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.number = self.world.release(1)
        self.began = self.world.now

    def through(self, until: float, *, looks: Callable[[], bool] = lambda: True) -> None:
        while self.time < until:
            self.time += STEP
            self.world.now = self.began + self.time + self.ahead
            self._come()
            if looks():
                self._look()

    def ready(self) -> list[str]:
        up = {key[0] for key, state in self.world.processes.items() if state == "listening"}
        return [one.id for one in self.world.ready(self.number) if one.id in up]

    def crash(self, replica: str) -> None:
        """What it was answering is asked again, as the gateway does."""
        key = (replica, self.world.replicas[replica].attempts)
        self.world.fail(key, "exited")
        self.held += [self.time] * len(self.there.pop(replica, []))

    def leap(self, seconds: float) -> None:
        """The clock is set, and the loop notices it."""
        self.ahead += seconds
        self.world.now += seconds
        self.world.replicas = {one.id: shifted(one, seconds) for one in self.world.replicas.values()}
        self._look()

    def _come(self) -> None:
        rate = arrivals(self.time / HOUR % 24) * STEP
        new = int(rate) + (self.random.random() < rate % 1)
        self.came += new
        self.held += [self.time] * new
        runs = {key[0] for key in self.world.running()}
        for replica, ends in self.there.items():
            left = [end for end in ends if end > self.time] if replica in runs else []
            self.lost += 0 if replica in runs else sum(end > self.time for end in ends)
            self.answered += len(ends) - len(left)
            ends[:] = left
        if ready := self.ready():
            for since in self.held:
                replica = min(ready, key=lambda one: len(self.there.get(one, ())))
                self.there.setdefault(replica, []).append(self.time + LASTS)
                self.waits.append(self.time - since)
            self.held.clear()
        self.world.in_flight = {one: len(ends) for one, ends in self.there.items()}

    def _look(self) -> None:
        now = self.world.now
        for key in self.world.running():
            if self.time - self.begun.setdefault(key, self.time) >= LOADS:
                self.world.processes[key] = "listening"
        flying, ready = sum(map(len, self.there.values())), len(self.ready())
        if self.held and self.state.desired == 0:
            self.state = demanded(self.state, POLICY, now)
        self.window.append(Sample(now, flying, len(self.held), ready=ready))
        self.state = decide(tuple(self.window), POLICY, self.state, now, capacity=24.0)
        self.world.change(scaler=self.state)
        for _ in range(20):
            if not self.world.step():
                break
        self.most = max(self.most, len(self.world.ready(self.number)))

    def check(self, *, starts: int, longest: float) -> None:
        """starts: of engines at most. longest: seconds that somebody waited at most."""
        assert self.came > 40_000
        assert (self.answered, self.held) == (self.came, [])
        assert (self.world.cut, self.lost) == (0, 0)
        assert self.most == MAXIMUM
        assert self.world.running() == []
        assert {one.state for one in self.world.replicas.values()} == {ReplicaState.STOPPED}
        assert len(self.begun) <= starts
        assert max(self.waits) <= longest
        assert sum(wait > 1 for wait in self.waits) < 0.02 * self.came


def test_a_day() -> None:
    """52,000 requests and 8 starts. Two requests waited for longer than a look: 140 s, for an engine that takes 120."""
    day = Day()
    day.through(24 * HOUR)
    day.check(starts=20, longest=LOADS + 4 * STEP)


def test_a_day_on_which_a_replica_dies_every_hour() -> None:
    day = Day()
    for hour in range(24):
        day.through(hour * HOUR + 1800)
        for replica in day.ready()[:1]:
            day.crash(replica)
        day.through((hour + 1) * HOUR)
    day.check(starts=60, longest=LOADS + 4 * STEP)


def test_a_day_on_which_the_clock_is_set_by_hours_again_and_again() -> None:
    """Now and then, and whenever a replica drains: what it still answers is not cut off for it."""
    day, chance, drained = Day(), random.Random(7), set()
    while day.time < 24 * HOUR:
        day.through(day.time + STEP)
        drains = {one.id for one in day.world.replicas.values() if one.state is ReplicaState.DRAINING}
        if drains - drained or chance.random() < 0.003:
            before = day.state.desired
            day.leap(chance.choice([-9, -3, 3, 9]) * HOUR)
            assert day.state.desired >= min(before, 1), "nobody is stopped for it"
        drained |= drains
    assert len(drained) >= 5
    day.through(26 * HOUR)
    day.check(starts=30, longest=LOADS + 4 * STEP)


def test_a_day_on_which_the_controller_is_away_for_half_of_each_hour() -> None:
    """The gateway goes on; what is there stays as it is, and the next one goes on from there."""
    day = Day()
    for hour in range(24):
        day.through(hour * HOUR + 1800)
        day.through((hour + 1) * HOUR, looks=lambda: False)
    day.through(26 * HOUR)
    assert (day.world.cut, day.lost, day.answered) == (0, 0, day.came)
    assert day.most == MAXIMUM
    assert day.world.running() == []
