"""Few deployments are looked at twice a second, and a thousand take no more than their share of a CPU."""

from __future__ import annotations

import pytest

from lyc.control.pace import ASLEEP_SHARE, AWAKE_SHARE, LONGEST, Pace


@pytest.mark.parametrize("asleep", [False, True])
def test_few_are_not_slowed_down(asleep: bool) -> None:
    pace = Pace()
    assert {pace.rest(0.5, 0.001, 10, asleep=asleep) for _ in range(5)} == {0.5}


@pytest.mark.parametrize(("asleep", "cost", "share"), [(False, 0.001, AWAKE_SHARE), (True, 0.0003, ASLEEP_SHARE)])
def test_many_take_their_share_and_no_more(asleep: bool, cost: float, share: float) -> None:
    pace = Pace()
    rest = [pace.rest(0.5, cost, 1000, asleep=asleep) for _ in range(20)][-1]
    assert 1000 * cost / rest == pytest.approx(share)


def test_one_dear_look_does_not_set_the_pace_for_good() -> None:
    pace = Pace()
    pace.rest(0.5, 2.0, 1000, asleep=False)
    rests = [pace.rest(0.5, 0.00004, 1000, asleep=False) for _ in range(40)]
    assert (rests[0], rests[-1]) == (LONGEST, pytest.approx(0.5, abs=0.1))
