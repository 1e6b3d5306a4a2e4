"""The decision: how many replicas from now on. docs/scaling.md tells it in words, with the reasons.

load known?  no  → as many as before, more if requests wait
             yes → need = ceil(load / target), of the long window, in panic of the short one too
need more    → at once, at most twice as many a decision; from zero any number
need fewer   → when the highest need of the last minutes was lower, at most half; never in panic
need none    → when nobody has asked through the whole of the first step down, and that was watched without a gap:
               one engine sleeps after `policy.idle_sleep`, and it ends too after `policy.idle`
always       → within the bounds that hold now
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lyc.records.scaling import Sample, ScalePolicy, ScalerState
from lyc.scaling.defaults import BEAR, PANIC_RATIO, SHARE, STABLE_SECONDS
from lyc.scaling.hours import bounds
from lyc.scaling.memory import fewer_in, quiet, remembered, with_need
from lyc.scaling.readings import Reading, busy, read, recent

LEAST_TARGET = 0.01
"""Against a target of nothing."""


def decide(
    window: Sequence[Sample], policy: ScalePolicy, state: ScalerState, now: float, *, capacity: float
) -> ScalerState:
    """The state after this decision; `desired` is the answer.

    window: samples, oldest first, of the last minute at least, and all since the decision before. capacity: requests
    that one replica can hold.
    """
    within = bounds(policy, now)
    memory = remembered(state, window, now)
    samples = recent(window, now)
    reading = read(samples, now)
    if reading is None:
        held = samples[-1].held if samples else 0
        need = _replicas(held, target(policy, memory, capacity))
        desired = max(state.desired, _up(state.desired, need))
        return _settled(memory, state, desired, within, f"{held} waiting")
    memory = _learned(memory, reading, target(policy, memory, capacity), now)
    aim = target(policy, memory, capacity)
    memory = _panicked(memory, reading, reading.burst / aim, now)
    load = reading.stable if memory.panic_since is None else max(reading.stable, reading.burst)
    if state.gave_way:  # what was there before calls nobody back, and what is in flight drains
        load = reading.newest.held
    need = _replicas(load, aim)
    if reading.strained and reading.pressed is None:
        need = max(need, state.desired)
    memory = replace(memory, needs=with_need(memory.needs, min(need, max(within[1], 1)), now))
    over = policy.idle_sleep is None or quiet(memory) >= _or_never(policy.idle)
    if memory.asleep and reading.sure and over:
        memory = replace(memory, asleep=False, why="asleep no more: no request")
    why = f"{load:.0f} in flight / target {aim:.3g}"
    if need >= state.desired:
        return _settled(replace(memory, down_since=None), state, _up(state.desired, need), within, why)
    memory = replace(memory, down_since=now if memory.down_since is None else memory.down_since)
    if unused(memory, reading, policy, now):
        return _settled(memory, state, 0, within, "no request", dozes=_dozes(memory, policy))
    return _settled(memory, state, _down(memory, reading, now), within, why)


def demanded(state: ScalerState, policy: ScalePolicy, now: float) -> ScalerState:
    """A request waits for a replica: there must be one, now."""
    within = bounds(policy, now)
    return _settled(replace(state, last_request=now), state, max(1, state.desired), within, "a request waits")


def target(policy: ScalePolicy, state: ScalerState, capacity: float) -> float:
    """Requests that a replica shall have in flight: as the user says or a share of what it can hold, and no more than
    its engine was seen to bear.
    """
    wished = policy.target_concurrency if policy.target_concurrency is not None else max(1.0, capacity * SHARE)
    aim = wished if state.learned is None else min(wished, max(1.0, state.learned))
    return max(aim, LEAST_TARGET)


def unused(memory: ScalerState, reading: Reading, policy: ScalePolicy, now: float) -> bool:
    """Whether nobody has needed it up to the first step down. One that was woken and still loads goes on: whoever comes
    again shall find it ready.
    """
    if not reading.sure or busy(reading.newest) or memory.panic_since is not None:
        return False
    waking = reading.newest.ready == 0 and memory.last_request is not None
    if waking and now - (memory.last_request or 0.0) < policy.wake_timeout:
        return False
    return quiet(memory) >= first_step(policy)


def first_step(policy: ScalePolicy) -> float:
    """Seconds without a request after which none is ready any more; infinite = never."""
    return min(_or_never(policy.idle_sleep), _or_never(policy.idle), _or_never(policy.idle_release))


def made_room(state: ScalerState, cause: str, *, asleep: bool) -> ScalerState:
    """None of it from now on, whose place another deployment needs. Only for one that nobody asks for just now."""
    return replace(state, desired=0, asleep=asleep, gave_way=True, down_since=None, why=cause)


def _dozes(memory: ScalerState, policy: ScalePolicy) -> bool:
    return policy.idle_sleep is not None and quiet(memory) < _or_never(policy.idle)


def _or_never(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def _panicked(memory: ScalerState, reading: Reading, need: float, now: float) -> ScalerState:
    """Panic begins with a need far above what is there, and ends when that was not so through a stable window.

    need: in replicas, not rounded: where there is one, the next request above its target is no burst.
    """
    there = reading.newest.ready if reading.newest.ready is not None else memory.desired
    if need >= PANIC_RATIO * max(1, there):
        return replace(memory, panic_since=now if memory.panic_since is None else memory.panic_since, panic_last=now)
    if memory.panic_since is not None and now - (memory.panic_last or memory.panic_since) >= STABLE_SECONDS:
        return replace(memory, panic_since=None, panic_last=None)
    return memory


def _learned(memory: ScalerState, reading: Reading, aim: float, now: float) -> ScalerState:
    """Engines that are pressed at a load below the target bear less than was thought."""
    if reading.pressed is None:
        return memory
    bearable = max(1.0, reading.pressed * BEAR)
    return replace(memory, learned=bearable, learned_at=now) if bearable < aim else memory


def _up(desired: int, need: int) -> int:
    return need if desired == 0 else min(need, 2 * desired)


def _down(memory: ScalerState, reading: Reading, now: float) -> int:
    if memory.panic_since is not None or not reading.sure or fewer_in(memory, now) != 0:
        return memory.desired
    highest = max(need for _, need in memory.needs)
    return max(1, highest, math.ceil(memory.desired / 2))


def _replicas(load: float, aim: float) -> int:
    return math.ceil(round(load / aim, 6))


def _settled(
    memory: ScalerState,
    before: ScalerState,
    desired: int,
    within: tuple[int, int],
    why: str,
    *,
    dozes: bool | None = None,
) -> ScalerState:
    """Within the bounds, and with a reason where that changes anything. dozes: whether one is kept asleep where none
    is wished, None = as before.
    """
    low, high = within
    bounded = max(low, min(high, desired))
    resting = bounded == 0
    dozes = memory.asleep if dozes is None else dozes
    memory = replace(memory, asleep=resting and dozes, gave_way=resting and memory.gave_way)
    if bounded == before.desired:
        return replace(memory, desired=bounded)
    word = "up" if bounded > before.desired else "down"
    cause = why if bounded == desired else f"between {low} and {high} now"
    return replace(memory, desired=bounded, down_since=None, why=f"{word} to {bounded}: {cause}")
