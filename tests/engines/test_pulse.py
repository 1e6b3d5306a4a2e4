"""Engines that serve, slow or stuck: minute by minute."""

from __future__ import annotations

from lyc.engines.pulse import BARREN_SECONDS, SILENT_SECONDS, STALLED_SECONDS, Pulse
from lyc.records.engine import EngineLoad


def at_work(tokens: int, running: int = 1) -> EngineLoad:
    return EngineLoad(running, 0, 0.1, tokens)


def test_one_that_makes_tokens_is_well() -> None:
    pulse = Pulse(0)
    for now in range(1, 1000):
        pulse = pulse.beat(at_work(now), 1, now)
        assert not pulse.silent(now)
        assert not pulse.stalled(now)


def test_one_that_has_nothing_to_do_is_well() -> None:
    pulse = Pulse(0)
    for now in range(1, 1000):
        pulse = pulse.beat(at_work(7, running=0), 0, now)
    assert not pulse.stalled(1000)


def test_requests_and_no_token() -> None:
    pulse = Pulse(0).beat(at_work(7), 1, 1)
    pulse = pulse.beat(at_work(7), 1, STALLED_SECONDS)
    assert not pulse.stalled(STALLED_SECONDS)
    pulse = pulse.beat(at_work(7), 1, STALLED_SECONDS + 1)
    assert pulse.stalled(STALLED_SECONDS + 1)
    assert not pulse.silent(STALLED_SECONDS + 1)


def test_requests_that_only_the_gateway_knows_of() -> None:
    """An engine whose loop is dead says that nothing runs."""
    pulse = Pulse(0).beat(at_work(7, running=0), 3, 1).beat(at_work(7, running=0), 3, STALLED_SECONDS + 5)
    assert pulse.stalled(STALLED_SECONDS + 5)


def test_one_that_says_nothing_is_silent_and_not_stalled() -> None:
    pulse = Pulse(0)
    for now in range(1, int(SILENT_SECONDS)):
        pulse = pulse.beat(None, 1, now)
        assert not pulse.silent(now)
    after = SILENT_SECONDS + 1
    assert pulse.silent(after)
    assert not pulse.stalled(after), "nothing is known of what it does"
    assert not pulse.beat(at_work(1), 1, after).silent(after)


def test_one_look_in_vain_after_a_long_time_without_any_is_no_silence() -> None:
    """The controller, or the whole machine, may have slept."""
    pulse = Pulse(0).beat(at_work(7), 1, 1).beat(None, 1, 100_000)
    assert not pulse.silent(100_000)


def test_a_restart_counts_anew() -> None:
    """The counters of a new process begin at zero: that is a movement too."""
    pulse = Pulse(0).beat(at_work(500), 1, 100).beat(at_work(0), 1, 200)
    assert not pulse.stalled(200)


def test_requests_that_end_without_a_token() -> None:
    """It says that it is well, and refuses all: those that are there at a look, or are not, change nothing."""
    pulse = Pulse(0).beat(at_work(7, running=0), 0, 0, sent=100)
    for now in range(1, int(BARREN_SECONDS) + 1):
        there = now % 2
        pulse = pulse.beat(at_work(7, running=there), there, now, sent=100 + 5 * now)
        assert not pulse.barren(now)
    after = BARREN_SECONDS + 1
    pulse = pulse.beat(at_work(7, running=0), 0, after, sent=1000)
    assert pulse.barren(after)
    assert not pulse.stalled(after)
    assert not pulse.beat(at_work(8, running=0), 0, after + 1, sent=1001).barren(after + 1), "a token"


def test_requests_that_are_there_have_not_ended() -> None:
    """A prompt that takes minutes to read."""
    pulse = Pulse(0).beat(at_work(7, running=0), 0, 0, sent=100)
    for now in range(1, int(BARREN_SECONDS) * 3):
        pulse = pulse.beat(at_work(7), 3, now, sent=103)
        assert not pulse.barren(now)


def test_a_gateway_that_counts_anew_says_nothing_of_those_before() -> None:
    pulse = Pulse(0).beat(at_work(7, running=0), 0, 0, sent=100)
    for now in range(1, int(BARREN_SECONDS) * 3):
        pulse = pulse.beat(at_work(7, running=0), 0, now, sent=4)
        assert not pulse.barren(now)
    for now in range(1, int(BARREN_SECONDS) * 3):
        pulse = pulse.beat(at_work(7, running=0), None, now, sent=None)
        assert not pulse.barren(now)
