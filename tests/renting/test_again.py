"""When it is tried again to rent."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from lyc.renting.again import LONGEST, Past, Wait, wait

SOLD_OUT = {"ref": "no-capacity"}
UNFIT = {"ref": "host-unfit"}


def waited(*tries: Past, now: float = 1000.0) -> Wait:
    return wait(tries, now, pause=60.0, limit=3)


def test_nothing_happened_or_it_went_well() -> None:
    assert waited() == Wait()
    assert waited(Past(900, SOLD_OUT), Past(950)) == Wait()


def test_later_and_later() -> None:
    until = [waited(*(Past(at, SOLD_OUT) for at in range(1, count + 1))).until - count for count in range(1, 8)]
    assert until == [60, 120, 240, 480, LONGEST, LONGEST, LONGEST]


def test_the_last_that_went_well_ends_the_row() -> None:
    found = waited(Past(1, UNFIT, paid=True), Past(2, UNFIT, paid=True), Past(3), Past(4, SOLD_OUT))
    assert found == Wait(64, SOLD_OUT)


def test_machines_in_vain_are_bounded() -> None:
    tries = [Past(1, UNFIT, paid=True), Past(2, SOLD_OUT), Past(3, UNFIT, paid=True)]
    assert waited(*tries).until == 3 + 240
    assert waited(*tries, Past(4, UNFIT, paid=True)) == Wait(math.inf, UNFIT)


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    assert waited(Past(5000, SOLD_OUT)) == Wait(-math.inf, SOLD_OUT)


PASTS = st.lists(
    st.builds(Past, st.floats(0, 1000), st.sampled_from([None, SOLD_OUT, UNFIT]), st.booleans()), max_size=30
)


@given(PASTS)
def test_it_waits_for_a_bounded_time_or_for_a_person(tries: list[Past]) -> None:
    tries.sort(key=lambda one: one.at)
    found = waited(*tries)
    if math.isinf(found.until) and found.until > 0:
        assert sum(one.paid for one in tries if one.error) >= 3
    else:
        assert found.until <= 1000 + LONGEST
    assert (found.error is None) == (not tries or tries[-1].error is None)
