"""Up at once, down when fewer have done for minutes."""

from __future__ import annotations

import pytest

from lyc.records.scaling import Sample, ScalePolicy, ScalerState
from lyc.scaling import decide
from lyc.scaling.defaults import DOWN_SECONDS, STABLE_SECONDS
from tests.scaling.walk import NOON, Walk

FOUR = ScalePolicy(1, 4, target_concurrency=16.0)
MANY = ScalePolicy(1, 64, target_concurrency=16.0)


@pytest.mark.parametrize(
    ("load", "replicas"), [(0, 1), (1, 1), (16, 1), (17, 2), (32, 2), (33, 3), (48, 3), (64, 4), (65, 4), (10_000, 4)]
)
def test_a_load_that_stays_gets_what_it_needs(load: int, replicas: int) -> None:
    assert Walk(FOUR).through(120, load) == replicas


@pytest.mark.parametrize(
    ("capacity", "load", "replicas"), [(20.0, 15, 1), (20.0, 16, 2), (256.0, 192, 1), (256.0, 193, 2), (0.0, 3, 3)]
)
def test_without_a_target_it_is_three_quarters_of_what_a_replica_can_hold(
    capacity: float, load: int, replicas: int
) -> None:
    assert Walk(ScalePolicy(1, 4), capacity=capacity).through(120, load) == replicas


def test_a_load_that_grows_slowly_is_followed_by_its_average() -> None:
    walk = Walk(FOUR)
    walk.through(60, 10)
    walk.through(30, 20)
    assert walk.state.desired == 1, "15 on average"
    walk.through(30, 20)
    assert walk.state.desired == 2
    assert walk.state.panic_since is None


def test_a_burst_is_met_within_seconds_and_a_blip_is_not() -> None:
    walk = Walk(FOUR)
    walk.through(120, 10)
    walk.tick(60)
    assert walk.state.desired == 1, "one second of it"
    walk.through(5, 60)
    assert walk.state.desired == 4
    assert walk.state.panic_since is not None
    calm = Walk(FOUR)
    calm.through(120, 10)
    calm.through(2, 30)
    calm.through(60, 10)
    assert set(calm.desired) == {1}


def test_what_waits_counts_in_full_at_once() -> None:
    walk = Walk(ScalePolicy(0, 8, target_concurrency=16.0), ScalerState(desired=0))
    walk.through(120, 0)
    assert walk.tick(0, held=100) == 7


def test_it_at_most_doubles_at_one_decision_but_for_zero() -> None:
    state = ScalerState(desired=3)
    window = [Sample(NOON, 500)]
    assert decide(window, MANY, state, NOON, capacity=20).desired == 6
    zero = ScalerState(desired=0)
    assert decide(window, MANY, zero, NOON, capacity=20).desired == 32


def test_panic_lasts_until_a_stable_window_has_passed_without_reason() -> None:
    walk = Walk(FOUR)
    walk.through(120, 10)
    walk.through(10, 60, ready=1)
    begun = walk.state.panic_since
    assert begun is not None
    walk.through(30, 60, ready=1)
    assert walk.state.panic_since == begun, "its begin is remembered while it goes on"
    walk.through(STABLE_SECONDS - 3, 5, ready=4)
    assert walk.state.panic_since == begun
    walk.through(10, 5, ready=4)
    assert walk.state.panic_since is None


def test_in_panic_it_never_goes_down() -> None:
    walk = Walk(FOUR, ScalerState(desired=4))
    walk.through(DOWN_SECONDS + 200, 3, ready=4)
    assert walk.state.desired == 1
    held = Walk(FOUR, ScalerState(desired=4))
    held.through(DOWN_SECONDS + 200, 48, ready=1)
    assert set(held.desired) == {4}, "one replica of four is up: that three are needed is no reason to stop others"


def test_fewer_only_when_the_highest_need_of_the_last_minutes_was_lower() -> None:
    walk = Walk(FOUR)
    walk.through(120, 60)
    assert walk.state.desired == 4
    walk.through(DOWN_SECONDS - 90, 20)
    walk.through(50, 60)
    spike = walk.now
    assert walk.state.desired == 4
    walk.through(DOWN_SECONDS - 5, 20)
    assert walk.state.desired == 4
    walk.through(90, 20)
    assert walk.state.desired == 2, "and no further: two were needed all the time"
    assert walk.now - spike < DOWN_SECONDS + STABLE_SECONDS + 60


def test_down_to_the_highest_need_and_not_below() -> None:
    walk = Walk(FOUR)
    walk.through(120, 60)
    walk.through(DOWN_SECONDS + 120, 40)
    assert walk.state.desired == 3


def test_down_to_the_highest_of_the_last_minutes_though_less_is_needed_now() -> None:
    walk = Walk(FOUR)
    walk.through(120, 60)
    walk.through(DOWN_SECONDS - 200, 40)
    walk.through(300, 4)
    assert walk.state.desired == 3
    walk.through(400, 4)
    assert walk.state.desired == 1


def test_at_most_half_at_one_decision() -> None:
    walk = Walk(MANY, ScalerState(desired=40))
    walk.through(DOWN_SECONDS + 30, 10)
    downs = list(dict.fromkeys(walk.desired))
    assert downs == [40, 20, 10, 5, 3, 2, 1]


def test_it_says_since_when_fewer_would_do() -> None:
    walk = Walk(FOUR)
    walk.through(120, 60)
    assert walk.state.down_since is None
    walk.through(100, 20)
    assert walk.state.down_since is not None
    assert walk.now - walk.state.down_since < 100
    walk.through(100, 60)
    assert walk.state.down_since is None


@pytest.mark.parametrize("around", [16, 32, 48])
def test_a_load_at_the_edge_does_not_flap(around: int) -> None:
    walk = Walk(FOUR)
    walk.through(3600, lambda second: around + (3 if int(second) // 70 % 2 else -3))
    changes = sum(one != other for one, other in zip(walk.desired, walk.desired[1:], strict=False))
    assert walk.state.desired == around // 16 + 1
    assert changes <= around // 16


def test_the_sum_of_floats_costs_no_replica() -> None:
    window = [Sample(NOON - 59 + second, 3) for second in range(60)]
    policy = ScalePolicy(1, 64, target_concurrency=0.1)
    assert decide(window, policy, ScalerState(desired=20), NOON, capacity=1).desired == 30


@pytest.mark.parametrize("target", [0.0, -3.0])
def test_a_target_that_cannot_be_stays_within_the_maximum(target: float) -> None:
    assert Walk(ScalePolicy(1, 4, target_concurrency=target)).through(10, 3) == 4


def test_bounds_that_change_are_kept_at_once() -> None:
    walk = Walk(FOUR)
    walk.through(120, 60)
    walk.policy = ScalePolicy(1, 2, target_concurrency=16.0)
    assert walk.tick(60) == 2
    assert walk.state.why == "down to 2: between 1 and 2 now"
    walk.policy = ScalePolicy(3, 8, target_concurrency=16.0)
    assert Walk(walk.policy, ScalerState(desired=1)).tick(None) == 3, "even when nothing is known of the load"


def test_the_reason_is_that_of_the_last_change() -> None:
    walk = Walk(FOUR)
    walk.through(120, 60)
    assert walk.state.why.startswith("up to 4: ")
    assert walk.state.why.endswith("in flight / target 16")
    before = walk.state.why
    walk.through(60, 60)
    assert walk.state.why == before
