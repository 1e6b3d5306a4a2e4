"""Schedules over the clocks of their zones, also when those leap."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lyc.records.scaling import ScalePolicy, ScalerState, ScheduleRule
from lyc.scaling import bounds, next_change
from lyc.scaling.hours import holding
from lyc.spec.schedule import parse_schedule
from tests.scaling.walk import Walk


def at(text: str, zone: str = "UTC") -> float:
    """`2026-03-29 02:30` on the clocks of a zone; `+` after it: the second time that they show it."""
    return datetime.fromisoformat(text.rstrip("+")).replace(tzinfo=ZoneInfo(zone), fold=text.endswith("+")).timestamp()


def lowest(rule: str, text: str, zone: str) -> int:
    return bounds(ScalePolicy(0, 4, schedule=(parse_schedule(rule),)), at(text, zone))[0]


@pytest.mark.parametrize(
    ("rule", "moment", "holds"),
    [
        ("Mon-Fri 07-22 Europe/Berlin min=1", "2026-03-02 06:59:59", 0),  # a Monday
        ("Mon-Fri 07-22 Europe/Berlin min=1", "2026-03-02 07:00", 1),
        ("Mon-Fri 07-22 Europe/Berlin min=1", "2026-03-02 21:59:59.9", 1),
        ("Mon-Fri 07-22 Europe/Berlin min=1", "2026-03-02 22:00", 0),
        ("Mon-Fri 07-22 Europe/Berlin min=1", "2026-03-07 12:00", 0),
        ("Fri-Mon 07-22 Europe/Berlin min=1", "2026-03-07 12:00", 1),
        ("Fri-Mon 07-22 Europe/Berlin min=1", "2026-03-03 12:00", 0),
        ("Sat,Sun 00-24 Europe/Berlin min=1", "2026-03-07 00:00", 1),
        ("Sat,Sun 00-24 Europe/Berlin min=1", "2026-03-08 23:59:59", 1),
        ("Sat,Sun 00-24 Europe/Berlin min=1", "2026-03-09 00:00", 0),
        ("Fri 22:30-06:00 Europe/Berlin min=1", "2026-03-06 22:29:59", 0),
        ("Fri 22:30-06:00 Europe/Berlin min=1", "2026-03-06 22:30", 1),
        ("Fri 22:30-06:00 Europe/Berlin min=1", "2026-03-07 05:59", 1),
        ("Fri 22:30-06:00 Europe/Berlin min=1", "2026-03-07 06:00", 0),
        ("Fri 22:30-06:00 Europe/Berlin min=1", "2026-03-06 01:00", 0),
        # Sunday 29 March 2026: from 02:00 the clocks leap to 03:00.
        ("daily 00-02:30 Europe/Berlin min=1", "2026-03-29 01:59:59", 1),
        ("daily 00-02:30 Europe/Berlin min=1", "2026-03-29 03:00", 0),
        ("daily 02:30-04 Europe/Berlin min=1", "2026-03-29 01:59:59", 0),
        ("daily 02:30-04 Europe/Berlin min=1", "2026-03-29 03:00", 1),
        ("daily 02:10-02:50 Europe/Berlin min=1", "2026-03-29 01:59:59", 0),
        ("daily 02:10-02:50 Europe/Berlin min=1", "2026-03-29 03:00", 0),
        ("daily 22-06 Europe/Berlin min=1", "2026-03-29 05:59:59", 1),
        ("daily 22-06 Europe/Berlin min=1", "2026-03-29 06:00", 0),
        # Sunday 25 October 2026: the hour from 02:00 comes twice.
        ("daily 00-02:30 Europe/Berlin min=1", "2026-10-25 02:29:59", 1),
        ("daily 00-02:30 Europe/Berlin min=1", "2026-10-25 02:45", 1),
        ("daily 00-02:30 Europe/Berlin min=1", "2026-10-25 02:29:59+", 1),
        ("daily 00-02:30 Europe/Berlin min=1", "2026-10-25 02:30+", 0),
        ("daily 02:30-04 Europe/Berlin min=1", "2026-10-25 02:29", 0),
        ("daily 02:30-04 Europe/Berlin min=1", "2026-10-25 02:30", 1),
        ("daily 02:30-04 Europe/Berlin min=1", "2026-10-25 02:10+", 1),
        ("daily 02:30-04 Europe/Berlin min=1", "2026-10-25 03:59", 1),
        ("daily 02:30-04 Europe/Berlin min=1", "2026-10-25 04:00", 0),
    ],
)
def test_berlin(rule: str, moment: str, holds: int) -> None:
    assert lowest(rule, moment, "Europe/Berlin") == holds


@pytest.mark.parametrize(
    ("rule", "moment", "holds"),
    [
        # Sunday 8 March 2026 leaps at 02:00, three weeks before Europe; Sunday 1 November has 01:00 twice.
        ("Mon-Fri 09-17 America/New_York min=1", "2026-03-09 09:00", 1),
        ("daily 02:30-03:30 America/New_York min=1", "2026-03-08 01:59:59", 0),
        ("daily 02:30-03:30 America/New_York min=1", "2026-03-08 03:00", 1),
        ("daily 02:30-03:30 America/New_York min=1", "2026-03-08 03:30", 0),
        ("daily 01-02 America/New_York min=1", "2026-11-01 01:00", 1),
        ("daily 01-02 America/New_York min=1", "2026-11-01 01:59+", 1),
        ("daily 01-02 America/New_York min=1", "2026-11-01 02:00", 0),
    ],
)
def test_new_york(rule: str, moment: str, holds: int) -> None:
    assert lowest(rule, moment, "America/New_York") == holds


def test_the_same_rule_is_another_hour_of_utc_in_summer() -> None:
    policy = ScalePolicy(0, 4, schedule=(parse_schedule("Mon-Fri 07-22 Europe/Berlin min=1"),))
    assert bounds(policy, at("2026-03-27 06:00")) == (1, 4)
    assert bounds(policy, at("2026-03-27 05:59")) == (0, 4)
    assert bounds(policy, at("2026-03-30 05:00")) == (1, 4)
    assert bounds(policy, at("2026-03-30 20:00")) == (0, 4)


def test_of_rules_at_once_the_later_counts_and_the_maximum_is_kept() -> None:
    rules = ("daily 00-24 UTC min=2 max=6", "daily 06-18 UTC min=3", "daily 12-18 UTC max=1", "daily 15-18 UTC min=1")
    policy = ScalePolicy(0, 4, schedule=tuple(map(parse_schedule, rules)))
    hours = {hour: bounds(policy, at(f"2026-03-02 {hour}:00")) for hour in ("03", "07", "13", "16", "19")}
    assert hours == {"03": (2, 6), "07": (3, 6), "13": (1, 1), "16": (1, 1), "19": (2, 6)}
    assert [rule.text for rule in holding(policy, at("2026-03-02 13:00"))] == list(rules[:3])


def test_bounds_without_a_schedule() -> None:
    assert bounds(ScalePolicy(1, 3), 0) == (1, 3)
    assert bounds(ScalePolicy(5, 3), 0) == (3, 3)
    assert bounds(ScalePolicy(-5, -3), 0) == (0, 0)


@pytest.mark.parametrize(
    ("moment", "change"),
    [
        ("2026-03-02 03:00", "2026-03-02 06:00"),
        ("2026-03-02 06:00", "2026-03-02 21:00"),
        ("2026-03-06 21:00", "2026-03-09 06:00"),
        ("2026-03-27 21:00", "2026-03-30 05:00"),  # over the leap to summer time
        ("2026-10-23 20:00", "2026-10-26 06:00"),  # and back
    ],
)
def test_when_it_changes_next(moment: str, change: str) -> None:
    policy = ScalePolicy(0, 4, schedule=(parse_schedule("Mon-Fri 07-22 Europe/Berlin min=1"),))
    assert next_change(policy, at(moment)) == at(change)


def test_a_schedule_that_changes_nothing_never_does() -> None:
    assert next_change(ScalePolicy(1, 4), 0) is None
    same = ScalePolicy(1, 4, schedule=(parse_schedule("daily 07-09 UTC min=1"),))
    assert next_change(same, at("2026-03-02 03:00")) is None
    always = ScalePolicy(0, 4, schedule=(parse_schedule("daily 00-24 UTC min=1"),))
    assert next_change(always, at("2026-03-02 03:00")) is None


def test_a_zone_that_this_machine_does_not_know_holds_never() -> None:
    rule = ScheduleRule(tuple(range(7)), 0, 1440, "Mars/Olympus", 3, None, "daily 00-24 Mars/Olympus min=3")
    assert bounds(ScalePolicy(0, 4, schedule=(rule,)), at("2026-03-02 03:00")) == (0, 4)
    assert next_change(ScalePolicy(0, 4, schedule=(rule,)), 0) is None


def test_the_morning_raises_it_and_the_evening_lets_it_sleep() -> None:
    rule = parse_schedule("Mon-Fri 07-22 Europe/Berlin min=2")
    policy = ScalePolicy(0, 4, idle=900.0, schedule=(rule,))
    walk = Walk(policy, ScalerState(desired=0), now=at("2026-03-02 06:59", "Europe/Berlin"))
    walk.through(59, 0)
    assert walk.state.desired == 0
    walk.through(1, 0)
    assert walk.state.desired == 2
    assert walk.state.why == "up to 2: between 2 and 4 now"
    walk.now, walk.window = at("2026-03-02 21:40", "Europe/Berlin"), []
    walk.through(1199, 0)
    assert walk.state.desired == 2
    walk.through(2, 0)
    assert walk.state.desired == 0, "it was quiet for longer than it takes"


ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"])
YEAR = st.integers(int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ZONES, st.integers(0, 1439), st.integers(1, 1440), st.sets(st.integers(0, 6), min_size=1), YEAR)
def test_away_from_leaps_it_is_what_the_clock_on_the_wall_says(
    zone: str, start: int, end: int, days: set[int], now: int
) -> None:
    if start == end:
        return
    rule = ScheduleRule(tuple(sorted(days)), start, end, zone, 1, None, "")
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    offsets = {datetime.fromtimestamp(now + day * 86400, ZoneInfo(zone)).utcoffset() for day in (-2, -1, 0, 1, 2)}
    if len(offsets) > 1:
        return
    minute, day = local.hour * 60 + local.minute, local.weekday()
    if end > start:
        expected = day in days and start <= minute < end
    else:
        expected = (day in days and minute >= start) or ((day - 1) % 7 in days and minute < end)
    assert bounds(ScalePolicy(0, 4, schedule=(rule,)), now) == (int(expected), 4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ZONES, st.integers(0, 1439), st.integers(1, 1440), st.sets(st.integers(0, 6), min_size=1), YEAR)
def test_nothing_changes_before_the_next_change(zone: str, start: int, end: int, days: set[int], now: int) -> None:
    if start == end:
        return
    policy = ScalePolicy(0, 4, schedule=(ScheduleRule(tuple(sorted(days)), start, end, zone, 1, None, ""),))
    change, before = next_change(policy, now), bounds(policy, now)
    until = change if change is not None else now + 7 * 86400
    assert all(bounds(policy, now + (until - now) * part / 50) == before for part in range(50))
    if change is not None:
        assert bounds(policy, change) != before
        assert bounds(policy, change - 0.001) == before
