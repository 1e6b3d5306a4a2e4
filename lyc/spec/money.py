"""Amounts of money as a user writes them: `2.79EUR`, `2.79 eur`, `€2.79`, with a span after them: `3EUR/h`."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from lyc.errors import UsageError
from lyc.records.money import Money

SYMBOLS = {"€": "EUR", "$": "USD", "£": "GBP"}
CURRENCIES = frozenset({
    "EUR", "USD", "GBP", "CHF", "JPY", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RON", "CAD", "AUD", "INR", "CNY",
    "KRW", "SGD",
})  # fmt: skip
"""Taken as they are; to compare one with another there must be a rate of both."""
_AMOUNT = re.compile(r"\s*(?P<before>[€$£])?\s*(?P<amount>[^\sa-zA-Z€$£]+)\s*(?P<after>[€$£]|[A-Za-z]{3})?\s*")


def parse_money(text: str, *, where: str, hint: str) -> Money:
    """`3EUR`, `3 eur`, `€3` → Money. Raises UsageError `invalid-amount`: also for nothing, less than nothing, and an
    amount without a currency.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise _invalid(text, "it is not an amount and a currency", where, hint)
    symbols = [word for word in (match["before"], match["after"]) if word]
    if len(symbols) != 1:
        raise _invalid(text, "it names no currency" if not symbols else "it names two currencies", where, hint)
    try:
        amount = Decimal(match["amount"])
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise _invalid(text, f"{match['amount']} is not an amount", where, hint)
    currency = SYMBOLS.get(symbols[0], symbols[0].upper())
    if currency not in CURRENCIES:
        raise _invalid(text, f"{currency} is not a currency that lyc knows", where, hint)
    return Money(amount, currency)


def parse_hourly(text: str, *, where: str) -> Money:
    """`3EUR/h` or `3EUR` → Money for an hour. Raises UsageError `invalid-amount`."""
    hint = f"write it like {where} 3EUR/h"
    amount, slash, span = text.partition("/")
    if slash and span.strip().lower() not in ("h", "hr", "hour"):
        raise _invalid(text, f"a price is for an hour, not for {span.strip()!r}", where, hint)
    return parse_money(amount, where=where, hint=hint)


def _invalid(text: str, why: str, where: str, hint: str) -> UsageError:
    return UsageError("invalid-amount", f"{text!r} is not an amount of money", why=why, where=where, hint=hint)
