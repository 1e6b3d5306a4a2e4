"""The document of `lyc cost` as a person reads it, and as a table for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from lyc.units import show_duration

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.control.rent_documents import BilledDocument, CostDocument, CostLineDocument

_KILO, _MEGA = 1000, 1000**2


def text(output: Output, found: CostDocument) -> str:
    """The table with its sum, and below it what the sum is in one currency and what stands now."""
    lines = [*found["lines"], found["total"]] if len(found["lines"]) > 1 else found["lines"]
    per_token = f"{found['currency']}/MTOK"
    columns = (
        found["by"].upper(),
        "MACHINES",
        "TIME",
        "COST",
        "TOKENS IN",
        "TOKENS OUT",
        per_token,
        "FORETOLD",
        "IDLE",
    )
    numbers = columns[1:]
    table = output.table(columns, [_cells(line) for line in lines], spare=("TOKENS IN", "MACHINES"), numbers=numbers)
    below = [*_as_one(found), *_now(found)]
    return "\n".join([table, *(["", *below] if below else [])])


def billed(output: Output, found: BilledDocument) -> str:
    """Our figure beside the provider's, a machine a line."""
    rows = [
        (
            one["provider"],
            one["machine"],
            one["deployment"],
            f"{_money(one['ours'])} {one['our_currency']}",
            f"{_money(one['theirs'])} {one['currency']}",
            f"{Decimal(one['theirs']) - Decimal(one['ours']):+,.2f}" if one["currency"] == one["our_currency"] else "-",
        )
        for one in found["machines"]
    ]
    columns = ("PROVIDER", "MACHINE", "DEPLOYMENT", "OURS", "THEIRS", "DIFFERENCE")
    return output.table(columns, rows, spare=("MACHINE",), numbers=("OURS", "THEIRS", "DIFFERENCE"))


def notes(found: CostDocument) -> Iterator[str]:
    """What the figures do not hold."""
    if found["served_since"] is not None:
        since = moment(found["served_since"])
        yield f"tokens and idle time are known since {since}: the gateway's log does not reach further back"
    if found["by"] == "host" and found["lines"]:
        yield "tokens are not told apart by host: lyc cost --by deployment"
    if found["further"]:
        yield f"{found['further']} machines were made twice by one order; what those cost is not in it"
    served = found["total"]["served"]
    if served is not None and served["uncounted"]:
        yield f"{served['uncounted']} answers told no tokens, and are not counted"


def as_csv(found: CostDocument) -> str:
    """One row a line, without the sum; a column for each currency. Money with six places, spans in seconds."""
    currencies = sorted(found["total"]["amounts"])
    columns = [
        found["by"], "machines", "seconds", *currencies, f"total_{found['currency']}", "requests", "prompt_tokens",
        "completion_tokens", f"{found['currency']}_per_million", "foretold_per_million", "idle",
    ]  # fmt: skip
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(columns)
    for line in found["lines"]:
        served = line["served"]
        tokens = [served["requests"], served["prompt_tokens"], served["completion_tokens"]] if served else ["", "", ""]
        rows.writerow([
            line["key"], line["rentals"], f"{line['seconds']:.0f}",
            *(line["amounts"].get(currency, "0") for currency in currencies),
            "" if line["cost"]["without"] else line["cost"]["amount"], *tokens, line["per_million"] or "",
            line["foretold"] or "", "" if line["idle"] is None else f"{line['idle']:.4f}",
        ])  # fmt: skip
    return written.getvalue()


def nothing(by: str, since: float | None, now: float) -> CostDocument:
    """The document where nothing was ever rented."""
    line: CostLineDocument = {
        "key": "total", "rentals": 0, "seconds": 0.0, "amounts": {}, "served": None, "per_million": None,
        "foretold": None, "idle": None, "cost": {"amount": "0.000000", "currency": "EUR", "rates": [], "without": {}},
    }  # fmt: skip
    return {
        "by": by, "since": since, "until": now, "currency": "EUR", "lines": [], "total": line, "per_hour": {},
        "served_since": None, "further": 0, "saved": {"seconds": 0.0, "amounts": {}},
    }  # fmt: skip


def moment(at: float) -> str:
    """`2026-11-01 08:00 UTC`; a midnight without its hour."""
    found = datetime.fromtimestamp(at, UTC)
    return found.strftime("%Y-%m-%d" if at % 86400 == 0 else "%Y-%m-%d %H:%M UTC")


def _cells(line: CostLineDocument) -> tuple[str, ...]:
    served = line["served"]
    return (
        line["key"],
        str(line["rentals"]),
        show_duration(line["seconds"]),
        amounts(line["amounts"]),
        _count(served["prompt_tokens"]) if served else "-",
        _count(served["completion_tokens"]) if served else "-",
        _price(line["per_million"]),
        _price(line["foretold"]),
        "-" if line["idle"] is None else f"{line['idle']:.0%}",
    )


def _as_one(found: CostDocument) -> Iterator[str]:
    cost, total = found["total"]["cost"], found["total"]["amounts"]
    if cost["rates"]:
        yield f"together {_money(cost['amount'])} {cost['currency']}, at {', '.join(cost['rates'])}" + (
            f", without {amounts(cost['without'])}" if cost["without"] else ""
        )
    elif cost["without"] and len(total) > 1:
        yield f"there is no rate of {', '.join(cost['without'])}: the sums are not added up"


def _now(found: CostDocument) -> Iterator[str]:
    if found["per_hour"]:
        yield f"now {amounts(found['per_hour'])} an hour"
    if found["saved"]["amounts"]:
        away = show_duration(found["saved"]["seconds"])
        yield f"saved {amounts(found['saved']['amounts'])}: {away} without a machine that nobody needed"


def amounts(by_currency: Mapping[str, str]) -> str:
    """`10.00 EUR + 12.50 USD`; two currencies are never one sum."""
    return " + ".join(f"{_money(amount)} {currency}" for currency, amount in by_currency.items()) or "0.00"


def _money(amount: str) -> str:
    return f"{Decimal(amount):,.2f}"


def _price(amount: str | None) -> str:
    if amount is None:
        return "-"
    price = Decimal(amount)
    return f"{price:.2f}" if price >= Decimal("0.1") else f"{price:.4f}"


def _count(tokens: int) -> str:
    if tokens < 10 * _KILO:
        return str(tokens)
    return f"{tokens / _KILO:.0f}k" if tokens < _MEGA else f"{tokens / _MEGA:.1f}M"
