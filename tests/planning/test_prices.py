"""Prices: the table, the user's own, currencies, and where machines stand."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import UsageError
from lyc.planning.catalogue.cards import CARDS, find
from lyc.planning.catalogue.prices import (
    PriceBook,
    book,
    bundled,
    convert,
    parse_price,
    price,
)
from lyc.records.card import Price
from lyc.spec.residency import EEA, EU, parse_residency

H100 = find("h100")


def test_every_bundled_row_is_whole() -> None:
    assert set(bundled().offers) <= set(CARDS)
    for rows in bundled().offers.values():
        for row in rows:
            assert 0 < row.amount < 100
            assert row.currency in {"EUR", "USD"}
            assert row.source
            assert row.page
            assert row.dated == "" or date.fromisoformat(row.dated).year >= 2026
            assert re.fullmatch(r"[A-Z]{2}|", row.country)
            assert row.country or not row.region


def test_the_rate_has_a_day_and_a_source() -> None:
    rates = bundled().rates
    date.fromisoformat(rates.dated)
    assert rates.source
    assert all(rate > 0 for rate in rates.per_euro.values())


def test_dated_prices_come_before_others_and_cheap_ones_first() -> None:
    for card in CARDS.values():
        rows = bundled().of(card)
        assert [bool(row.dated) for row in rows] == sorted((bool(row.dated) for row in rows), reverse=True)
        for dated in (True, False):
            euros = [convert(row, "EUR", bundled().rates) for row in rows if bool(row.dated) is dated]
            amounts = [row.amount for row in euros if row]
            assert amounts == sorted(amounts)


def test_a_card_without_an_offer_has_no_price() -> None:
    assert price(find("gb300")) is None
    assert price(find("gb300"), {"gb300": Price(Decimal(9), "EUR", "", "me")}) == Price(Decimal(9), "EUR", "", "me")


@pytest.mark.parametrize(
    ("word", "amount", "currency", "country"),
    [
        ("h100=2.79EUR/h", "2.79", "EUR", ""),
        ("h100=2.79 eur", "2.79", "EUR", ""),
        ("H100-SXM = 2.79USD/hour", "2.79", "USD", ""),
        ("h100=€2.79/h", "2.79", "EUR", ""),
        ("h100=2.79€", "2.79", "EUR", ""),
        ("h100=$3/hr", "3", "USD", ""),
        ("h100=2.79EUR/h@fi", "2.79", "EUR", "FI"),
        ("h100=2.79EUR @ DE", "2.79", "EUR", "DE"),
        ("h100=0EUR/h", "0", "EUR", ""),
        ("h100=.5CHF/h", "0.5", "CHF", ""),
    ],
)
def test_a_price_as_people_write_it(word: str, amount: str, currency: str, country: str) -> None:
    name, row = parse_price(word)
    assert (name, row.amount, row.currency, row.country) == ("h100", Decimal(amount), currency, country)
    assert row.source == "--price"


@pytest.mark.parametrize(
    "word",
    [
        "", "h100", "h100=", "h100= ", "h100=2.79", "h100=EUR", "h100=-1EUR/h", "h100=nanEUR", "h100=infEUR/h",
        "h100=2,79EUR", "h100=1e3EUR", "h100=2.79XYZ/h", "h100=€2EUR", "h100=2.79EUR/day", "h100=2.79EUR/h@Germany",
        "h100=2.79EUR/h extra", "h100=1.2.3EUR", "h100=2.79EUR/h@", "h100==2EUR",
    ],
)  # fmt: skip
def test_no_price(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_price(word)
    assert caught.value.ref == "invalid-price"
    assert caught.value.where == "--price"
    assert caught.value.why
    assert "2.79EUR/h" in caught.value.hint


def test_a_price_of_an_unknown_card() -> None:
    with pytest.raises(UsageError) as caught:
        parse_price("h10=2EUR/h")
    assert (caught.value.ref, caught.value.where) == ("unknown-gpu", "--price")
    assert "h100" in caught.value.hint


@given(st.decimals(min_value=0, max_value=1000, places=4), st.sampled_from(["EUR", "USD", "GBP", "CHF"]))
def test_an_amount_survives_exactly(amount: Decimal, currency: str) -> None:
    assert parse_price(f"l4={amount:f}{currency}/h")[1].amount == amount


def test_the_users_own_wins_and_stands_alone() -> None:
    own = book(["h100=9.99EUR/h"])
    assert [row.amount for row in own.of(H100)] == [Decimal("9.99")]
    assert own.of(find("l40s")) == bundled().of(find("l40s"))


def test_the_last_word_wins_over_the_file() -> None:
    own = book(["h100=1EUR/h", "h100=2EUR/h"], file='h100 = "3EUR/h"\nl4 = "4EUR/h"', path="p.toml")
    assert own.of(H100)[0].amount == 2
    assert own.of(find("l4"))[0].amount == 4


FILE = """
h100 = "2.79EUR/h@FI"

[l40s]
amount = 1.1
currency = "EUR"
dated = 2026-11-01
country = "de"
region = "fsn1"
source = "our contract"

