"""What a card costs for an hour: the bundled table, the user's own figures over it, and where the machine stands.

The table is a help until providers are asked themselves: prices move by a third in two months, so every row shows its
day and its source, and one without a day (`dated` empty) counts only where no row has one. Amounts are decimals, in the
currency in which they are billed; nothing is converted unless a currency is asked for, and then the price says how.
Tax, storage, traffic and the address are not in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path

from lyc.errors import UsageError
from lyc.planning.catalogue.cards import find
from lyc.records.card import Card, Price
from lyc.records.money import Rates
from lyc.spec.money import CURRENCIES, SYMBOLS

_AMOUNT = re.compile(
    r"(?P<before>[€$£])?\s*(?P<amount>[^\s@a-zA-Z€$£/]+)\s*(?P<currency>[€$£]|[A-Za-z]{3})?"
    r"\s*(?:/\s*(?:h|hr|hour))?\s*(?:@\s*(?P<country>[A-Za-z]{2}))?",
)
_FORM = "write it like --price h100=2.79EUR/h, or --price h100=2.79EUR/h@FI to say in which country"


@dataclass(frozen=True, slots=True)
class PriceBook:
    """offers: by card, as bundled. given: by card, what the user says; it wins."""

    offers: Mapping[str, tuple[Price, ...]]
    rates: Rates
    given: Mapping[str, Price] = field(default_factory=dict)

    def of(self, card: Card, residency: frozenset[str] | None = None) -> tuple[Price, ...]:
        """All prices of a card, the best first: the user's own alone, else dated ones before others, cheapest first.

        residency: countries that will do (`parse_residency`); a price of which no country is known will not.
        """
        own = self.given.get(card.name)
        rows = self.offers.get(card.name, ()) if own is None else (own,)
        allowed = [row for row in rows if residency is None or row.country in residency]
        return tuple(sorted(allowed, key=self._rank))

    def table(
        self, cards: Iterable[Card], *, currency: str, residency: frozenset[str] | None = None
    ) -> dict[str, Price]:
        """The best price of each card in one currency, so that they compare; without those that have none."""
        best = {card.name: self.of(card, residency) for card in cards}
        converted = {name: convert(rows[0], currency, self.rates) for name, rows in best.items() if rows}
        return {name: row for name, row in converted.items() if row is not None}

    def _rank(self, row: Price) -> tuple[bool, bool, Decimal]:
        euro = convert(row, "EUR", self.rates)
        return not row.dated, euro is None, row.amount if euro is None else euro.amount


def price(
    card: Card, overrides: Mapping[str, Price] | None = None, *, residency: frozenset[str] | None = None
) -> Price | None:
    """The best price of a card as it is billed, None where none is known. overrides: by card name; they win."""
    return next(iter(replace(bundled(), given=overrides or {}).of(card, residency)), None)


def convert(row: Price, currency: str, rates: Rates) -> Price | None:
    """The price in another currency, saying so in its source; None without a rate. The amount is not rounded."""
    amount = rates.convert(row.amount, row.currency, currency)
    if amount is None or row.currency == currency:
        return None if amount is None else row
    how = f"{row.amount} {row.currency} at {rates.told(row.currency, currency)}"
    return replace(row, amount=amount, currency=currency, source=f"{row.source}; {how}")


def book(words: Sequence[str] = (), *, file: str | None = None, path: str = "") -> PriceBook:
    """The bundled table under a file of prices (its text) under the words of `--price`.

    Raises UsageError `invalid-price`, `invalid-price-file`, `unknown-gpu`.
    """
    base = bundled()
    given, rates = ({}, base.rates) if file is None else _read(file, path, base.rates)
    return PriceBook(base.offers, rates, {**given, **dict(parse_price(word) for word in words)})


def parse_price(word: str) -> tuple[str, Price]:
    """`h100=2.79EUR/h` → ("h100", Price); also `2.79 eur`, `€2.79/h`, and `…@FI` for the country."""
    name, equals, text = word.partition("=")
    if not equals or not text.strip():
        raise _invalid(word, "it has no =AMOUNT", "--price")
    card = find(name, "--price")
    return card.name, _amount(text, word, where="--price", source="--price")


@cache
def bundled() -> PriceBook:
    """The table that comes with lyc."""
    loaded = json.loads((Path(__file__).parent / "data" / "prices.json").read_text(encoding="utf-8"))
    places = {
        name: Price(
            Decimal(0), row["currency"], row["dated"], row["provider"], row["country"], row["region"], row["page"]
        )
        for name, row in loaded["places"].items()
    }
    offers = {
        card: tuple(replace(places[place], amount=Decimal(amount)) for place, amount in row.items())
        for card, row in loaded["prices"].items()
    }
    rates = loaded["rates"]
    per_euro = {code: Decimal(rate) for code, rate in rates["per_euro"].items()}
    return PriceBook(offers, Rates(per_euro, rates["dated"], rates["source"]))


def _read(text: str, path: str, rates: Rates) -> tuple[dict[str, Price], Rates]:
    import tomllib  # noqa: PLC0415  20 ms, for the few who have such a file

    try:
        loaded = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(
            "invalid-price-file", f"{path} is not TOML", why=str(problem), where=path, hint=_FILE_FORM
        ) from problem
    table = loaded.pop("rates", {})
    given: dict[str, Price] = {}
    for name, row in loaded.items():
        where = f"{path}: {name}"
        card = find(name, where)
        given[card.name] = _row(row, where, path)
    return given, _rates(table, rates, path)


_FILE_FORM = 'a line is like h100 = "2.79EUR/h", or a table [h100] with amount, currency, dated and country'


def _row(row: object, where: str, path: str) -> Price:
    if isinstance(row, str):
        return _amount(row, row, where=where, source=path)
    if not isinstance(row, Mapping):
        raise UsageError("invalid-price-file", "a price is a text or a table", where=where, hint=_FILE_FORM)
    unknown = sorted(set(row) - {"amount", "currency", "dated", "country", "region", "source"})
    if unknown or "amount" not in row or "currency" not in row:
        why = f"it does not know {', '.join(unknown)}" if unknown else "amount and currency are needed"
        raise UsageError("invalid-price-file", "the table of a price is not complete", why=why, where=where,
                         hint=_FILE_FORM)  # fmt: skip
    plain = _amount(f"{row['amount']}{row['currency']}", str(row["amount"]), where=where, source=path)
    return replace(
        plain,
        dated=str(row.get("dated", "")),
        country=str(row.get("country", "")).upper(),
        region=str(row.get("region", "")),
        source=str(row.get("source", path)),
    )


def _rates(table: object, rates: Rates, path: str) -> Rates:
    if not isinstance(table, Mapping):
        raise UsageError("invalid-price-file", "rates is a table", where=f"{path}: rates", hint="[rates]\nUSD = 1.17")
    if not table:
        return rates
    dated = str(table.get("dated", "")) or "an unknown day"
    codes = {code.upper(): str(rate) for code, rate in table.items() if code != "dated"}
    per_euro = {code: _positive(rate, f"{path}: rates.{code}") for code, rate in codes.items()}
    return Rates({**rates.per_euro, **per_euro}, dated, path)


def _amount(text: str, written: str, *, where: str, source: str) -> Price:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise _invalid(written, "it is not an amount, a currency and /h", where)
    symbols = [word for word in (match["before"], match["currency"]) if word]
    if len(symbols) != 1:
        raise _invalid(written, "it names no currency" if not symbols else "it names two currencies", where)
    try:
        amount = Decimal(match["amount"])
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise _invalid(written, f"{match['amount']} is not an amount", where)
    currency = SYMBOLS.get(symbols[0], symbols[0].upper())
    if currency not in CURRENCIES:
        raise _invalid(written, f"{currency} is not a currency that lyc knows", where)
    return Price(amount, currency, "", source, (match["country"] or "").upper())


def _positive(text: str, where: str) -> Decimal:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal(0)
    if not rate.is_finite() or rate <= 0:
        raise UsageError("invalid-price-file", f"{text} is not a rate", where=where, hint="[rates]\nUSD = 1.17")
    return rate


def _invalid(written: str, why: str, where: str) -> UsageError:
    return UsageError("invalid-price", f"{written!r} is not a price", why=why, where=where, hint=_FORM)
