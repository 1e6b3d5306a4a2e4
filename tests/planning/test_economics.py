"""What a plan costs: exact, and against known answers worked out by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import UsageError
from lyc.planning.economics import cost, hours_a_month, parse_active_hours, parse_token_price, tokens_a_second
from lyc.records.card import Price
from lyc.records.fit import Speed

PRICE = Price(Decimal("2.79"), "EUR", "2026-07-31", "X")


def at(decode: float) -> Speed:
    return Speed(32, 2048, decode, decode / 32, 10_000.0, 0.2, "memory", 0.3)


def test_by_hand() -> None:
    """2 × 2.79 €/h at 1000 tokens/s: 3.6 million tokens an hour for 5.58 €."""
    found = cost(PRICE, 2, at(1000.0))
    assert found is not None
    assert (found.per_hour, found.currency) == (Decimal("5.58"), "EUR")
    assert found.per_million == Decimal("1.55")
    assert found.monthly == Decimal("4073.40")
    assert (found.monthly_active, found.break_even) == (None, None)


def test_without_a_price_there_is_no_cost() -> None:
    assert cost(None, 1, at(1000.0)) is None


def test_without_a_speed_there_is_no_price_of_tokens() -> None:
    for speed in (None, at(0.0)):
        found = cost(PRICE, 1, speed, per_token_price=Decimal("0.6"))
        assert found is not None
        assert (found.per_million, found.break_even) == (None, None)


def test_scale_to_zero() -> None:
    """50 of 168 hours a week."""
    found = cost(PRICE, 1, at(1000.0), active_hours=Decimal(50))
    assert found is not None
    assert found.monthly is not None
    assert found.monthly_active == Decimal("2.79") * (50 * Decimal(730) / 168)
    assert found.monthly_active < found.monthly


def test_the_break_even() -> None:
    """2.79 € · 730 h = 2036.70 € a month; at 0.60 € a million that is 3394.5 million tokens, or 1291 a second."""
    found = cost(PRICE, 1, at(2000.0), per_token_price=Decimal("0.60"))
    assert found is not None
    assert found.break_even == Decimal("3394.5")
    assert round(tokens_a_second(found.break_even)) == 1292


def test_a_break_even_that_the_speed_cannot_reach() -> None:
    found = cost(PRICE, 1, at(1000.0), per_token_price=Decimal("0.60"))
    assert found is not None
    assert found.break_even is None
    assert found.per_million is not None
    assert found.per_million > Decimal("0.60")  # the same thing said otherwise


@given(
    st.decimals(min_value="0.01", max_value=100, places=2),
    st.floats(min_value=1, max_value=1e6),
    st.decimals(min_value="0.01", max_value=50, places=2),
    st.decimals(min_value=1, max_value=168, places=1),
)
def test_a_break_even_is_there_just_where_own_tokens_are_cheaper(
    amount: Decimal, decode: float, elsewhere: Decimal, hours: Decimal
) -> None:
    price = Price(amount, "EUR", "", "X")
    found = cost(price, 1, at(decode), per_token_price=elsewhere, active_hours=hours)
    assert found is not None
    assert found.per_million is not None
    if abs(found.per_million - elsewhere) > Decimal("1e-9"):
        assert (found.break_even is not None) == (found.per_million < elsewhere)


@given(st.decimals(min_value=0, max_value=100, places=4), st.integers(min_value=1, max_value=16))
def test_money_adds_up(amount: Decimal, count: int) -> None:
    found = cost(Price(amount, "EUR", "", "X"), count, at(100.0), active_hours=Decimal(168))
    assert found is not None
    assert found.per_hour == amount * count
    assert found.monthly == found.monthly_active == found.per_hour * 730


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("50", "50"),
        ("12.5", "12.5"),
        ("168", "168"),
        ("24/7", "168"),
        ("Mon-Fri 8-18", "50"),
        ("mon-fri 08:00-18:30", "52.5"),
        ("Monday-Friday 8-18", "50"),
        ("Mon-Fri 8-18, Sat 9-13", "54"),
        ("Mon-Fri 8-18, Mon 10-12", "50"),
        ("9-17", "56"),
        ("22-6", "56"),
        ("Sun 22-6", "8"),
        ("Fri-Mon 0-24", "96"),
        ("Sat 0-24", "24"),
        ("Mon-Sun 8-18, 8-18", "70"),
    ],
)
def test_hours_of_a_week(text: str, hours: str) -> None:
    assert parse_active_hours(text) == Decimal(hours)


@pytest.mark.parametrize(
    "text",
    ["", "0", "169", "-5", "nan", "always", "Mon-Fri", "Mon-Fri 8", "Foo 8-18", "Mon-Bar 8-18", "Mon 8-25", "Mon 8-8",
     "Mon 24-8", "Mon 8-18,", "Mon 8:5-18", "1e2"],
)  # fmt: skip
def test_no_hours(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_active_hours(text)
    assert caught.value.ref == "invalid-active-hours"
    assert caught.value.where == "--active-hours"
    assert caught.value.hint


def test_a_month_is_never_longer_than_itself() -> None:
    assert hours_a_month(Decimal(168)) == hours_a_month(Decimal(500)) == 730


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("0.60EUR/Mtoken", "0.60", "EUR"),
        ("0.6 eur", "0.6", "EUR"),
        ("2USD/M", "2", "USD"),
        ("1.5usd/million", "1.5", "USD"),
    ],
)
def test_a_price_of_tokens(text: str, amount: str, currency: str) -> None:
    assert parse_token_price(text) == (Decimal(amount), currency)


@pytest.mark.parametrize("text", ["", "0.60", "EUR", "0EUR", "-1EUR", "1.2.3EUR", "1EUR/h", "nanEUR"])
def test_no_price_of_tokens(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_token_price(text)
    assert caught.value.ref == "invalid-token-price"
