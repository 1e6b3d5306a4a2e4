"""What one decision leaves to the next, brought up to now: what was watched, and which needs and limits were seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lyc.records.scaling import Sample, ScalerState
from lyc.scaling.defaults import DOWN_SECONDS, GAP_SECONDS, LEARNED_SECONDS, SKEW_SECONDS
from lyc.scaling.readings import busy


def remembered(state: ScalerState, window: Sequence[Sample], now: float) -> ScalerState:
    """The state with what the new samples tell of requests and of being watched.

    A clock that was set back leaves times in the future: they become now, and what was watched counts no more.
    """
    since, until = state.watched_since, state.watched_until
    if until is not None and until > now + SKEW_SECONDS:
        since = until = None
    last = _not_after(state.last_request, now)
    for sample in _after(window, until, now):
        if busy(sample):
            last = max(sample.at, last) if last is not None else sample.at
        if sample.in_flight is None or (last is None and sample.ready == 0):
            continue  # while the first replica of all loads, nobody can be said to want none
        if since is None or until is None or sample.at - until > GAP_SECONDS:
            since = sample.at
        until = sample.at
    learned_at = _not_after(state.learned_at, now)
    if learned_at is not None and now - learned_at >= LEARNED_SECONDS:
        learned_at = None
    return replace(
        state,
        last_request=last,
        panic_since=_not_after(state.panic_since, now),
        panic_last=_not_after(state.panic_last, now),
        down_since=_not_after(state.down_since, now),
        watched_since=since,
        watched_until=until,
        needs=tuple((min(at, now), need) for at, need in state.needs),
        learned=state.learned if learned_at is not None else None,
        learned_at=learned_at,
    )


def with_need(needs: Sequence[tuple[float, int]], need: int, now: float) -> tuple[tuple[float, int], ...]:
    """The needs of the last minutes with this one. One that was seen before a higher or equal one counts no more."""
    higher = [(at, replicas) for at, replicas in needs if replicas > need and now - at < DOWN_SECONDS]
    return (*higher, (now, need))


def quiet(state: ScalerState) -> float:
    """Seconds without a request, without a gap, up to the last sample."""
    if state.watched_since is None or state.watched_until is None:
        return 0.0
    return max(0.0, state.watched_until - max(state.watched_since, state.last_request or state.watched_since))


def fewer_in(state: ScalerState, now: float) -> float | None:
    """Seconds until fewer replicas may do, if the load stays; 0 = now, None = they would not."""
    if not state.needs or state.needs[-1][1] >= state.desired or state.watched_since is None:
        return None
    blocking = max((at for at, need in state.needs if need >= state.desired), default=state.watched_since)
    return max(0.0, max(blocking, state.watched_since) + DOWN_SECONDS - now)


def _after(window: Sequence[Sample], until: float | None, now: float) -> Iterator[Sample]:
    """Samples that are new, oldest first."""
    fresh = []
    for sample in reversed(window):
        if sample.at > now:
            continue
        if until is not None and sample.at <= until:
            break
        fresh.append(sample)
    return reversed(fresh)


def _not_after(instant: float | None, now: float) -> float | None:
    return None if instant is None else min(instant, now)
