"""What the samples say: the load on average, what waits, and whether the engines bear it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lyc.records.scaling import Sample
from lyc.scaling.defaults import FRESH_SECONDS, KV_FULL, PANIC_SECONDS, PRESSED_SECONDS, STABLE_SECONDS, WAITING


@dataclass(frozen=True, slots=True)
class Reading:
    """newest: the last sample; sure: whether its load is known. stable, burst: requests in flight and waiting, averaged
    over the long and the short window. pressed: requests at a replica while its engine had more than it could bear,
    None = it bears them, or nobody knows. strained: so much that fewer replicas cannot do.
    """

    newest: Sample
    sure: bool
    stable: float
    burst: float
    pressed: float | None
    strained: bool


def recent(window: Sequence[Sample], now: float) -> list[Sample]:
    """Samples of the stable window, oldest first. What lies in the future is from before the clock was set back."""
    found: list[Sample] = []
    for sample in reversed(window):
        if sample.at > now:
            continue
        if now - sample.at >= STABLE_SECONDS:
            break
        found.append(sample)
    return found[::-1]


def read(samples: Sequence[Sample], now: float) -> Reading | None:
    """The samples of `recent`. None: there is no load that is known and fresh."""
    known = [one for one in samples if one.in_flight is not None]
    if not known or now - known[-1].at > FRESH_SECONDS:
        return None
    newest = samples[-1]
    short = [one for one in known if now - one.at < PANIC_SECONDS] or known[-1:]
    # What waits is there until it is served, however short a time it has waited so far: no average of it.
    burst = _mean([one.in_flight or 0 for one in short]) + newest.held
    stable = _mean([one.in_flight or 0 for one in known]) + newest.held
    strained = _strained(known)
    return Reading(newest, newest is known[-1], stable, burst, _pressed(known, stable) if strained else None, strained)


def busy(sample: Sample) -> bool:
    """Whether there was a request since the sample before."""
    return bool(sample.in_flight or sample.held or sample.finished or sample.engine_waiting)


def _strained(known: Sequence[Sample]) -> bool:
    told = [one for one in known if one.in_flight and (one.engine_waiting is not None or one.kv_usage is not None)]
    if not told or told[-1].at - told[0].at < PRESSED_SECONDS:
        return False
    waiting = [one.engine_waiting / max(1, one.ready or 1) for one in told if one.engine_waiting is not None]
    usage = [one.kv_usage for one in told if one.kv_usage is not None]
    return _mean(waiting) >= WAITING or _mean(usage) >= KV_FULL


def _pressed(known: Sequence[Sample], load: float) -> float | None:
    """Requests at each replica, where as many replicas served all the time: one that is new has taken nothing over."""
    ready = known[-1].ready
    if not ready or any(one.ready != ready for one in known):
        return None
    return load / ready


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
