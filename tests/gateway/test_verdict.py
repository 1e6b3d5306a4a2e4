"""What becomes of a request that found no replica, as a value."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lyc.gateway.tries import Tries
from lyc.gateway.verdict import LOOK_AGAIN_SECONDS, TRIES, Asked, Hold, Refuse, Replay, judge
from lyc.records.wake import Waking

NOW = 1000.0
SECONDS = st.floats(0, 10_000)
WAKINGS = st.builds(
    Waking,
    state=st.sampled_from(["ready", "waking", "paused", "failed", "unknown"]),
    expected=st.none() | SECONDS,
    timeout=SECONDS,
    queue=st.integers(0, 5),
    queue_bytes=st.integers(0, 5_000),
    replica=st.frozensets(st.sampled_from(["a-1", "a-2"])),
)
ASKED = st.builds(
    lambda size, came, before, patience, tries: Asked("a", size, NOW - came, NOW - came - before, patience, tries),
    st.integers(0, 2_000),
    SECONDS,
    SECONDS,
    st.none() | SECONDS,
    st.integers(0, TRIES + 1),
)
AHEAD = st.none() | st.tuples(st.integers(0, 6), st.integers(0, 6_000))


@given(WAKINGS, ASKED, AHEAD)
def test_held_only_with_hope_room_and_time(waking: Waking, asked: Asked, ahead: tuple[int, int] | None) -> None:
    verdict = judge(waking, asked, NOW, ahead)
    if isinstance(verdict, Hold):
        assert waking.state in ("ready", "waking")
        assert NOW < verdict.until <= asked.began + waking.timeout
        assert asked.patience is None or verdict.until <= asked.began + asked.patience
        assert ahead is None or (ahead[0] < waking.queue and ahead[1] + asked.size <= waking.queue_bytes)
        assert not waking.replica or asked.tries > 1
    if isinstance(verdict, Replay):
        assert verdict.replicas == waking.replica != frozenset()
        assert asked.tries < TRIES
    if isinstance(verdict, Refuse):
        assert verdict.status in (404, 429, 503)
        assert verdict.retry_after is None or verdict.retry_after >= 1
        assert verdict.again is None  # only an activator that ends asks to be tried again
        assert verdict.message[0].isupper()
        assert verdict.message.endswith(".")


@given(WAKINGS, ASKED)
@example(Waking("ready", timeout=3.0), Asked("a", 0, 1000.0, 1000.0, tries=2))
def test_who_waits_is_let_go_when_a_replica_is_there_and_when_its_time_is_over(waking: Waking, asked: Asked) -> None:
    assume(waking.state in ("ready", "waking"))
    verdict = judge(waking, asked, NOW, None)
    late = max(asked.began + waking.timeout, asked.came + LOOK_AGAIN_SECONDS) + 1
    assert not isinstance(judge(waking, asked, late, None), Hold)
    if isinstance(verdict, Hold):
        then = judge(waking, asked, verdict.until, None)
        assert not isinstance(then, Hold) or then.until > verdict.until, "it is looked at again, and not for ever"


@given(st.floats(0.001, 3_600))
def test_retry_after_is_whole_seconds_not_before_it_is_expected(expected: float) -> None:
    refusal = judge(Waking("waking", expected), Asked("a", 0, NOW, NOW, patience=0.0), NOW, (0, 0))
    assert isinstance(refusal, Refuse)
    assert refusal.retry_after == math.ceil(expected)
    assert refusal.expected == expected


def test_a_body_larger_than_the_queue_is_refused_though_nobody_waits() -> None:
    refusal = judge(Waking("waking", queue_bytes=10), Asked("a", 11, NOW, NOW), NOW, (0, 0))
    assert isinstance(refusal, Refuse)
    assert (refusal.status, refusal.code) == (429, "queue_full")


def test_tries_are_those_at_replicas_and_only_the_last_requests_are_remembered() -> None:
    tries = Tries(longest=2)
    assert [tries.seen("one", attempt) for attempt in (1, 3, 5)] == [0, 1, 2]
    assert [tries.seen("two", attempt) for attempt in (2, 3, 4, 9)] == [1, 1, 1, 2]  # straight back is no try
    assert tries.seen("three", 1) == 0
    assert not tries.knows("one")
    assert tries.knows("two")


@pytest.mark.parametrize(("expected", "seconds"), [(None, 60), (59.2, 60), (480.0, 480)])
def test_one_that_has_failed_says_when_it_is_tried_again(expected: float | None, seconds: int) -> None:
    """Where that is known; else a person has to do something."""
    waking = Waking("failed", expected, {"what": "nobody has a machine now that will do"})
    verdict = judge(waking, Asked("a", 0, NOW, NOW), NOW, (0, 0))
    assert isinstance(verdict, Refuse)
    assert (verdict.status, verdict.retry_after) == (503, seconds)


def test_one_that_cannot_wake_just_now_says_why() -> None:
    waking = Waking("waking", None, {"what": "its cards are taken"}, timeout=5.0)
    verdict = judge(waking, Asked("a", 0, NOW - 5, NOW - 5), NOW, None)
    assert isinstance(verdict, Refuse)
    assert verdict.message == "After 5 s no replica of this deployment is ready; its cards are taken."
    assert isinstance(judge(waking, Asked("a", 0, NOW - 1, NOW - 1), NOW, None), Hold), "there is hope yet"
