"""A schedule as a user writes it: read, or refused with the reason."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lyc.errors import SpecError
from lyc.records.scaling import ScheduleRule
from lyc.spec.schedule import HINT, parse_schedule

WEEK = tuple(range(7))


@pytest.mark.parametrize(
    ("text", "days", "start", "end", "zone", "minimum", "maximum"),
    [
        ("Mon-Fri 07-22 Europe/Berlin min=1", (0, 1, 2, 3, 4), 420, 1320, "Europe/Berlin", 1, None),
        ("Sat,Sun 00-24 UTC max=1", (5, 6), 0, 1440, "UTC", None, 1),
        ("daily 22:30-06:00 Europe/Helsinki min=0 max=2", WEEK, 1350, 360, "Europe/Helsinki", 0, 2),
        ("MON 7-8:05 UTC MAX=3 MIN=2", (0,), 420, 485, "UTC", 2, 3),
        ("fri-mon 00:00-24:00 UTC min=1", (0, 4, 5, 6), 0, 1440, "UTC", 1, None),
        ("Mon,Wed-Fri,Mon 0-1 UTC min=1", (0, 2, 3, 4), 0, 60, "UTC", 1, None),
        ("Monday-Sunday 9-17 America/New_York min=1", WEEK, 540, 1020, "America/New_York", 1, None),
        ("Tue 23-24 UTC min=1", (1,), 1380, 1440, "UTC", 1, None),
        ("Tue 23-00 UTC min=1", (1,), 1380, 0, "UTC", 1, None),
    ],
)
def test_what_it_means(
    text: str, days: tuple[int, ...], start: int, end: int, zone: str, minimum: int | None, maximum: int | None
) -> None:
    assert parse_schedule(text) == ScheduleRule(days, start, end, zone, minimum, maximum, text)


def test_it_is_kept_as_written_but_for_spaces() -> None:
    assert parse_schedule("  Mon   07-22\tUTC  min=1 ").text == "Mon 07-22 UTC min=1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it does not say its days"),
        ("Mon", "it does not say its hours"),
        ("Mon 07-22", "it does not say whose clocks"),
        ("Mon 07-22 min=1", "it does not say whose clocks"),
        ("Mon 07-22 min=1 max=2", "it does not say whose clocks"),
        ("Mon 07-22 UTC", "it does not say min or max"),
        ("Mun 07-22 UTC min=1", "'Mun' is no day"),
        ("Mon, 07-22 UTC min=1", "'' is no day"),
        ("Mon- 07-22 UTC min=1", "'' is no day"),
        ("Mon-Tue-Wed 07-22 UTC min=1", "'Tue-Wed' is no day"),
        ("weekdays 07-22 UTC min=1", "'weekdays' is no day"),
        ("Mon 07 UTC min=1", "'07' are no hours"),
        ("Mon 07-22-23 UTC min=1", "'22-23' is no time of day"),
        ("Mon 07-25 UTC min=1", "'25' is no time of day"),
        ("Mon 07-24:01 UTC min=1", "'24:01' is no time of day"),
        ("Mon 07:60-09 UTC min=1", "'07:60' is no time of day"),
        ("Mon 7am-9 UTC min=1", "'7am' is no time of day"),
        ("Mon ٠٧-٢٢ UTC min=1", "is no time of day"),
        ("Mon 24-07 UTC min=1", "nothing begins at 24"),
        ("Mon 07-07 UTC min=1", "it ends as it begins"),
        ("Mon 00-00 UTC min=1", "it ends as it begins"),
        ("Mon 07-22 Europe/Belin min=1", "'Europe/Belin' is no time zone: Europe/Berlin?"),
        ("Mon 07-22 europe/berlin min=1", "Europe/Berlin?"),
        ("Mon 07-22 Berlin min=1", "Europe/Berlin?"),
        ("Mon 07-22 CEST min=1", "'CEST' is no time zone"),
        ("Mon 07-22 +02:00 min=1", "'+02:00' is no time zone"),
        ("Mon 07-22 localtime min=1", "'localtime' is no time zone"),
        ("Mon 07-22 posix/Europe/Berlin min=1", "is no time zone"),
        ("Mon 07-22 ../../../etc/passwd min=1", "is no time zone"),
        ("Mon 07-22 /etc/localtime min=1", "is no time zone"),
        ("Mon 07-22 Europe min=1", "'Europe' is no time zone"),
        ("Mon 07-22 UTC min", "'min' is neither min=N nor max=N"),
        ("Mon 07-22 UTC min=1 idle=3", "'idle=3' is neither"),
        ("Mon 07-22 UTC min=", "'min=' is no number of replicas"),
        ("Mon 07-22 UTC min=-1", "'min=-1' is no number"),
        ("Mon 07-22 UTC min=1.5", "'min=1.5' is no number"),
        ("Mon 07-22 UTC min=²", "is no number"),
        ("Mon 07-22 UTC min=99999999", "is no number"),
        ("Mon 07-22 UTC min=1 min=2", "it says min twice"),
        ("Mon 07-22 UTC min=3 max=2", "min is 3, but max is 2"),
        ("Mon 07-22 UTC max=0", "with max=0 no request could wake it"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_schedule(text)
    assert refused.value.ref == "invalid-schedule"
    assert why in refused.value.what
    assert refused.value.hint == HINT


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["Mon-Fri", "daily", "07-22", "24-3", "UTC", "min=1", "max=0", ",", "-"])).map(" ".join)
)
def test_anything_else_is_a_rule_or_one_clear_error(text: str) -> None:
    found: list[ScheduleRule] = []
    with contextlib.suppress(SpecError):
        found.append(parse_schedule(text))
    assert [parse_schedule(rule.text) for rule in found] == found


def test_a_machine_without_time_zones_says_so() -> None:
    """Where neither the system nor Python has the data, as on the smallest images."""
    code = """
import sys, zoneinfo
zoneinfo.reset_tzpath(to=())
sys.modules["tzdata"] = None
from lyc.errors import SpecError
from lyc.spec.schedule import parse_schedule
try:
    parse_schedule("Mon 07-22 Europe/Berlin min=1")
except SpecError as refused:
    print(refused.ref, "|", refused.hint)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "no-time-zones | sudo apt-get install tzdata\n"
