"""Starts that get on, however slowly, and starts that do not."""

from __future__ import annotations

from lyc.engines.coming import MUTE_SECONDS, UNANSWERED_SECONDS, Coming


def test_a_start_that_takes_all_day_and_says_so() -> None:
    coming = Coming(0)
    for shard in range(1, 200):
        now = shard * (MUTE_SECONDS - 1)
        assert not coming.mute(now)
        line = (
            f"Loading safetensors checkpoint shards: {shard / 2:.0f}% Completed | {shard}/200 [{now:.0f}<99:99, 9s/it]"
        )
        coming.heard([line], now)


def test_one_that_says_nothing() -> None:
    coming = Coming(5)
    coming.heard([], 500)
    coming.heard(["", "   "], 500)
    assert not coming.mute(4 + MUTE_SECONDS)
    assert coming.mute(5 + MUTE_SECONDS)
    assert coming.unanswered(5 + UNANSWERED_SECONDS)


def test_what_is_said_again_and_again_is_nothing_new() -> None:
    """vLLM says this once a minute, for as long as one of its processes hangs."""
    coming = Coming(0)
    for minute in range(1, 40):
        stamp = f"01-02 03:{minute:02d}:05"
        coming.heard(
            [
                f"(EngineCore pid=7) INFO {stamp} [shm_broadcast.py:681] No available shared memory broadcast block "
                "found in 60 seconds.",
                f"(EngineCore pid=7) WARNING {stamp} [x.py:1] still waiting after {60 * minute} seconds",
            ],
            minute * 60.0,
        )
    assert coming.since == 60.0
    assert coming.mute(60.0 + MUTE_SECONDS)


def test_whoever_was_not_heard_has_the_whole_time_again() -> None:
    coming = Coming(0)
    coming.begun(MUTE_SECONDS * 2)
    assert not coming.mute(MUTE_SECONDS * 2.9)
