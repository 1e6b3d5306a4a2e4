"""What is measured of wakes, and what a request that waits is told."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.control.waketimes import ORDER, expected, measured, remaining, typical
from lyc.records.deployment import DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.placement import Placement, PlacementState
from lyc.records.plan import EngineBuild, Plan
from lyc.records.rental import Offer, Rental, RentalState
from lyc.records.waketime import WakeStep, WakeTime

RELEASE = Release(
    "d", 2, DeploymentSpec("d", "hf:a/b", host="box"), "x", "hf:a/b@1", "sha256:0", "/w",
    Plan(EngineBuild("vllm", "0.32.0"), "H100"), ReleaseState.ACTIVE, 1.0, active_at=50.0,
)  # fmt: skip
FRESH = replace(RELEASE, state=ReleaseState.PENDING, active_at=None)
READY = Replica("d-2-b", "d", 2, "box", ReplicaState.READY, 100.0, 130.0, "/s", attempts=1, ready_at=130.0)
BEFORE = replace(READY, id="d-2-a", state=ReplicaState.STOPPED, created_at=10.0, ready_at=50.0)


def of(found: WakeTime | None) -> tuple[WakeStep, float] | None:
    return None if found is None else (found.step, found.seconds)


def test_a_first_start_is_no_wake() -> None:
    assert of(measured(READY, FRESH, others=[READY])) == ("new", 30.0)


def test_a_host_that_has_served_the_release_has_all_it_needs() -> None:
    assert of(measured(READY, FRESH, others=[BEFORE, READY])) == ("stopped", 30.0)
    assert of(measured(READY, RELEASE, others=[READY])) == ("stopped", 30.0), "the old ones are forgotten"
    elsewhere = replace(BEFORE, host="other")
    assert of(measured(READY, FRESH, others=[elsewhere])) == ("new", 30.0)


def test_on_a_further_host_it_begins_when_that_was_wished() -> None:
    further = replace(READY, host="other")
    placed = Placement("p", "d", 2, PlacementState.READY, 70.0, 99.0, host="other")
    assert of(measured(further, RELEASE, others=[BEFORE], placements=[placed])) == ("new", 60.0)
    assert of(measured(further, RELEASE, others=[BEFORE])) == ("new", 30.0)


def test_a_machine_that_was_rented_for_it_counts_from_its_order() -> None:
    offer = Offer("lyceum", "h100", "H100", "H100 SXM", 1, Decimal("2.5"), "EUR")
    rental = Rental("o-1", "lyceum", "d", offer, RentalState.RENTED, 40.0, 40.0, host="box")
    assert of(measured(READY, RELEASE, others=[], rentals=[rental])) == ("released", 90.0)
    assert of(measured(READY, FRESH, others=[], rentals=[rental])) == ("new", 90.0)
    served = replace(rental, ready_at=60.0)
    assert of(measured(READY, RELEASE, others=[BEFORE], rentals=[served])) == ("stopped", 30.0)


def test_an_engine_that_slept_counts_from_its_wake() -> None:
    assert of(measured(replace(READY, attempts=3), RELEASE, others=[BEFORE], woken=127.0)) == ("asleep", 3.0)


@pytest.mark.parametrize("change", [{"attempts": 2}, {"starts": 2}, {"ready_at": None}, {"ready_at": 90.0}])
def test_what_says_nothing_is_not_kept(change: dict[str, float | None]) -> None:
    """Started more than once, never ready, or the clock was set back."""
    assert measured(replace(READY, **change), RELEASE, others=[BEFORE]) is None


def times(*rows: tuple[int, WakeStep, float]) -> list[WakeTime]:
    return [WakeTime("d", number, step, float(at), seconds) for at, (number, step, seconds) in enumerate(rows)]


def test_what_is_expected_is_the_median_of_the_last() -> None:
    slow_once = times(*((2, "stopped", 900.0) for _ in range(9)), *((2, "stopped", s) for s in (20, 22, 500, 21, 23)))
    assert expected(slow_once, 2, "stopped") == 22


def test_what_was_never_measured_is_as_the_nearest_that_was() -> None:
    known = times((1, "stopped", 40.0), (2, "new", 90.0), (1, "released", 300.0))
    assert expected(known, 2, "stopped") == 40.0, "the same step of the release before"
    assert expected(known, 2, "released") == 300.0
    assert expected(known, 1, "asleep") == 40.0, "no longer than from the next step"
    assert expected(times((2, "new", 90.0)), 2, "stopped") == 90.0
    assert expected([], 2, "stopped") is None
    assert expected(times((2, "asleep", 1.0)), 2, "released") is None, "what is quicker says nothing of it"


def test_what_has_passed_of_a_wake_is_over() -> None:
    known = times((2, "stopped", 30.0))
    coming = replace(READY, state=ReplicaState.LOADING, ready_at=None)
    assert remaining(known, [BEFORE], 2, 110.0) == 30.0
    assert remaining(known, [BEFORE, coming], 2, 110.0) == 20.0
    assert remaining(known, [BEFORE, coming], 2, 500.0) == 0.0
    assert remaining(known, [BEFORE, coming], 2, 10.0) == 30.0, "the clock was set back"
    assert remaining(known, [READY], 2, 500.0) == 0.0
    assert remaining(known, [], 2, 110.0, since=100.0) == 20.0
    assert remaining([], [coming], 2, 110.0) is None


@given(
    rows=st.lists(st.tuples(st.integers(1, 3), st.sampled_from(ORDER), st.floats(0.1, 1e4))),
    release=st.integers(1, 3),
    step=st.sampled_from(ORDER),
)
def test_an_estimate_is_something_that_was_seen(
    rows: list[tuple[int, WakeStep, float]], release: int, step: WakeStep
) -> None:
    known = times(*rows)
    found = expected(known, release, step)
    own = typical(known, release)
    if step in own:
        assert found == own[step]
    seen = [seconds for _, kind, seconds in rows if ORDER.index(kind) >= ORDER.index(step)]
    assert (found is None) == (not seen)
    assert found is None or min(seen) <= found <= max(seen)
