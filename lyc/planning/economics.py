"""What a plan costs, in exact decimals. Nothing is rounded here: who shows a figure rounds it. A month has
730 hours (365 days / 12).

Speeds are floats and estimates; they enter by their shortest decimal form, so that the same speed gives the same price.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from lyc.errors import UsageError
from lyc.records.card import Price
from lyc.records.fit import Cost, Speed

HOURS_A_MONTH = Decimal(730)
HOURS_A_WEEK = Decimal(168)
_MILLION, _HOUR = Decimal(10**6), Decimal(3600)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_SPAN = re.compile(r"(?:([a-z]{3})[a-z]*(?:-([a-z]{3})[a-z]*)?\s+)?(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?")


def cost(
    price: Price | None,
    count: int,
    speed: Speed | None,
    *,
    per_token_price: Decimal | None = None,
    active_hours: Decimal | None = None,
) -> Cost | None:
    """The cost of `count` cards; None when the price is not known.

    per_token_price: of a million tokens elsewhere, in the price's own currency. active_hours: a week. The break-even is
    against the hours that are paid for, active ones if they were given; None also when so many tokens are more than
    the speed yields in these hours.
    """
    if price is None:
        return None
    hourly = price.amount * count
    monthly = hourly * HOURS_A_MONTH
    active = None if active_hours is None else hourly * hours_a_month(active_hours)
    decode = Decimal(repr(speed.decode)) if speed is not None and speed.decode > 0 else None
    break_even = None
    if per_token_price is not None and per_token_price > 0:
        break_even = (monthly if active is None else active) / per_token_price
        paid = HOURS_A_MONTH if active_hours is None else hours_a_month(active_hours)
        if decode is None or break_even > decode * _HOUR * paid / _MILLION:
            break_even = None
    return Cost(
        per_hour=hourly,
        currency=price.currency,
        per_million=None if decode is None else hourly / (decode * _HOUR) * _MILLION,
        monthly=monthly,
        monthly_active=active,
        break_even=break_even,
    )


def hours_a_month(active_hours: Decimal) -> Decimal:
    """Hours a week → hours a month; at most all of them."""
    return min(active_hours, HOURS_A_WEEK) * HOURS_A_MONTH / HOURS_A_WEEK


def tokens_a_second(millions_a_month: Decimal, active_hours: Decimal | None = None) -> Decimal:
    """The mean rate that so many millions of tokens a month are, over all hours or the active ones."""
    hours = HOURS_A_MONTH if active_hours is None else hours_a_month(active_hours)
    return millions_a_month * _MILLION / (hours * _HOUR)


def parse_active_hours(text: str, where: str = "--active-hours") -> Decimal:
    """Hours a week: `50`, `24/7`, `Mon-Fri 8-18`, `Mon-Fri 8:30-18, Sat 9-13`, `22-6` (every day, over midnight).

    Hours that several spans name count once. Raises UsageError `invalid-active-hours`.
    """
    stripped = text.strip().lower()
    if stripped == "24/7":
        return HOURS_A_WEEK
    if re.fullmatch(r"\d+(?:\.\d+)?", stripped):
        hours = Decimal(stripped)
        if not 0 < hours <= HOURS_A_WEEK:
            raise _bad_hours(text, "a week has 168 hours", where)
        return hours
    minutes: set[int] = set()
    for part in stripped.split(","):
        match = _SPAN.fullmatch(part.strip())
        if match is None:
            raise _bad_hours(text, f"{part.strip()!r} is neither a number of hours nor a span", where)
        minutes |= _span(match, text, where)
    return Decimal(len(minutes)) / 60


def parse_token_price(text: str, where: str = "--per-token-price") -> tuple[Decimal, str]:
    """`0.60EUR/Mtoken` → (amount of a million tokens, currency). Raises UsageError `invalid-token-price`."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]{3})\s*(?:/\s*(?:m|mtok|mtokens?|million))?\s*", text, re.IGNORECASE)
    try:
        amount = Decimal(match[1]) if match else Decimal(-1)
    except InvalidOperation:
        amount = Decimal(-1)
    if match is None or amount <= 0:
        raise UsageError(
            "invalid-token-price",
            f"{text!r} is not a price of a million tokens",
            where=where,
            hint="write it like --per-token-price 0.60EUR/Mtoken",
        )
    return amount, match[2].upper()


def _span(match: re.Match[str], text: str, where: str) -> set[int]:
    first, last = match[1] or "mon", match[2] or match[1] or "sun"
    if first not in _DAYS or last not in _DAYS:
        raise _bad_hours(text, f"{first if first not in _DAYS else last!r} is not a day", where)
    start, end = (int(match[hour]) * 60 + int(match[hour + 1] or 0) for hour in (3, 5))
    if max(start, end) > _DAY_MINUTES or start in (end, _DAY_MINUTES):
        raise _bad_hours(text, f"{match[0].split()[-1]} is not a span of hours", where)
    length = end - start if end > start else end - start + _DAY_MINUTES
    days = (_DAYS.index(last) - _DAYS.index(first)) % 7 + 1
    begins = (((_DAYS.index(first) + day) % 7) * _DAY_MINUTES + start for day in range(days))
    return {(begin + minute) % (7 * _DAY_MINUTES) for begin in begins for minute in range(length)}


def _bad_hours(text: str, why: str, where: str) -> UsageError:
    return UsageError(
        "invalid-active-hours",
        f"{text!r} does not say how many hours a week",
        why=why,
        where=where,
        hint='write it like --active-hours 50, or --active-hours "Mon-Fri 8-18"',
    )
