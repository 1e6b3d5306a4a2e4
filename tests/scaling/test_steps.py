"""Down in steps: asleep, then stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.scaling import demanded, explain, made_room
from lyc.scaling.defaults import GAP_SECONDS
from tests.scaling.walk import Walk

DOZE, STOP = 300.0, 900.0
DOZY = ScalePolicy(0, 4, target_concurrency=16.0, idle=STOP, idle_sleep=DOZE)


def dozing(policy: ScalePolicy = DOZY) -> Walk:
    walk = Walk(policy)
    walk.through(60, 3)
    walk.through(DOZE + 2, 0)
    assert (walk.state.desired, walk.state.asleep) == (0, True)
    return walk


def said(walk: Walk) -> str:
    return explain(walk.window, walk.policy, walk.state, walk.now, capacity=walk.capacity, ready=walk.state.desired)


def test_first_it_sleeps_then_it_stops() -> None:
    walk = Walk(DOZY)
    walk.through(60, 3)
    walk.through(DOZE - 1, 0)
    assert walk.state.desired == 1
    assert said(walk).endswith("asleep in 1 s")
    walk.through(2, 0)
    assert (walk.state.desired, walk.state.asleep) == (0, True)
    assert walk.state.why == "down to 0: no request"
    walk.through(STOP - DOZE - 3, 0)
    assert walk.state.asleep
    assert said(walk) == "0 of 4: asleep, no request for 14 min, stopped in 2 s"
    walk.through(4, 0)
    assert (walk.state.desired, walk.state.asleep) == (0, False)
    assert walk.state.why == "asleep no more: no request"
    assert said(walk) == "0 of 4: stopped, no request for 15 min"


def test_a_request_wakes_it_and_it_is_asleep_no_more() -> None:
    walk = dozing()
    walk.state = demanded(walk.state, DOZY, walk.now)
    assert (walk.state.desired, walk.state.asleep) == (1, False)
    walk.through(DOZE - 5, 0, ready=1)
    assert walk.state.desired == 1
    walk.through(10, 0, ready=1)
    assert (walk.state.desired, walk.state.asleep) == (0, True)


@pytest.mark.parametrize(
    ("policy", "asleep"),
    [
        (replace(DOZY, idle_sleep=None), False),
        (replace(DOZY, idle_sleep=STOP), False),
        (replace(DOZY, idle_sleep=2 * STOP), False),
        (replace(DOZY, idle=None), True),
    ],
    ids=["never sleeps", "both at once", "stops before it would sleep", "never stops"],
)
def test_one_step_only(policy: ScalePolicy, *, asleep: bool) -> None:
    walk = Walk(policy)
    walk.through(10 * STOP, 0)
    assert (walk.state.desired, walk.state.asleep) == (0, asleep)


def test_never_at_all() -> None:
    walk = Walk(replace(DOZY, idle=None, idle_sleep=None))
    walk.through(10 * STOP, 0)
    assert walk.state.desired == 1
    assert said(walk) == "1 of 4: 0 in flight / target 16"


def test_what_is_not_known_stops_nothing_that_sleeps() -> None:
    walk = dozing()
    walk.through(2 * STOP, None)
    assert walk.state.asleep
    walk.now += 2 * GAP_SECONDS
    walk.through(STOP - 5, 0)
    assert walk.state.asleep, "nobody knows what was in the gap"
    walk.through(10, 0)
    assert not walk.state.asleep


def test_no_sleep_where_it_is_not_wished_any_more() -> None:
    walk = dozing()
    walk.policy = replace(DOZY, idle_sleep=None)
    walk.tick(0)
    assert (walk.state.desired, walk.state.asleep) == (0, False)


def test_awake_by_the_clock_none_is_asleep() -> None:
    walk = dozing()
    walk.policy = replace(DOZY, minimum=1)
    walk.tick(0)
    assert (walk.state.desired, walk.state.asleep) == (1, False)


def test_what_was_asked_for_before_it_made_room_does_not_call_it_back() -> None:
    walk = Walk(DOZY)
    walk.through(60, 10)
    walk.tick(0)
    walk.state = made_room(walk.state, "made room for other", asleep=True)
    assert walk.through(120, lambda since: 1 if since < 20 else 0, ready=0) == 0, "its last stream drains"
    assert set(walk.desired[-100:]) == {0}


@pytest.mark.parametrize("asleep", [True, False])
def test_one_that_made_room_says_for_whom_and_stays_away_until_it_is_asked_for(*, asleep: bool) -> None:
    walk = Walk(DOZY)
    walk.through(60, 0)
    walk.state = made_room(walk.state, "made room for other", asleep=asleep)
    walk.through(30, 0)
    assert (walk.state.desired, walk.state.asleep) == (0, asleep)
    how = "asleep" if asleep else "stopped"
    assert said(walk).startswith(f"0 of 4: {how}, made room for other, no request so far")
    walk.tick(0, held=1)
    assert (walk.state.desired, walk.state.asleep) == (1, False)
    assert made_room(ScalerState(2), "x", asleep=True).desired == 0
