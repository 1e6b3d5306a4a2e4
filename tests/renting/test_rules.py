"""What may be rented: every rule, both ways, and that what is not known is refused."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from lyc.errors import UsageError
from lyc.records.money import Money, Rates
from lyc.records.rental import Capabilities, Offer
from lyc.renting.rules import Rules, refuse, refuse_place, rules_of
from lyc.spec.residency import parse_residency, show_residency

RATES = Rates({"USD": Decimal("1.25"), "GBP": Decimal("0.80")}, "2026-11-20", "a bank")
OFFER = Offer("acme", "o1", "h100", "H100", 1, Decimal("2.50"), "EUR", region="hel-1", country="FI", stock=3)
ACME = Capabilities("acme", "Acme Cloud", "Acme Oy", "FI", "EUR", (), "")
EU = Rules(residency=parse_residency("eu"))


def ref(offer: Offer = OFFER, rules: Rules | None = None, **capabilities: str) -> str | None:
    reason = refuse(offer, replace(ACME, **capabilities), rules or Rules(), RATES)
    return None if reason is None else reason.ref


def test_no_rules_take_anything_that_is_there() -> None:
    assert ref() is None
    assert ref(replace(OFFER, country="", stock=None), jurisdiction="") is None


@pytest.mark.parametrize(
    ("country", "residency", "expected"),
    [
        ("FI", "eu", None),
        ("fi", "eu", None),
        ("EU", "eu", None),
        ("EU", "de", "wrong-country"),
        ("NO", "eu", "wrong-country"),
        ("NO", "eea", None),
        ("US", "eu", "wrong-country"),
        ("", "eu", "country-unknown"),
        ("", "us", "country-unknown"),
        ("DE", "de,fr", None),
        ("FI", "de,fr", "wrong-country"),
    ],
)
def test_residency(country: str, residency: str, expected: str | None) -> None:
    rules = Rules(residency=parse_residency(residency))
    assert ref(replace(OFFER, country=country), rules) == expected
    reason = refuse_place("gateway", country, rules)
    assert (None if reason is None else reason.ref) == expected


@pytest.mark.parametrize(
    ("country", "jurisdiction", "expected"),
    [
        ("FI", "FI", None),
        ("FI", "NO", None),
        ("FI", "US", "foreign-owner"),
        ("FI", "CH", "foreign-owner"),  # an adequate country is not of the EEA
        ("FI", "GB", "foreign-owner"),
        ("FI", "", "owner-unknown"),
        ("US", "FI", "wrong-country"),  # what stands elsewhere answers to the law there
        ("", "FI", "country-unknown"),
    ],
)
def test_sovereign_wants_owner_and_place(country: str, jurisdiction: str, expected: str | None) -> None:
    assert ref(replace(OFFER, country=country), Rules(sovereign=True), jurisdiction=jurisdiction) == expected
    reason = refuse_place("bucket b", country, Rules(sovereign=True), jurisdiction=jurisdiction)
    assert (None if reason is None else reason.ref) == expected


def test_sovereign_narrows_residency_and_does_not_widen_it() -> None:
    rules = Rules(residency=frozenset({"DE", "US"}), sovereign=True)
    assert ref(replace(OFFER, country="DE"), rules) is None
    assert ref(replace(OFFER, country="US"), rules) == "wrong-country"
    assert ref(replace(OFFER, country="FI"), rules) == "wrong-country"


def test_a_machine_that_is_not_the_providers_own_answers_to_its_own_owner() -> None:
    """Of one that is rented by way of another: whose the way is says nothing of it."""
    at_home = replace(OFFER, country="FI", owner="Cloud Inc.", jurisdiction="US")
    assert ref(at_home, Rules(sovereign=True), jurisdiction="FI") == "foreign-owner"
    reason = refuse(at_home, replace(ACME, owner="Acme Oy", jurisdiction=""), Rules(sovereign=True), RATES)
    assert reason is not None
    assert "Cloud Inc." in reason.text
    assert ref(replace(at_home, jurisdiction=""), Rules(sovereign=True), jurisdiction="") == "owner-unknown"


def test_residency_alone_does_not_ask_for_the_owner() -> None:
    assert refuse_place("logs", "FI", EU) is None
    assert refuse_place("logs", "", Rules()) is None


@pytest.mark.parametrize(
    ("price", "currency", "limit", "expected"),
    [
        ("2.50", "EUR", Money(Decimal("2.50"), "EUR"), None),
        ("2.51", "EUR", Money(Decimal("2.50"), "EUR"), "too-dear"),
        ("3.125", "USD", Money(Decimal("2.50"), "EUR"), None),  # at 1.25 exactly the limit
        ("3.126", "USD", Money(Decimal("2.50"), "EUR"), "too-dear"),
        ("2.00", "GBP", Money(Decimal("3.125"), "USD"), None),  # over the euro
        ("0.01", "SEK", Money(Decimal("2.50"), "EUR"), "no-rate"),
        ("NaN", "EUR", Money(Decimal("2.50"), "EUR"), "price-unknown"),
    ],
)
def test_max_price(price: str, currency: str, limit: Money, expected: str | None) -> None:
    assert ref(replace(OFFER, per_hour=Decimal(price), currency=currency), Rules(max_price=limit)) == expected


def test_without_rates_only_the_same_currency_compares() -> None:
    rules = Rules(max_price=Money(Decimal(9), "EUR"))
    assert refuse(OFFER, ACME, rules, None) is None
    reason = refuse(replace(OFFER, currency="USD"), ACME, rules, None)
    assert reason is not None
    assert reason.ref == "no-rate"


def test_a_price_in_another_currency_says_by_which_rate_of_which_day() -> None:
    reason = refuse(replace(OFFER, currency="USD"), ACME, Rules(max_price=Money(Decimal(1), "EUR")), RATES)
    assert reason is not None
    assert reason.text == "2.50 USD/h (2.00 EUR/h at 1.25 USD/EUR of 2026-11-20) is above --max-price 1.00 EUR/h"


@pytest.mark.parametrize(
    ("offer", "rules", "expected"),
    [
        (replace(OFFER, stock=0), Rules(), "sold-out"),
        (replace(OFFER, stock=None), Rules(), None),
        (replace(OFFER, spot=True), Rules(), "spot-not-asked"),
        (replace(OFFER, spot=True), Rules(spot=True), None),
        (OFFER, Rules(providers=("other",)), "provider-not-asked"),
        (OFFER, Rules(providers=("other", "acme")), None),
        (replace(OFFER, stock=0, country="US"), EU, "wrong-country"),  # what lasts comes first
    ],
)
def test_stock_spot_and_provider(offer: Offer, rules: Rules, expected: str | None) -> None:
    assert ref(offer, rules) == expected


def test_every_reason_is_one_line_with_what_was_wanted() -> None:
    cases = {
        "Acme Cloud does not say in which country its region hel-1 is; it must be the EU": refuse(
            replace(OFFER, country=""), ACME, EU, RATES
        ),
        "it is in US; it must be the EEA (--sovereign)": refuse(
            replace(OFFER, country="US"), ACME, Rules(sovereign=True), RATES
        ),
        "Acme Cloud (Acme Inc) answers to US law (CLOUD Act), wherever the machine stands (--sovereign)": refuse(
            OFFER, replace(ACME, owner="Acme Inc", jurisdiction="US"), Rules(sovereign=True), RATES
        ),
        "it is not known in which country the host box is; it must be DE, FR": refuse_place(
            "host box", "", Rules(residency=parse_residency("fr,de"))
        ),
        "it is not known to which country's law the owner of the bucket b answers (--sovereign)": refuse_place(
            "bucket b", "FI", Rules(sovereign=True)
        ),
    }
    for text, reason in cases.items():
        assert reason is not None
        assert reason.text == text


def test_rules_as_they_are_written() -> None:
    rules = rules_of(residency="eu", max_price="3.50EUR/h", providers=("verda", "verda"))
    assert rules == Rules(parse_residency("eu"), False, Money(Decimal("3.50"), "EUR"), False, ("verda",))
    assert rules_of() == Rules()
    assert rules_of(max_price="€4").max_price == Money(Decimal(4), "EUR")
    assert show_residency(parse_residency("eea")) == "the EEA"


@pytest.mark.parametrize("text", ["3", "EUR", "-3EUR", "0EUR", "3EUR/day", "3XYZ", "€3USD", "NaNEUR", "InfEUR", ""])
def test_a_limit_that_is_none_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules_of(max_price=text)
    assert caught.value.ref == "invalid-amount"
    assert caught.value.where == "--max-price"
    assert "--max-price 3EUR/h" in caught.value.hint


def test_rules_that_leave_no_country_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        rules_of(residency="us", sovereign=True)
    assert caught.value.ref == "contradictory-rules"
