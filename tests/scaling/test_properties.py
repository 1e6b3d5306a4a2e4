"""What holds of the decider whatever happens: hypothesis makes the traffic, the clock and the policy."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import TypeAdapter

from lyc.records.scaling import Sample, ScalePolicy, ScalerState, ScheduleRule
from lyc.scaling import bounds, decide, demanded, explain
from lyc.scaling.defaults import DOWN_SECONDS, GAP_SECONDS
from tests.scaling.walk import NOON, Walk

NIGHT = ScheduleRule(tuple(range(7)), 22 * 60, 6 * 60, "Europe/Berlin", 0, 2, "night")
DAY = ScheduleRule((0, 1, 2, 3, 4), 8 * 60, 18 * 60, "America/New_York", 2, None, "day")

loads = st.none() | st.integers(0, 400)


@st.composite
def policies(draw: st.DrawFn) -> ScalePolicy:
    low = draw(st.integers(0, 6))
    return ScalePolicy(
        low,
        max(1, low + draw(st.integers(0, 10))),
        target_concurrency=draw(st.none() | st.floats(0.5, 64)),
        idle=draw(st.sampled_from([1.0, 30.0, 900.0])),
        schedule=tuple(draw(st.lists(st.sampled_from([NIGHT, DAY]), max_size=2))),
    )


@st.composite
def samples(draw: st.DrawFn, at: float) -> Sample:
    return Sample(
        at,
        draw(loads),
        draw(st.sampled_from([0, 0, 0, 1, 50])),
        draw(st.sampled_from([0, 0, 1, 9])),
        draw(st.none() | st.integers(0, 30)),
        draw(st.none() | st.floats(0, 1)),
        draw(st.none() | st.integers(0, 8)),
    )


@st.composite
def windows(draw: st.DrawFn) -> list[Sample]:
    ages = sorted(draw(st.lists(st.floats(-20, 200), max_size=15)), reverse=True)
    return [draw(samples(NOON - age)) for age in ages]


@st.composite
def states(draw: st.DrawFn) -> ScalerState:
    def some(low: float, high: float) -> float | None:
        age = draw(st.none() | st.floats(low, high))
        return None if age is None else NOON - age

    watched = sorted([draw(st.floats(-10, 2000)), draw(st.floats(-10, 200))], reverse=True)
    needs = draw(st.lists(st.integers(0, 16), max_size=4, unique=True).map(lambda found: sorted(found, reverse=True)))
    ages = sorted((draw(st.floats(0, 400)) for _ in needs), reverse=True)
    panic = some(0, 100)
    return ScalerState(
        draw(st.integers(0, 16)),
        some(-100, 3000),
        panic,
        some(0, 400),
        panic_last=panic,
        watched_since=NOON - watched[0],
        watched_until=NOON - watched[1],
        needs=tuple((NOON - age, need) for age, need in zip(ages, needs, strict=True)),
        learned=draw(st.none() | st.floats(1, 40)),
        learned_at=some(0, 4000),
    )


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(windows(), policies(), states())
def test_never_above_the_maximum_never_below_the_minimum(
    window: list[Sample], policy: ScalePolicy, state: ScalerState
) -> None:
    low, high = bounds(policy, NOON)
    assert low <= decide(window, policy, state, NOON, capacity=20).desired <= high
    assert max(low, min(1, high)) <= demanded(state, policy, NOON).desired <= high


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(windows(), policies(), states())
def test_without_data_nothing_is_lowered(window: list[Sample], policy: ScalePolicy, state: ScalerState) -> None:
    low, high = bounds(policy, NOON)
    nothing = [Sample(one.at, None, one.held, one.finished) for one in window]
    assert decide(nothing, policy, state, NOON, capacity=20).desired >= max(low, min(high, state.desired))
    old = [one for one in window if one.at < NOON - 60]
    assert decide(old, policy, state, NOON, capacity=20).desired == max(low, min(high, state.desired))
    unsure = [*window, Sample(NOON, None)]
    assert decide(unsure, policy, state, NOON, capacity=20).desired >= max(low, min(high, state.desired))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(windows(), policies(), states(), st.data())
def test_more_load_never_means_fewer(
    window: list[Sample], policy: ScalePolicy, state: ScalerState, data: st.DataObject
) -> None:
    more = [
        Sample(
            one.at,
            None if one.in_flight is None else one.in_flight + data.draw(st.integers(0, 200)),
            one.held + data.draw(st.integers(0, 50)),
            one.finished + data.draw(st.integers(0, 5)),
            one.engine_waiting,
            one.kv_usage,
            one.ready,
        )
        for one in window
    ]
    fewer = decide(window, policy, state, NOON, capacity=20)
    assert decide(more, policy, state, NOON, capacity=20).desired >= fewer.desired


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(windows(), policies(), states())
def test_a_smaller_target_never_means_fewer(window: list[Sample], policy: ScalePolicy, state: ScalerState) -> None:
    assume(policy.target_concurrency is None)
    wide = decide(window, policy, state, NOON, capacity=40).desired
    assert decide(window, policy, state, NOON, capacity=8).desired >= wide


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 300), st.integers(0, 12), st.integers(0, 3), st.integers(1, 12), st.floats(1, 64))
def test_a_constant_load_settles_at_what_it_needs_and_stays(
    load: int, begin: int, low: int, span: int, target: float
) -> None:
    policy = ScalePolicy(low, low + span, target_concurrency=target, idle=900.0)
    walk = Walk(policy, ScalerState(desired=begin), step=3.0)
    walk.through(DOWN_SECONDS + 120, load)
    need = math.ceil(round(load / target, 6))
    settled = max(low, min(low + span, max(need, min(1, begin))))
    assert walk.state.desired == settled
    walk.desired.clear()
    walk.through(770 - DOWN_SECONDS, load)
    assert set(walk.desired) == {settled}
    walk.through(1200, load)
    assert walk.state.desired == (settled if load else low)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(windows(), policies(), states())
def test_a_state_comes_back_from_the_store_as_it_was(
    window: list[Sample], policy: ScalePolicy, state: ScalerState
) -> None:
    after = decide(window, policy, state, NOON, capacity=20)
    assert TypeAdapter(ScalerState).validate_python(json.loads(json.dumps(asdict(after)))) == after
    assert len(after.needs) <= 17


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(windows(), policies(), states())
def test_deciding_twice_is_deciding_once(window: list[Sample], policy: ScalePolicy, state: ScalerState) -> None:
    once = decide(window, policy, state, NOON, capacity=20)
    assert explain(window, policy, once, NOON, capacity=20, ready=1).startswith(f"{once.desired} of ")
    twice = decide(window, policy, once, NOON, capacity=20)
    assert twice.watched_until == once.watched_until
    assert twice.last_request == once.last_request


class Deployment(RuleBasedStateMachine):
    """A deployment for some hours: traffic, silence, lost measurements, a clock that jumps, a controller that restarts.

    What the machine knows of the truth: when the last request was, and since when nobody has been looking away.
    """

    @initialize(policy=policies())
    def begin(self, policy: ScalePolicy) -> None:
        self.walk = Walk(policy, ScalerState(desired=max(1, policy.minimum)), step=5.0)
        self.elapsed = 0.0
        self.evidence_since = math.inf
        self.last_seen = -math.inf

    def step(self, load: int | None, held: int = 0, finished: int = 0) -> None:
        before = self.walk.state.desired
        policy = self.walk.policy
        self.elapsed += self.walk.step
        desired = self.walk.tick(load, held=held, finished=finished, ready=before)
        low, high = bounds(policy, self.walk.now)
        if load is not None:
            if self.elapsed - self.last_seen > GAP_SECONDS:
                self.evidence_since = self.elapsed
            self.last_seen = self.elapsed
        busy = bool(load or held or finished)
        if busy:
            self.evidence_since = self.elapsed
        assert low <= desired <= high
        inside = max(low, min(high, before))
        if load is None:
            assert desired >= inside
        if desired == 0 and inside > 0:
            assert not busy
            assert self.elapsed - self.evidence_since >= policy.idle
        if held and high:
            assert desired >= 1
        if load:
            assert desired >= min(inside, 1)

    @rule(load=st.integers(0, 300), seconds=st.integers(1, 400))
    def traffic(self, load: int, seconds: int) -> None:
        for _ in range(0, seconds, 5):
            self.step(load)

    @rule(seconds=st.integers(1, 1500))
    def silence(self, seconds: int) -> None:
        for _ in range(0, seconds, 5):
            self.step(0)

    @rule()
    def one_short_request(self) -> None:
        self.step(0, finished=1)

    @rule(waiting=st.integers(1, 300), load=st.sampled_from([0, None]))
    def burst(self, waiting: int, load: int | None) -> None:
        self.step(load, held=waiting)

    @rule(seconds=st.integers(1, 120))
    def blind(self, seconds: int) -> None:
        for _ in range(0, seconds, 5):
            self.step(None)

    @rule()
    def asked_for(self) -> None:
        self.walk.state = demanded(self.walk.state, self.walk.policy, self.walk.now)
        self.evidence_since = self.elapsed
        assert self.walk.state.desired >= 1

    @rule(seconds=st.floats(31, 86400 * 9) | st.floats(-86400 * 9, -6))
    def clock_jumps(self, seconds: float) -> None:
        """What was seen before counts no more, but what lies in the window still before the new now."""
        self.walk.now += seconds
        self.last_seen = -math.inf
        if seconds < 0:
            self.walk.window = []

    @rule(seconds=st.floats(0, 7200))
    def restart(self, seconds: float) -> None:
        """The controller is away for a while. Its state is on the disk, its window is lost."""
        self.walk.window = []
        self.walk.now += seconds
        self.elapsed += seconds

    @invariant()
    def within_bounds(self) -> None:
        if hasattr(self, "walk"):
            assert 0 <= self.walk.state.desired <= max(self.walk.policy.maximum, 2)


TestDeployment = Deployment.TestCase
TestDeployment.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
