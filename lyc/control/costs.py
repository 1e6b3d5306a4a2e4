"""What rented machines cost, as the API shows it: `CostDocument` of docs/cost.md. Money is decimal text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from fastapi import FastAPI

from lyc.control.deps import Deps
from lyc.control.layout import gateway_config
from lyc.errors import LycError
from lyc.gateway.traffic import access_log, traffic
from lyc.planning.catalogue import prices
from lyc.records.rental import Rental
from lyc.renting.ledger import Difference, Grouping, InOne, differences, touches
from lyc.renting.report import Report, Row, report

_PLACES = Decimal("0.000001")


def add(app: FastAPI, deps: Deps) -> None:
    """Adds the call to an application."""

    @app.get("/v1/costs")
    def costs(
        name: str | None = None, by: Grouping = Grouping.DEPLOYMENT, since: float | None = None
    ) -> dict[str, Any]:
        """What was spent, and what was served for it. name: one deployment, also one that is gone."""
        return document(_report(deps, name, by, since))

    @app.get("/v1/costs/billed")
    def billed(name: str | None = None, since: float | None = None) -> dict[str, Any]:
        """Our figures beside those of the providers that tell theirs. Asks them now."""
        return _billed(deps, _rentals(deps, name), since)


def document(found: Report) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "by": found.by.value,
        "since": found.since,
        "until": found.until,
        "currency": found.currency,
        "lines": [_row(row) for row in found.rows],
        "total": _row(found.total),
        "per_hour": _amounts(found.per_hour),
        "served_since": found.served_since,
        "further": found.further,
        "saved": {"seconds": found.saved.seconds, "amounts": _amounts(found.saved.amounts)},
    }


def _report(deps: Deps, name: str | None, by: Grouping, since: float | None) -> Report:
    rentals = _rentals(deps, name)
    begun = min((one.billed_from for one in rentals if one.billed_from is not None), default=None)
    first = begun if since is None else since
    log = access_log(gateway_config(deps.settings))
    rates = prices.bundled().rates
    alive = {one.name for one in deps.store.deployments() if not one.stopping}
    seen = traffic(log, since=first)
    return report(rentals, seen, deps.clock(), by=by, since=since, rates=rates, alive=alive)


def _billed(deps: Deps, rentals: list[Rental], since: float | None) -> dict[str, Any]:
    """`BilledDocument`."""
    now = deps.clock()
    begun = min((one.billed_from for one in rentals if one.billed_from is not None), default=now)
    first = begun if since is None else max(since, begun)
    machines: list[dict[str, Any]] = []
    silent: list[str] = []
    problems: dict[str, dict[str, Any]] = {}
    for name in sorted({one.provider for one in rentals if touches(one, now, first)}):
        mine = [one for one in rentals if one.provider == name]
        try:
            told = deps.accounts.open(name).billed(first, now)
        except LycError as error:
            problems[name] = error.document()
            continue
        if told is None:
            silent.append(name)
            continue
        machines += [_difference(name, mine, one) for one in differences(mine, told, now)]
    return {"since": first, "until": now, "machines": machines, "silent": silent, "problems": problems}


def _difference(provider: str, rentals: list[Rental], one: Difference) -> dict[str, Any]:
    return {
        "provider": provider,
        "machine": one.machine,
        "run_id": one.run_id,
        "deployment": next(rental.deployment for rental in rentals if rental.run_id == one.run_id),
        "ours": str(one.ours.amount),
        "theirs": str(one.theirs.amount),
        "currency": one.theirs.currency,
        "our_currency": one.ours.currency,
        "since": one.since,
        "until": one.until,
    }


def _rentals(deps: Deps, name: str | None) -> list[Rental]:
    """Raises NotFound `no-such-deployment` for a name that there is not, and for which nothing was ever rented."""
    found = deps.store.rentals(deployment=name)
    if name is not None and not found:
        deps.store.deployment(name)
    return found


def _row(row: Row) -> dict[str, Any]:
    return {
        "key": row.line.key,
        "rentals": row.line.rentals,
        "seconds": row.line.seconds,
        "amounts": _amounts(row.line.totals),
        "cost": _in_one(row.cost),
        "served": None if row.served is None else asdict(row.served),
        "per_million": _text(row.per_million),
        "foretold": _text(row.foretold),
        "idle": row.idle,
    }


def _in_one(cost: InOne) -> dict[str, Any]:
    return {
        "amount": _text(cost.amount),
        "currency": cost.currency,
        "rates": list(cost.rates),
        "without": _amounts({money.currency: money.amount for money in cost.without}),
    }


def _amounts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: str(amount) for currency, amount in amounts.items()}


def _text(amount: Decimal | None) -> str | None:
    """Six places at most: converted amounts have many more, which mean nothing."""
    return None if amount is None else str(amount.quantize(_PLACES))
