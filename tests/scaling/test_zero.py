"""To zero: only on evidence. And back."""

from __future__ import annotations

import pytest

from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.scaling import decide, demanded
from lyc.scaling.defaults import GAP_SECONDS
from tests.scaling.walk import NOON, Walk

IDLE = 900.0
SLEEPY = ScalePolicy(0, 4, target_concurrency=16.0, idle=IDLE)


def test_it_sleeps_after_the_idle_time_and_not_before() -> None:
    walk = Walk(SLEEPY)
    walk.through(60, 3)
    last = walk.now
    walk.through(IDLE - 1, 0)
    assert walk.state.desired == 1
    walk.through(2, 0)
    assert walk.state.desired == 0
    assert walk.state.last_request == last
    assert walk.state.why == "down to 0: no request"


def test_with_a_minimum_it_never_sleeps() -> None:
    assert Walk(ScalePolicy(1, 4, idle=60)).through(7200, 0) == 1


@pytest.mark.parametrize(
    "sign", [{"in_flight": 1}, {"held": 1}, {"finished": 1}, {"engine_waiting": 1}], ids=lambda sign: next(iter(sign))
)
def test_any_sign_of_a_request_begins_the_idle_time_anew(sign: dict[str, int]) -> None:
    walk = Walk(SLEEPY)
    walk.through(IDLE - 10, 0)
    walk.tick(sign.get("in_flight", 0), **{key: value for key, value in sign.items() if key != "in_flight"})
    walk.through(IDLE - 10, 0)
    assert walk.state.desired == 1
    walk.through(20, 0)
    assert walk.state.desired == 0


def test_a_request_that_came_and_went_between_samples_at_the_end_of_the_idle_time() -> None:
    walk = Walk(SLEEPY)
    walk.through(IDLE, 0)
    assert walk.tick(0, finished=1) == 1


def test_a_controller_that_was_down_for_an_hour_concludes_nothing() -> None:
    walk = Walk(SLEEPY)
    walk.through(60, 0)
    walk.now += 3600
    walk.window = []
    walk.through(IDLE - 1, 0)
    assert walk.state.desired == 1
    walk.through(3, 0)
    assert walk.state.desired == 0


def test_a_gap_in_the_samples_is_no_idleness_and_a_slow_tick_is_no_gap() -> None:
    walk = Walk(SLEEPY)
    walk.through(IDLE - 100, 0)
    walk.now += GAP_SECONDS + 1
    walk.through(200, 0)
    assert walk.state.desired == 1
    slow = Walk(SLEEPY, step=GAP_SECONDS)
    slow.through(IDLE + 60, 0)
    assert slow.state.desired == 0


def test_not_known_is_not_idle() -> None:
    walk = Walk(SLEEPY)
    walk.through(7200, None)
    assert walk.state.desired == 1
    walk.through(IDLE - 1, 0)
    assert walk.state.desired == 1


def test_it_falls_asleep_only_on_a_sample_that_is_known() -> None:
    walk = Walk(SLEEPY)
    walk.through(IDLE - 3, 0)
    walk.through(10, None)
    assert walk.state.desired == 1
    assert walk.tick(0) == 0


def test_no_sample_at_all_keeps_what_there_is() -> None:
    for desired in range(5):
        assert decide((), SLEEPY, ScalerState(desired=desired), NOON, capacity=20).desired == desired


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 1), (3, 3)])
def test_a_demand_means_at_least_one_at_once(before: int, after: int) -> None:
    state = demanded(ScalerState(desired=before, why="x"), SLEEPY, NOON)
    assert (state.desired, state.last_request) == (after, NOON)
    assert state.why == ("up to 1: a request waits" if before == 0 else "x")


def test_a_demand_holds_until_the_idle_time_has_passed() -> None:
    walk = Walk(SLEEPY)
    walk.through(IDLE + 10, 0)
    assert walk.state.desired == 0
    walk.state = demanded(walk.state, SLEEPY, walk.now)
    walk.through(IDLE - 10, 0, ready=1)
    assert walk.state.desired == 1
    walk.through(20, 0, ready=1)
    assert walk.state.desired == 0


@pytest.mark.parametrize(("held", "replicas"), [(1, 1), (16, 1), (17, 2), (40, 3), (500, 4)])
def test_what_waits_wakes_as_many_as_it_takes(held: int, replicas: int) -> None:
    walk = Walk(SLEEPY, ScalerState(desired=0))
    walk.through(60, 0)
    assert walk.tick(0, held=held) == replicas


def test_what_waits_wakes_it_even_when_the_load_is_not_known() -> None:
    walk = Walk(SLEEPY, ScalerState(desired=0))
    walk.through(60, None)
    assert walk.state.desired == 0
    assert walk.tick(None, held=20) == 2


def test_one_that_was_woken_may_finish_loading_though_nobody_waits_any_more() -> None:
    hasty = ScalePolicy(0, 1, idle=30.0, wake_timeout=600.0)
    walk = Walk(hasty, ScalerState(desired=0))
    walk.state = demanded(walk.state, hasty, walk.now)
    walk.through(20, 0, held=1, ready=0)
    walk.through(400, 0, ready=0)
    assert walk.state.desired == 1
    walk.through(10, 0, ready=1)
    assert walk.state.desired == 0, "it has come, and nobody wants it"


def test_the_idle_time_of_a_new_deployment_begins_when_it_can_answer() -> None:
    walk = Walk(SLEEPY)
    walk.through(2 * IDLE, 0, ready=0)
    walk.through(IDLE - 10, 0, ready=1)
    assert walk.state.desired == 1
    walk.through(20, 0, ready=1)
    assert walk.state.desired == 0


def test_one_that_never_comes_does_not_load_for_ever() -> None:
    walk = Walk(ScalePolicy(0, 1, idle=30.0, wake_timeout=600.0), ScalerState(desired=0))
    walk.through(20, 0, held=1, ready=0)
    walk.through(700, 0, ready=0)
    assert walk.state.desired == 0


def test_asleep_it_stays_asleep_until_somebody_comes() -> None:
    walk = Walk(SLEEPY, ScalerState(desired=0))
    walk.through(3600, 0)
    assert set(walk.desired) == {0}


def test_from_many_to_zero_where_the_idle_time_is_short() -> None:
    walk = Walk(ScalePolicy(0, 4, target_concurrency=16.0, idle=20.0))
    walk.through(60, 60)
    walk.through(19 + 60, 0)
    assert walk.state.desired == 0
