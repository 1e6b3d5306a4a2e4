"""What engines say of themselves: more than they bear at fewer requests than was planned."""

from __future__ import annotations

from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.scaling.defaults import DOWN_SECONDS, LEARNED_SECONDS, STABLE_SECONDS
from tests.scaling.walk import Walk

POLICY = ScalePolicy(1, 8)


def served(walk: Walk, seconds: float, load: int, ready: int, **more: object) -> int:
    return walk.through(seconds, load, ready=ready, **more)


def test_requests_that_engines_hold_back_bring_another_replica() -> None:
    walk = Walk(POLICY, capacity=256.0)
    assert served(walk, 120, 40, 1, engine_waiting=0, kv_usage=0.5) == 1
    assert served(walk, 90, 40, 1, engine_waiting=5, kv_usage=0.5) == 2


def test_a_full_kv_cache_brings_another_replica() -> None:
    walk = Walk(POLICY, capacity=256.0)
    assert served(walk, 120, 40, 1, kv_usage=0.85) == 1
    assert served(walk, 120, 40, 1, kv_usage=0.97) == 2


def test_a_moment_of_it_does_not() -> None:
    walk = Walk(POLICY, capacity=256.0)
    served(walk, 120, 40, 1, engine_waiting=0, kv_usage=0.5)
    served(walk, 5, 40, 1, engine_waiting=3, kv_usage=0.99)
    served(walk, 120, 40, 1, engine_waiting=0, kv_usage=0.5)
    assert set(walk.desired) == {1}


def test_while_the_new_one_loads_there_come_no_more() -> None:
    walk = Walk(POLICY, capacity=256.0)
    served(walk, 1200, 40, 1, engine_waiting=20, kv_usage=0.99)
    assert walk.state.desired == 2


def test_a_new_replica_has_a_stable_window_to_take_its_part() -> None:
    walk = Walk(POLICY, capacity=256.0)
    served(walk, 120, 40, 1, engine_waiting=20)
    served(walk, STABLE_SECONDS - 5, 40, 2, engine_waiting=20)
    assert walk.state.desired == 2
    served(walk, 30, 40, 2, engine_waiting=20)
    assert walk.state.desired == 3, "two do not bear it either"


def test_what_was_learned_keeps_it_from_flapping_and_is_forgotten_after_an_hour() -> None:
    walk = Walk(POLICY, capacity=256.0)
    served(walk, 120, 40, 1, engine_waiting=20)
    served(walk, LEARNED_SECONDS - 200, 40, 2, engine_waiting=0)
    assert walk.state.desired == 2
    served(walk, DOWN_SECONDS + 400, 40, 2, engine_waiting=0)
    assert walk.state.desired == 1


def test_a_lower_load_lets_it_go_down_all_the_same() -> None:
    walk = Walk(POLICY, capacity=256.0)
    served(walk, 120, 40, 1, engine_waiting=20)
    assert served(walk, DOWN_SECONDS + 90, 20, 2, engine_waiting=0) == 1


def test_where_nobody_knows_how_many_serve_it_only_stays() -> None:
    walk = Walk(POLICY, ScalerState(desired=3), capacity=256.0)
    walk.through(DOWN_SECONDS * 3, 40, engine_waiting=9)
    assert set(walk.desired) == {3}


def test_an_overload_that_was_foreseen_teaches_nothing() -> None:
    walk = Walk(ScalePolicy(1, 2), capacity=20.0)
    served(walk, 300, 100, 2, engine_waiting=50, kv_usage=1.0)
    assert walk.state.learned is None


def test_an_engine_that_is_full_of_nothing_is_not_believed() -> None:
    walk = Walk(POLICY, capacity=256.0)
    served(walk, 600, 0, 1, engine_waiting=0, kv_usage=1.0)
    assert set(walk.desired) == {1}
