"""Other bounds at some hours, as a user writes them: `Mon-Fri 07-22 Europe/Berlin min=1`.

DAYS HOURS ZONE [min=N] [max=N]
daily | Mon | Mon-Fri | Sat,Sun | Fri-Mon    07-22 | 22:30-06:00 (to the next day) | 00-24    a name of IANA's, or UTC
"""

from __future__ import annotations

import difflib
import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from lyc.errors import SpecError
from lyc.records.scaling import ScheduleRule

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 1440
HINT = 'write it like "Mon-Fri 07-22 Europe/Berlin min=1": days, hours, whose clocks, min and max'
_LONG = {"monday": 0, "tuesday": 1, "wednesday": 2, "thursday": 3, "friday": 4, "saturday": 5, "sunday": 6}
_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))?")
_BOUND = re.compile(r"(min|max)=(.*)", re.IGNORECASE)
_OF_THIS_MACHINE = frozenset({"localtime", "posixrules", "factory"})
"""Files beside the zones that mean another thing on every machine."""


def parse_schedule(text: str) -> ScheduleRule:
    """One rule. Raises SpecError `invalid-schedule` that names the part at fault, with the form."""
    words = text.split()
    if len(words) > 2 and _BOUND.fullmatch(words[2]):
        raise _invalid(text, "it does not say whose clocks its hours are on (a zone such as Europe/Berlin or UTC)")
    if len(words) < 4:
        missing = (
            "its days",
            "its hours",
            "whose clocks they are on (a zone such as Europe/Berlin or UTC)",
            "min or max",
        )
        raise _invalid(text, f"it does not say {missing[len(words)]}")
    days, (start, end) = _days(words[0], text), _hours(words[1], text)
    zone = _zone(words[2], text)
    minimum, maximum = _bounds(words[3:], text)
    return ScheduleRule(days, start, end, zone, minimum, maximum, " ".join(words))


def _days(word: str, text: str) -> tuple[int, ...]:
    if word.lower() == "daily":
        return tuple(range(7))
    found: set[int] = set()
    for part in word.split(","):
        first, dash, last = part.partition("-")
        begin, finish = _day(first, text), _day(last if dash else first, text)
        found |= {(begin + step) % 7 for step in range((finish - begin) % 7 + 1)}
    return tuple(sorted(found))


def _day(word: str, text: str) -> int:
    lower = word.lower()
    if lower in DAYS:
        return DAYS.index(lower)
    if lower in _LONG:
        return _LONG[lower]
    raise _invalid(text, f"{word!r} is no day: they are daily, Mon, Tue, Wed, Thu, Fri, Sat, Sun")


def _hours(word: str, text: str) -> tuple[int, int]:
    first, dash, last = word.partition("-")
    if not dash:
        raise _invalid(text, f"{word!r} are no hours: from and to, such as 07-22 or 22:30-06:00")
    start, end = _minutes(first, text), _minutes(last, text)
    if start == DAY_MINUTES:
        raise _invalid(text, "nothing begins at 24: that is 00 of the next day")
    if start == end:
        raise _invalid(text, f"{word!r} are no hours, it ends as it begins: the whole day is 00-24")
    return start, end


def _minutes(word: str, text: str) -> int:
    match = _TIME.fullmatch(word)
    minutes = int(match[1]) * 60 + int(match[2] or 0) if match else -1
    if match is None or int(match[2] or 0) > 59 or not 0 <= minutes <= DAY_MINUTES:
        raise _invalid(text, f"{word!r} is no time of day: 00 to 24, or 00:00 to 24:00")
    return minutes


def _zone(word: str, text: str) -> str:
    try:
        if word.lower() in _OF_THIS_MACHINE or word.lower().startswith(("posix/", "right/")):
            raise ZoneInfoNotFoundError(word)
        ZoneInfo(word)
    except (ZoneInfoNotFoundError, ValueError, OSError) as problem:
        known = {name.lower(): name for name in available_timezones()}
        if not known:
            raise SpecError(
                "no-time-zones",
                f"{word} cannot be looked up: this machine has no data of time zones",
                hint="sudo apt-get install tzdata",
            ) from problem
        near = difflib.get_close_matches(word.lower(), known, 1) or [
            key for key in known if key.endswith("/" + word.lower())
        ]
        meant = f": {known[near[0]]}?" if near else ": it takes IANA's, such as Europe/Berlin or UTC"
        raise _invalid(text, f"{word!r} is no time zone{meant}") from problem
    return word


def _bounds(words: list[str], text: str) -> tuple[int | None, int | None]:
    found: dict[str, int] = {}
    for word in words:
        match = _BOUND.fullmatch(word)
        if match is None:
            raise _invalid(text, f"{word!r} is neither min=N nor max=N")
        name = match[1].lower()
        if name in found:
            raise _invalid(text, f"it says {name} twice")
        if not (match[2].isascii() and match[2].isdecimal() and len(match[2]) < 7):
            raise _invalid(text, f"{word!r} is no number of replicas")
        found[name] = int(match[2])
    minimum, maximum = found.get("min"), found.get("max")
    if maximum == 0:
        raise _invalid(text, "with max=0 no request could wake it: min=0 lets it sleep, and `lyc pause` shuts it")
    if minimum is not None and maximum is not None and minimum > maximum:
        raise _invalid(text, f"min is {minimum}, but max is {maximum}")
    return minimum, maximum


def _invalid(text: str, why: str) -> SpecError:
    return SpecError("invalid-schedule", f"{text!r} is not a schedule: {why}", hint=HINT)
