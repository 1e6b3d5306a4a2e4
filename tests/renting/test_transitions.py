"""The table of a rental: every state on every signal."""

from __future__ import annotations

import itertools

import pytest

from lyc.errors import Bug
from lyc.records.rental import RentalState as State
from lyc.renting.transitions import OPEN, TABLE, Signal, after

ROWS = {
    (State.INTENDED, Signal.TOLD): State.RENTED,
    (State.INTENDED, Signal.NEVER): State.REFUSED,
    (State.INTENDED, Signal.RELEASE): State.RELEASING,
    (State.RENTED, Signal.TOLD): State.RENTED,
    (State.RENTED, Signal.RELEASE): State.RELEASING,
    (State.RENTED, Signal.VANISHED): State.GONE,
    (State.RELEASING, Signal.TOLD): State.RELEASING,
    (State.RELEASING, Signal.RELEASE): State.RELEASING,
    (State.RELEASING, Signal.VANISHED): State.GONE,
    (State.REFUSED, Signal.TOLD): State.RELEASING,
    (State.GONE, Signal.TOLD): State.RELEASING,
}


@pytest.mark.parametrize(("state", "signal"), list(itertools.product(State, Signal)))
def test_each_state_on_each_signal(state: State, signal: Signal) -> None:
    if (state, signal) in ROWS:
        assert after(state, signal) is ROWS[state, signal]
    else:
        with pytest.raises(Bug) as raised:
            after(state, signal)
        assert raised.value.ref == "impossible-move"


def test_no_row_is_left_out() -> None:
    assert dict(TABLE) == ROWS


def test_what_may_cost_is_open() -> None:
    assert {State.INTENDED, State.RENTED, State.RELEASING} == OPEN


def test_a_machine_that_is_told_of_is_never_left_in_a_state_that_is_closed() -> None:
    """Whatever was believed before: once the provider tells of a machine, somebody looks after it."""
    assert all(after(state, Signal.TOLD) in OPEN for state in State)


def test_only_a_confirmation_ends_one_that_had_a_machine() -> None:
    ends = {key: state for key, state in TABLE.items() if state is State.GONE}
    assert {signal for _, signal in ends} == {Signal.VANISHED}
    assert (State.INTENDED, Signal.VANISHED) not in TABLE
