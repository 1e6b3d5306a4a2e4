#!/usr/bin/env python3
"""A week of many deployments in fast time: GPU hours and waiting under lyc's autoscaler, Knative's rule, and none.

    .venv/bin/python tests/bench/scaling_week.py [--deployments 200] [--days 7] [--wake 180] [--set NAME=VALUE]

Traffic is made up, after what is published of real traces: few deployments have most of the requests (Zipf), days and
weeks, bursts of batch jobs, and arrivals that come in clumps (gamma, as in BurstGPT, arXiv 2401.17644). Four kinds:
office hours, evenings, batch, and a developer's try now and then. A request takes one of the `capacity` places of a
replica for a time of its own (log-normal) and waits for one where none is free; the places of a new replica are there
`--wake` seconds after it was wanted, and it is paid from then on until it is dropped.

Knative's rule is written after its documentation and pkg/autoscaler/scaling: ceil(average / target) over 60 s and 6 s,
panic from twice what is ready, up 1000-fold, down by half a decision at most, never down in panic, zero after a window
without traffic and 30 s of grace. Target: 70 % of the capacity, its default. It is also shown with a
`scale-down-delay` that lets it sleep as late as lyc: as shipped, it sleeps after 90 s.
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lyc.records.scaling import Sample, ScalePolicy, ScalerState  # noqa: E402
from lyc.scaling import decide, defaults, demanded  # noqa: E402

MONDAY = 1772409600.0
"""2 March 2026, 00:00 UTC."""
STEP = 5.0
QUIET_STEP = 15.0
"""Between two samples, while there are requests and while there are none."""
MEAN_SERVICE = 11.0
"""Seconds that a request takes, on average; the median is 8."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Traffic:
    """One deployment. arrivals, services: seconds. capacity: requests at a replica. peak: replicas it may need."""

    kind: str
    arrivals: Floats
    services: Floats
    capacity: int
    peak: int


