"""What the autoscaler does and why, as one line: `3 of 4: 41 in flight / target 16, panic since 12 s`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lyc.records.scaling import Sample, ScalePolicy, ScalerState
from lyc.scaling.decide import first_step, target
from lyc.scaling.defaults import KV_FULL
from lyc.scaling.hours import bounds, holding
from lyc.scaling.memory import fewer_in, quiet
from lyc.scaling.readings import Reading, read, recent

MADE_ROOM = "made room for "
"""Begins the cause of a deployment's way down for another one's sake."""


def explain(
    window: Sequence[Sample], policy: ScalePolicy, state: ScalerState, now: float, *, capacity: float, ready: int
) -> str:
    """`N of MAXIMUM (READY ready): why`, after `decide` with the same arguments."""
    low, high = bounds(policy, now)
    head = f"{state.desired} of {high}" + (f" ({ready} ready)" if ready != state.desired else "")
    reading = read(recent(window, now), now)
    if state.desired == 0:
        parts = [*_slept(state, now), _stops(policy, state, reading)]
    elif reading is None:
        parts = [_unknown(window, now)]
    else:
        parts = [_bound(policy, state, low, now), *_load(reading, state, target(policy, state, capacity), now)]
        parts += _next(reading, policy, state, low, now)
    if state.desired == high and reading is not None and reading.stable > high * target(policy, state, capacity):
        parts.append("no more than the maximum")
    return f"{head}: " + ", ".join(part for part in parts if part)


def _slept(state: ScalerState, now: float) -> list[str]:
    how = "asleep" if state.asleep else "stopped"
    if state.gave_way and state.why.startswith(MADE_ROOM):
        how = f"{how}, {state.why}"
    since = "so far" if state.last_request is None else f"for {span(now - state.last_request)}"
    return [how, f"no request {since}"]


def _stops(policy: ScalePolicy, state: ScalerState, reading: Reading | None) -> str:
    """When the one that sleeps ends."""
    if not state.asleep or policy.idle is None or reading is None or not reading.sure:
        return ""
    return f"stopped in {span(policy.idle - quiet(state))}"


def _unknown(window: Sequence[Sample], now: float) -> str:
    known = [one.at for one in window if one.in_flight is not None and one.at <= now]
    return f"its load is unknown since {span(now - known[-1])}, kept as it is" if known else "its load is not known yet"


def _bound(policy: ScalePolicy, state: ScalerState, low: int, now: float) -> str:
    """The rule or the minimum that alone keeps it at its number."""
    if state.desired != low or (state.needs and state.needs[-1][1] >= low):
        return ""
    rules = [rule.text for rule in holding(policy, now) if rule.minimum is not None]
    return f"schedule {rules[-1]}" if rules else f"minimum {low}"


def _load(reading: Reading, state: ScalerState, aim: float, now: float) -> list[str]:
    newest = reading.newest
    in_flight = reading.stable if newest.in_flight is None else newest.in_flight
    parts = [f"{in_flight:.0f} in flight / target {aim:.3g}"]
    if newest.held:
        parts.append(f"{newest.held} waiting")
    if newest.engine_waiting:
        parts.append(f"{newest.engine_waiting} held back by engines")
    if newest.kv_usage is not None and newest.kv_usage >= KV_FULL:
        parts.append(f"KV cache {newest.kv_usage:.0%} full")
    if state.panic_since is not None:
        parts.append(f"panic since {span(now - state.panic_since)}")
    return parts


def _next(reading: Reading, policy: ScalePolicy, state: ScalerState, low: int, now: float) -> list[str]:
    """What follows if the load stays as it is."""
    if state.panic_since is not None or state.desired <= low:
        return []
    wait = fewer_in(state, now)
    if state.desired > 1:
        return [] if wait is None or state.down_since is None else [f"fewer in {span(wait)}"]
    idle = quiet(state)
    wait = first_step(policy)
    if idle <= 0 or not reading.sure or math.isinf(wait):
        return []
    return [f"idle for {span(idle)}, {'stopped' if policy.idle == wait else 'asleep'} in {span(wait - idle)}"]


def span(seconds: float) -> str:
    """12 → `12 s`, 130 → `2 min`, 7300 → `2 h`, 200000 → `2 d`: the largest unit of which there are two, or seconds."""
    whole = max(0, round(seconds))
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= 2 * size:
            return f"{whole // size} {name}"
    return f"{whole} s"
