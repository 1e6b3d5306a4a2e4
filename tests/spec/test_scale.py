"""How many replicas, and when: the words of it, and the policy that a deploy makes of what was there."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import SpecError
from lyc.records.deployment import DeploymentSpec
from lyc.records.scaling import ScalePolicy, ScaleWish
from lyc.spec.lyc_toml import parse_lyc_toml
from lyc.spec.scale import (
    IdleSteps,
    check_policy,
    check_steps,
    parse_share,
    parse_span,
    parse_target,
    policy_of,
    rules,
    steps_for,
)

RULE = "Mon-Fri 07-22 Europe/Berlin min=1"


def spec(text: str) -> DeploymentSpec:
    return parse_lyc_toml(f'model = "a/b"\n{text}', path=Path("/lyc.toml"), environ={})[0]


def test_all_of_it_in_lyc_toml() -> None:
    found = spec(
        f'min = 0\nmax = 4\ntarget_concurrency = 16\nidle = "15m"\nschedule = "{RULE}"\nwake_timeout = 90\n'
        'canary = "10%"\nbake = "5m"'
    )
    assert found.scale == ScaleWish(0, 4, 16.0, 900.0, rules([RULE]), 90.0, 0.1, 300.0)
    assert policy_of(found) == ScalePolicy(0, 4, 16.0, 900.0, rules([RULE]), 90.0)


def test_what_is_not_said_is_the_default_of_a_new_deployment() -> None:
    assert policy_of(spec("")) == ScalePolicy()
    assert policy_of(spec("min = 3")) == ScalePolicy(3, 3), "at least so many is at most so many where nothing is said"
    assert policy_of(spec("max = 3")) == ScalePolicy(1, 3)
    assert policy_of(DeploymentSpec("d", "m", min_replicas=2, max_replicas=5)) == ScalePolicy(2, 5)


def test_what_is_not_said_stays_as_it_is() -> None:
    before = ScalePolicy(0, 4, 16.0, 300.0, rules([RULE]), 60.0)
    assert policy_of(spec(""), before) == before
    assert policy_of(spec("max = 6"), before) == replace(before, maximum=6)
    assert policy_of(spec('idle = "1h"'), before) == replace(before, idle=3600.0)
    assert policy_of(spec("schedule = []"), before) == replace(before, schedule=())


def test_one_bound_gives_way_to_the_other_that_was_said() -> None:
    before = ScalePolicy(2, 4)
    assert policy_of(spec("min = 6"), before) == ScalePolicy(6, 6)
    assert policy_of(spec("max = 1"), before) == ScalePolicy(1, 1)
    assert policy_of(spec("gpus = [0]"), before) == ScalePolicy(1, 1), "the cards are those of one replica"
    assert policy_of(spec("min = 0\ngpus = [0]")) == ScalePolicy(0, 1)


@pytest.mark.parametrize(
    ("policy", "cards", "key"),
    [
        (ScalePolicy(3, 2), None, "min"),
        (ScalePolicy(-1, 2), None, "max"),
        (ScalePolicy(0, 0), None, "max"),
        (ScalePolicy(0, 65), None, "max"),
        (ScalePolicy(0, 2), (0, 1), "max"),
        (ScalePolicy(0, 2, schedule=rules(["daily 1-2 UTC min=3"])), None, "schedule"),
        (ScalePolicy(2, 4, schedule=rules(["daily 1-2 UTC max=1"])), None, "schedule"),
        (ScalePolicy(0, 1, schedule=rules(["daily 1-2 UTC max=2"])), (0,), "schedule"),
    ],
)
def test_bounds_that_cannot_be_kept(policy: ScalePolicy, cards: tuple[int, ...] | None, key: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_policy(policy, cards=cards, where=lambda key: f"at {key}")
    assert (caught.value.ref, caught.value.where) == ("impossible-scale", f"at {key}")


BOUNDS = st.tuples(st.integers(0, 64), st.integers(1, 64)).map(lambda two: ScalePolicy(min(two), max(two)))


@given(
    said=st.builds(
        ScaleWish,
        minimum=st.none() | st.integers(0, 64),
        maximum=st.none() | st.integers(1, 64),
    ).filter(lambda wish: wish.minimum is None or wish.maximum is None or wish.minimum <= wish.maximum),
    before=st.none() | BOUNDS,
    gpus=st.none() | st.just((0,)),
)
def test_a_policy_can_always_be_kept(said: ScaleWish, before: ScalePolicy | None, gpus: tuple[int, ...] | None) -> None:
    made = policy_of(DeploymentSpec("d", "m", scale=said, gpus=gpus), before)
    check_policy(made, cards=gpus, where=str)
    if gpus is None:
        assert said.minimum in (None, made.minimum)
        assert said.maximum in (None, made.maximum)


def test_shares_spans_and_targets() -> None:
    assert [parse_share(text) for text in ("10%", " 0.25 ", "99.5%")] == [0.1, 0.25, 0.995]
    assert [parse_span(text) for text in ("90", "15m", "1s")] == [90.0, 900.0, 1.0]
    assert [parse_target(text) for text in ("16", "0.5")] == [16.0, 0.5]
    for parse, wrong in (
        (parse_share, ("0", "0%", "100%", "1", "-1%", "x", "", "nan", "inf%")),
        (parse_span, ("0", "0.5s", "x", "", "-1s", "400d")),
        (parse_target, ("0", "-1", "x", "", "nan", "inf")),
    ):
        for text in wrong:
            with pytest.raises(ValueError, match=r"it like|it takes"):
                parse(text)


def test_steps_down_by_kind_of_host() -> None:
    cards, machine, cpu = (steps_for(own=True, cards=True), steps_for(own=False, cards=True),
                           steps_for(own=True, cards=False))  # fmt: skip
    nothing = spec("min = 0")
    found = [policy_of(nothing, None, steps) for steps in (cards, machine, cpu)]
    assert [(one.idle_sleep, one.idle, one.idle_release) for one in found] == [
        (300.0, 900.0, None), (None, 900.0, 1800.0), (None, 900.0, None)
    ]  # fmt: skip
    said = spec('min = 0\nidle_sleep = "never"\nidle_stop = "never"\nidle_release = "2h"')
    policy = policy_of(said, None, cards)
    assert (policy.idle_sleep, policy.idle, policy.idle_release) == (None, None, 7200.0)
    assert policy_of(nothing, policy, machine) == policy, "what was said stays, never too"
    dozy = policy_of(spec('idle_sleep = "1m"'), None, cards)
    assert dozy.idle_sleep == 60.0
    assert policy_of(nothing, dozy).idle_sleep == 60.0, "where it goes is not known yet"
    assert policy_of(nothing, dozy, cpu).idle_sleep is None, "it went where it cannot sleep"


def test_one_word_for_stopping() -> None:
    assert spec('idle = "15m"\nidle_stop = "900s"').scale.idle == 900.0
    with pytest.raises(SpecError) as caught:
        spec('idle = "15m"\nidle_stop = "1h"')
    assert caught.value.where == "/lyc.toml:3"


@pytest.mark.parametrize(
    ("said", "steps", "where"),
    [
        ({"sleep": 60.0, "release": None}, IdleSteps(None, 1.0), "idle_sleep"),
        ({"sleep": None, "release": 60.0}, IdleSteps(1.0, None), "idle_release"),
    ],
)
def test_a_step_that_the_host_cannot_do(said: dict[str, float | None], steps: IdleSteps, where: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_steps(**said, steps=steps, where=str)
    assert (caught.value.ref, caught.value.where) == ("impossible-step", where)
    check_steps(sleep=math.inf, release=math.inf, steps=IdleSteps(), where=str)
    check_steps(sleep=None, release=None, steps=IdleSteps(), where=str)
