"""The schedule: which bounds hold at an instant, and when they change next.

A rule holds from the first instant at which the clocks of its zone show its start until the last before they show its
end. So an hour that comes twice, in autumn, belongs to it both times, and one that never comes, in spring, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from lyc.records.scaling import ScalePolicy, ScheduleRule

WEEK = 8
"""Days after which every rule has begun and ended once."""


def bounds(policy: ScalePolicy, now: float) -> tuple[int, int]:
    """(fewest, most) replicas at `now`. Of rules that hold at once a later one counts more; the maximum always."""
    low, high = policy.minimum, policy.maximum
    for rule in holding(policy, now):
        low = low if rule.minimum is None else rule.minimum
        high = high if rule.maximum is None else rule.maximum
    high = max(high, 0)
    return min(max(low, 0), high), high


def holding(policy: ScalePolicy, now: float) -> tuple[ScheduleRule, ...]:
    """The rules that hold at `now`, in their order."""
    return tuple(
        rule for rule in policy.schedule if any(start <= now < end for start, end in _spans(rule, now, range(-1, 1)))
    )


def next_change(policy: ScalePolicy, now: float) -> float | None:
    """When the bounds will be others than now, in seconds since the epoch; None = not within a week."""
    edges = {
        edge for rule in policy.schedule for span in _spans(rule, now, range(-1, WEEK)) for edge in span if edge > now
    }
    before = bounds(policy, now)
    return next((edge for edge in sorted(edges) if bounds(policy, edge) != before), None)


def known_zone(name: str) -> bool:
    """Whether this machine knows the clocks of a zone; rules on others never hold."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True


def _spans(rule: ScheduleRule, now: float, days: range) -> Iterator[tuple[float, float]]:
    """From when until when the rule holds, of each of its days that is so many after today. A zone of which this
    machine knows nothing has none.
    """
    try:
        zone = ZoneInfo(rule.zone)
        today = datetime.fromtimestamp(now, zone).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        for offset in days:
            midnight = today + timedelta(days=offset)
            if midnight.weekday() not in rule.days:
                continue
            length = rule.end if rule.end > rule.start else rule.end + 1440
            start = _instant(midnight + timedelta(minutes=rule.start), zone, last=False)
            end = _instant(midnight + timedelta(minutes=length), zone, last=True)
            if start < end:
                yield start, end
    except (OSError, ValueError, OverflowError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return


def _instant(local: datetime, zone: tzinfo, *, last: bool) -> float:
    """When the clocks of a zone show `local`; of two times the first or the last; of none, when they leap over it."""
    first, second = (local.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if second >= first:
        return second if last else first
    low, high = int(second), int(first)
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return float(high)


def _offset(instant: float, zone: tzinfo) -> timedelta | None:
    return datetime.fromtimestamp(instant, zone).utcoffset()
