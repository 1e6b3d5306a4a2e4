"""Clocks that jump: nothing is lowered that would not have been."""

from __future__ import annotations

import pytest

from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.scaling import demanded
from lyc.scaling.defaults import DOWN_SECONDS
from tests.scaling.walk import Walk

POLICY = ScalePolicy(0, 8, target_concurrency=16.0, idle=1800.0)
JUMPS = [-10 * 86400.0, -86400.0, -3600.0, -60.0, -6.0, 31.0, 60.0, 3600.0, 86400.0, 10 * 86400.0]


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_while_it_is_busy_lowers_nothing(jump: float) -> None:
    walk = Walk(POLICY)
    walk.through(200, 60)
    walk.now += jump
    walk.desired.clear()
    walk.through(1200, 60)
    assert set(walk.desired) == {4}


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_shortens_neither_the_delay_nor_the_idle_time(jump: float) -> None:
    walk = Walk(POLICY)
    walk.through(200, 60)
    walk.through(100, 0)
    walk.now += jump
    assert walk.through(DOWN_SECONDS - 105, 0) == 4
    assert 0 < walk.through(700, 0) < 4
    assert walk.through(1800, 0) == 0


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_back_and_forth_again(jump: float) -> None:
    walk = Walk(POLICY)
    walk.through(200, 60)
    walk.now += jump
    walk.tick(60)
    walk.now -= jump
    walk.desired.clear()
    walk.through(600, 60)
    assert set(walk.desired) == {4}


@pytest.mark.parametrize("jump", JUMPS)
def test_a_decision_right_after_a_jump_before_any_new_sample(jump: float) -> None:
    walk = Walk(POLICY)
    walk.through(1000, 0)
    walk.state = demanded(walk.state, POLICY, walk.now)
    walk.now += jump
    assert walk.decide() == 1


def test_samples_of_a_time_that_is_still_to_come_are_none() -> None:
    walk = Walk(POLICY)
    walk.through(120, 0)
    walk.now -= 86400
    walk.through(10, 40)
    assert walk.state.desired == 3, "forty on average, not forty and the zeros of before"


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_panic_ends_after_a_jump(jump: float) -> None:
    walk = Walk(POLICY)
    walk.through(120, 10)
    walk.through(20, 60, ready=1)
    assert walk.state.panic_since is not None
    walk.now += jump
    walk.through(70, 5, ready=4)
    assert walk.state.panic_since is None


def test_a_small_correction_of_the_clock_costs_no_evidence() -> None:
    walk = Walk(POLICY)
    for _ in range(60):
        walk.through(40, 0)
        walk.now -= 2
    assert walk.state.desired == 0


def test_a_state_of_another_time_is_taken_with_care() -> None:
    strange = ScalerState(
        desired=4, last_request=9e12, panic_since=9e12, panic_last=9e12, down_since=9e12, watched_since=9e12,
        watched_until=9e12, needs=((9e12, 4),), learned=3.0, learned_at=9e12,
    )  # fmt: skip
    walk = Walk(POLICY, strange)
    walk.through(DOWN_SECONDS - 300, 10, ready=4)
    assert walk.state.desired == 4
    walk.through(DOWN_SECONDS - 300, 10, ready=4)
    assert walk.state.panic_since is None
    walk.through(4000, 10, ready=4)
    assert (walk.state.desired, walk.state.learned) == (1, None)