[rates]
dated = 2026-11-20
USD = 1.2
SEK = "11.0"
"""


def test_a_file_of_prices() -> None:
    own = book(file=FILE, path="prices.toml")
    assert own.of(H100)[0] == Price(Decimal("2.79"), "EUR", "", "prices.toml", "FI")
    assert own.of(find("l40s"))[0] == Price(Decimal("1.1"), "EUR", "2026-11-01", "our contract", "DE", "fsn1")
    assert (own.rates.per_euro["USD"], own.rates.per_euro["SEK"]) == (Decimal("1.2"), Decimal("11.0"))
    assert own.rates.per_euro["GBP"] == bundled().rates.per_euro["GBP"]
    assert (own.rates.dated, own.rates.source) == ("2026-11-20", "prices.toml")


@pytest.mark.parametrize(
    ("text", "ref", "where"),
    [
        ("h100 = ", "invalid-price-file", "p.toml"),
        ("h100 = 2.79", "invalid-price-file", "p.toml: h100"),
        ('h100 = "2.79"', "invalid-price", "p.toml: h100"),
        ('h10 = "2.79EUR"', "unknown-gpu", "p.toml: h10"),
        ("[h100]\namount = 2", "invalid-price-file", "p.toml: h100"),
        ('[h100]\namount = 2\ncurrency = "EUR"\nprice = 3', "invalid-price-file", "p.toml: h100"),
        ('[h100]\namount = "two"\ncurrency = "EUR"', "invalid-price", "p.toml: h100"),
        ('[h100]\namount = nan\ncurrency = "EUR"', "invalid-price", "p.toml: h100"),
        ("rates = 1.2", "invalid-price-file", "p.toml: rates"),
        ("[rates]\nUSD = 0", "invalid-price-file", "p.toml: rates.USD"),
        ('[rates]\nUSD = "many"', "invalid-price-file", "p.toml: rates.USD"),
        ("[[h100]]\namount = 2", "invalid-price-file", "p.toml: h100"),
    ],
)
def test_a_bad_file_names_the_place(text: str, ref: str, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        book(file=text, path="p.toml")
    assert (caught.value.ref, caught.value.where) == (ref, where)
    assert caught.value.hint


def test_nothing_is_converted_unasked() -> None:
    for card in CARDS.values():
        found = price(card)
        assert found is None or found in bundled().offers[card.name]


def test_a_conversion_is_exact_and_says_how() -> None:
    rates = bundled().rates
    row = Price(rates.per_euro["USD"], "USD", "2026-01-01", "X", "FI")
    euro = convert(row, "EUR", rates)
    assert euro is not None
    assert (euro.amount, euro.currency, euro.dated, euro.country) == (Decimal(1), "EUR", "2026-01-01", "FI")
    assert f"{row.amount} USD" in euro.source
    assert rates.dated in euro.source
    assert convert(row, "USD", rates) is row
    assert convert(row, "ISK", rates) is None
    assert convert(Price(Decimal(1), "ISK", "", "X"), "EUR", rates) is None


def test_a_table_is_in_one_currency() -> None:
    given = book(["t4=3SEK/h"])
    known = replace(given.rates, per_euro={"USD": given.rates.per_euro["USD"]})
    table = replace(given, rates=known).table(CARDS.values(), currency="EUR")
    assert {row.currency for row in table.values()} == {"EUR"}
    assert "t4" not in table  # no rate of the Swedish crown
    assert "h100" in table
    assert "gb300" not in table


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("eu", "FI EU DE", "NO CH GB US"),
        ("EEA", "NO IS EU FR", "CH GB"),
        ("de, fr", "DE FR", "EU FI"),
        ("ch", "CH", "DE"),
    ],
)
def test_residency(text: str, yes: str, no: str) -> None:
    allowed = parse_residency(text)
    assert set(yes.split()) <= allowed
    assert not set(no.split()) & allowed


@pytest.mark.parametrize("text", ["", "europe", "eu,", "d", "deu", "d1"])
def test_no_residency(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_residency(text)
    assert caught.value.ref == "unknown-residency"


def test_the_union_has_its_members() -> None:
    assert len(EU) == 27
    assert {"IS", "LI", "NO"} == EEA - EU


def test_residency_fails_closed() -> None:
    eu = parse_residency("eu")
    for card in CARDS.values():
        assert all(row.country in eu for row in bundled().of(card, eu))
    nowhere = PriceBook({"h100": (Price(Decimal(1), "EUR", "2026-01-01", "X"),)}, bundled().rates)
    assert nowhere.of(H100)
    assert nowhere.of(H100, eu) == ()
    assert book(["h100=1EUR/h"]).of(H100, eu) == ()
    assert book(["h100=1EUR/h@FI"]).of(H100, eu)
    assert price(H100, residency=parse_residency("us")) is None


def test_there_are_offers_in_the_union() -> None:
    eu = parse_residency("eu")
    assert {"a100-80", "h100", "h200", "l40s", "b200"} <= {
        card.name for card in CARDS.values() if bundled().of(card, eu)
    }
