"""One line that says what it does and why."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lyc.records.scaling import Sample, ScalePolicy, ScalerState
from lyc.scaling import explain
from lyc.scaling.sentence import span
from lyc.spec.schedule import parse_schedule
from tests.scaling.walk import NOON, Walk

POLICY = ScalePolicy(0, 4, target_concurrency=16.0)


def said(walk: Walk, ready: int) -> str:
    return explain(walk.window, walk.policy, walk.state, walk.now, capacity=walk.capacity, ready=ready)


def test_busy() -> None:
    walk = Walk(POLICY)
    walk.through(60, 41)
    walk.through(60, 41, ready=3)
    assert said(walk, 3) == "3 of 4: 41 in flight / target 16"


def test_panic() -> None:
    walk = Walk(POLICY)
    walk.through(120, 10)
    walk.through(18, 49, ready=1)
    assert re.fullmatch(r"4 of 4 \(1 ready\): 49 in flight / target 16, panic since 1[0-9] s", said(walk, 1))


def test_asleep() -> None:
    state = ScalerState(desired=0, last_request=NOON - 7300)
    assert explain((), POLICY, state, NOON, capacity=1, ready=0) == "0 of 4: stopped, no request for 2 h"
    assert explain((), POLICY, replace(state, asleep=True), NOON, capacity=1, ready=0).startswith("0 of 4: asleep, no")
    never = ScalerState(desired=0)
    assert explain((), POLICY, never, NOON, capacity=1, ready=0) == "0 of 4: stopped, no request so far"


def test_held_by_a_schedule() -> None:
    rule = parse_schedule("Mon-Fri 07-22 Europe/Berlin min=1")
    walk = Walk(ScalePolicy(0, 4, target_concurrency=16.0, schedule=(rule,)))
    walk.through(60, 0)
    assert said(walk, 1) == "1 of 4: schedule Mon-Fri 07-22 Europe/Berlin min=1, 0 in flight / target 16"


def test_held_by_its_minimum() -> None:
    walk = Walk(ScalePolicy(2, 4, target_concurrency=16.0))
    walk.through(60, 3)
    assert said(walk, 2) == "2 of 4: minimum 2, 3 in flight / target 16"


def test_at_its_maximum() -> None:
    walk = Walk(POLICY)
    walk.through(90, 200, ready=4)
    assert said(walk, 4).endswith("no more than the maximum")


def test_what_comes_next() -> None:
    walk = Walk(POLICY)
    walk.through(90, 60)
    walk.through(200, 4)
    assert said(walk, 4) == "4 of 4: 4 in flight / target 16, fewer in 6 min"
    walk.through(600, 4)
    walk.through(300, 0)
    assert said(walk, 1) == "1 of 4: 0 in flight / target 16, idle for 5 min, stopped in 10 min"


def test_engines_that_hold_back() -> None:
    walk = Walk(POLICY)
    walk.through(10, 10, engine_waiting=7, kv_usage=0.97, held=2)
    assert said(walk, 1) == "1 of 4: 10 in flight / target 16, 2 waiting, 7 held back by engines, KV cache 97% full"


def test_what_is_not_known() -> None:
    walk = Walk(POLICY)
    assert said(walk, 1) == "1 of 4: its load is not known yet"
    walk.through(10, 5)
    walk.through(50, None)
    assert said(walk, 1) == "1 of 4: its load is unknown since 50 s, kept as it is"


@pytest.mark.parametrize("desired", [0, 1, 3])
@pytest.mark.parametrize("window", [(), (Sample(NOON, None),), (Sample(NOON, 3, ready=1),), (Sample(NOON + 9e9, 3),)])
def test_it_has_something_to_say_of_anything(desired: int, window: tuple[Sample, ...]) -> None:
    text = explain(window, POLICY, ScalerState(desired=desired), NOON, capacity=0, ready=1)
    assert re.match(rf"{desired} of 4.*: \S", text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0.4, "0 s"), (12, "12 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"),
     (172799, "47 h"), (172800, "2 d"), (9e8, "10416 d")],
)  # fmt: skip
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