def traffic(index: int, deployments: int, days: float, seed: int) -> Traffic:
    """The same deployment for every rule: it depends on its index and the seed alone."""
    chance = np.random.default_rng([seed, index])
    kind = ("office", "evening", "batch", "developer")[int(chance.choice(4, p=[0.45, 0.2, 0.15, 0.2]))]
    mean_load = 60.0 / (1 + index) ** 1.1 + 0.02
    bins = np.arange(0, days * 86400, 10.0)
    rate = _shape(kind, bins, chance) * mean_load / MEAN_SERVICE
    rate *= np.repeat(np.exp(_wander(len(bins) // 30 + 1, chance)), 30)[: len(bins)]
    rate *= chance.gamma(0.7, 1 / 0.7, len(bins))
    counts = chance.poisson(rate * 10.0)
    arrivals = np.sort(np.repeat(bins, counts) + chance.random(int(counts.sum())) * 10.0)
    services = chance.lognormal(math.log(8.0), 0.8, len(arrivals))
    capacity = int(chance.choice([8, 16, 32, 64]))
    return Traffic(kind, arrivals, services, capacity, max(1, math.ceil(_peak(arrivals, services) / capacity)))


def _shape(kind: str, seconds: Floats, chance: np.random.Generator) -> Floats:
    hour, day = seconds / 3600 % 24, (seconds // 86400).astype(int) % 7
    if kind == "office":
        bump = np.exp(-(((hour - 13.5) / 4.0) ** 4)) + 0.01
        return 2.5 * bump * np.where(day < 5, 1.0, 0.08)
    if kind == "evening":
        return 0.15 + 1.6 * np.exp(-(((hour - 20) % 24 / 5) ** 2)) + 1.6 * np.exp(-((((20 - hour) % 24) / 5) ** 2))
    spans, length = (14, 2400.0) if kind == "batch" else (25, 900.0)
    found = np.zeros_like(seconds)
    for begin in chance.random(spans) * (seconds[-1] + 10):
        if kind == "developer" and not 7 < begin / 3600 % 24 < 19:
            continue
        found[(seconds >= begin) & (seconds < begin + chance.exponential(length))] = 1.0
    share = max(found.mean(), 1e-9)
    return found / share


def _wander(steps: int, chance: np.random.Generator) -> Floats:
    """The logarithm of a level that changes over some ten minutes."""
    noise, level = chance.normal(0, 0.15, steps), np.zeros(steps)
    for step in range(1, steps):
        level[step] = 0.9 * level[step - 1] + noise[step]
    return level


def _peak(arrivals: Floats, services: Floats) -> float:
    """Requests at once that are exceeded a thousandth of the busy time only."""
    if not len(arrivals):
        return 1.0
    ends = np.sort(arrivals + services)
    at_once = np.arange(1, len(arrivals) + 1) - np.searchsorted(ends, arrivals)
    return float(np.quantile(at_once, 0.999))


class Lyc:
    """The decider as the controller calls it."""

    def __init__(self, work: Traffic, idle: float) -> None:
        self.policy = ScalePolicy(0, work.peak, idle=idle)
        self.state = ScalerState(desired=0)
        self.capacity = float(work.capacity)
        self.window: deque[Sample] = deque(maxlen=120)

    def arrived(self, now: float) -> int:
        self.state = demanded(self.state, self.policy, now)
        return self.state.desired

    def decide(self, sample: Sample, ready: int) -> int:
        self.window.append(sample)
        self.state = decide(tuple(self.window), self.policy, self.state, sample.at, capacity=self.capacity)
        return self.state.desired


class Knative:
    """Its published rule. delay: its `scale-down-delay`, seconds."""

    STABLE, PANIC, GRACE, SHARE, DOWN_RATE, UP_RATE = 60.0, 6.0, 30.0, 0.7, 2.0, 1000.0

    def __init__(self, work: Traffic, delay: float) -> None:
        self.target, self.peak, self.delay = work.capacity * self.SHARE, work.peak, delay
        self.loads: deque[tuple[float, float]] = deque()
        self.panic: float | None = None
        self.panic_pods = 0
        self.wanted: deque[tuple[float, int]] = deque()
        self.zero_since: float | None = None
        self.desired = 0

    def arrived(self, now: float) -> int:
        self.desired = max(1, self.desired)
        return self.desired

    def _mean(self, now: float, span: float) -> float:
        found = [load for at, load in self.loads if now - at < span]
        return sum(found) / len(found)

    def decide(self, sample: Sample, ready: int) -> int:
        now = sample.at
        self.loads.append((now, (sample.in_flight or 0) + sample.held))
        while now - self.loads[0][0] >= self.STABLE:
            self.loads.popleft()
        there = max(1, ready)
        most, least = math.ceil(self.UP_RATE * there), math.floor(there / self.DOWN_RATE)
        stable_pods = math.ceil(self._mean(now, self.STABLE) / self.target)
        panic_pods = math.ceil(self._mean(now, self.PANIC) / self.target)
        if panic_pods / there >= 2:
            self.panic = now
        elif self.panic is not None and now - self.panic > self.STABLE:
            self.panic, self.panic_pods = None, 0
        wanted = min(max(stable_pods, least), most)
        if self.panic is not None:
            self.panic_pods = max(self.panic_pods, wanted, min(max(panic_pods, least), most))
            wanted = self.panic_pods
        if self.delay:
            while self.wanted and self.wanted[-1][1] <= wanted:
                self.wanted.pop()
            self.wanted.append((now, wanted))
            while now - self.wanted[0][0] >= self.delay:
                self.wanted.popleft()
            wanted = self.wanted[0][1]
        self.zero_since = (self.zero_since or now) if wanted == 0 else None
        if self.zero_since is not None and now - self.zero_since < self.GRACE:
            wanted = 1
        self.desired = min(wanted, self.peak)
        return self.desired


class Static:
    """Always the same number."""

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas

    def arrived(self, now: float) -> int:
        return self.replicas

    def decide(self, sample: Sample, ready: int) -> int:
        return self.replicas


Rule = Lyc | Knative | Static


@dataclass
class Outcome:
    """hours: of GPUs. waits: seconds of each request. wakes: from nothing. starts: of replicas."""

    hours: float = 0.0
    waits: list[float] = field(default_factory=list)
    wakes: int = 0
    starts: int = 0


def live(work: Traffic, rule: Rule, wake: float, end: float) -> Outcome:
    """One deployment for the whole time under one rule."""
    outcome = Outcome()
    arrivals, services = work.arrivals.tolist(), work.services.tolist()
    running: list[float] = []
    queue: deque[int] = deque()
    ready_at: list[float] = []
    begun = [-wake] * rule.arrived(0.0) if isinstance(rule, Static) else []
    ready_at += [at + wake for at in begun]
    now, position, waits = 0.0, 0, [0.0] * len(arrivals)

    def start(at: float, places: int) -> None:
        while queue and len(running) < places:
            one = queue.popleft()
            waits[one] = at - arrivals[one]
            heapq.heappush(running, at + services[one])

    def resize(desired: int, at: float) -> None:
        if desired > len(ready_at):
            outcome.wakes += not ready_at
            outcome.starts += desired - len(ready_at)
            ready_at.extend([at + wake] * (desired - len(ready_at)))
        del ready_at[desired:]  # in the order of their starts: the last come are the first to go

    while now < end:
        if not ready_at and not running and not queue:  # asleep: the next thing to happen is a request
            if position >= len(arrivals):
                break
            now = max(now, arrivals[position] - arrivals[position] % STEP)
        quiet = not running and not queue and (position >= len(arrivals) or arrivals[position] >= now + QUIET_STEP)
        until = now + (QUIET_STEP if quiet else STEP)
        places = work.capacity * sum(at <= now for at in ready_at)
        start(now, places)
        finished = 0
        while position < len(arrivals) and arrivals[position] < until:
            at = arrivals[position]
            while running and running[0] <= at:
                done = heapq.heappop(running)
                finished += 1
                start(done, places)
            if not ready_at:
                resize(rule.arrived(MONDAY + at), at)
            queue.append(position)
            start(at, places)
            position += 1
        while running and running[0] <= until:
            done = heapq.heappop(running)
            finished += 1
            start(done, places)
        outcome.hours += len(ready_at) * (until - now) / 3600
        now = until
        ready = sum(at <= now for at in ready_at)
        held = 0 if ready else len(queue)
        sample = Sample(MONDAY + now, len(running) + len(queue) - held, held, finished, len(queue) - held, None, ready)
        resize(rule.decide(sample, ready), now)
    waits_of_rest = [end - arrivals[one] for one in queue]
    outcome.waits = waits[: len(waits) - len(queue)] + waits_of_rest
    return outcome


RULES: dict[str, Callable[[Traffic, float], Rule]] = {
    "lyc": Lyc,
    "Knative": lambda work, _: Knative(work, 0.0),
    "Knative, delayed": lambda work, idle: Knative(work, idle - Knative.STABLE - Knative.GRACE),
    "always at its peak": lambda work, _: Static(work.peak),
}


def simulate(index: int, options: argparse.Namespace) -> dict[str, Outcome]:
    change(options.set)
    work = traffic(index, options.deployments, options.days, options.seed)
    end = options.days * 86400
    return {name: live(work, RULES[name](work, options.idle), options.wake, end) for name in options.rules}


def change(pairs: Iterable[str]) -> None:
    """`SHARE=0.6`: another figure of lyc.scaling.defaults, wherever it was imported to."""
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not hasattr(defaults, name):
            raise SystemExit(f"{name} is no figure of lyc.scaling.defaults")
        for module in [one for key, one in sys.modules.items() if key.startswith("lyc.scaling") and hasattr(one, name)]:
            setattr(module, name, float(value))


def show(outcomes: list[dict[str, Outcome]], options: argparse.Namespace) -> None:
    hours = {name: sum(one[name].hours for one in outcomes) for name in options.rules}
    base = hours.get("always at its peak") or next(iter(hours.values()))
    requests = sum(len(one[options.rules[0]].waits) for one in outcomes)
    print(f"{len(outcomes)} deployments, {options.days:g} days, {requests} requests", end=", ")
    print(f"wake {options.wake:g} s, idle {options.idle:g} s; waits in seconds; the last: p99 of the median deployment")
    titles = ("GPU h", "of peak", "starts", "wakes", "p50", "p99", "above 1 s", "p99 of each")
    print(" " * 20 + "".join(f"{title:>12}" for title in titles))
    for name in options.rules:
        starts, wakes = (
            sum(counts) for counts in zip(*((one[name].starts, one[name].wakes) for one in outcomes), strict=True)
        )
        waits = np.concatenate([np.asarray(one[name].waits) for one in outcomes])
        each = [float(np.quantile(one[name].waits, 0.99)) for one in outcomes if one[name].waits]
        print(
            f"{name:20}{hours[name]:12.0f}{hours[name] / base:12.2%}{starts:12}{wakes:12}"
            f"{np.quantile(waits, 0.5):12.2f}{np.quantile(waits, 0.99):12.1f}"
            f"{np.mean(waits > 1):12.2%}{np.median(each):12.1f}"
        )


def tick_of_thousand() -> None:
    """One decision for each of 1,000 deployments of four replicas, two minutes of samples each."""
    now = MONDAY + 12 * 3600
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    windows = [
        tuple(Sample(now - 119 + step, 40 + (step + one) % 9, 0, 3, 0, 0.5, 4) for step in range(120))
        for one in range(1000)
    ]
    policy, states = ScalePolicy(0, 4), [ScalerState(desired=4)] * 1000
    kept = [decide(window, policy, state, now, capacity=20.0) for window, state in zip(windows, states, strict=True)]
    memory_used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    began = time.perf_counter()
    for window, state in zip(windows, kept, strict=True):
        decide(window, policy, state, now, capacity=20.0)
    seconds = time.perf_counter() - began
    print(f"a tick of 1,000 deployments × 4 replicas: {seconds * 1e3:.0f} ms;", end=" ")
    print(f"their windows and states: {memory_used / 2**20:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployments", type=int, default=200)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--wake", type=float, default=180, help="seconds from wanting a replica to its first place")
    parser.add_argument("--idle", type=float, default=900)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="only one of so many, small and large alike")
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="figures of lyc.scaling.defaults")
    options = parser.parse_args()
    tick_of_thousand()
    indices = range(options.every // 2, options.deployments, options.every)
    began = time.perf_counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(simulate, indices, repeat(options)))
    show(outcomes, options)
    print(f"({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()
