"""The part of the controller's API that is about renting: providers, offers, rentals, the sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from lyc.control.deps import Deps
from lyc.control.limits import Limits
from lyc.control.market import Listing, Market
from lyc.control.operations import Unheard
from lyc.control.preparation import Preparation
from lyc.control.rentals import Rentals, Swept
from lyc.control.rented import wish_of
from lyc.control.renting import Renter
from lyc.errors import Bug, UsageError
from lyc.records.deployment import DeploymentSpec
from lyc.records.rental import Capabilities, Offer
from lyc.records.secret import Secret
from lyc.renting.choice import Candidate, Choice

Credentials = dict[str, str]


class OffersRequest(BaseModel):
    """What to list. providers: by name, empty = all with a credential. fresh: do not take what was heard before."""

    providers: list[str] = Field(default_factory=list)
    credentials: Credentials = Field(default_factory=dict, repr=False)
    fresh: bool = False


class RankRequest(BaseModel):
    """What could be rented for a deployment."""

    spec: DeploymentSpec
    credentials: Credentials = Field(default_factory=dict, repr=False)


class LoginRequest(BaseModel):
    """A credential to keep. keyring: in the system's keyring in place of a file."""

    credentials: Credentials = Field(repr=False)
    keyring: bool = False


class CheckRequest(BaseModel):
    """A question to a provider, with the caller's own credentials over those that are kept."""

    credentials: Credentials = Field(default_factory=dict, repr=False)


class BudgetRequest(BaseModel):
    """budget: `50EUR/day`, empty = none any more, None = as before. stop: order in which deployments are stopped."""

    budget: str | None = None
    stop: str | None = None


class SweepRequest(BaseModel):
    """A look at all providers. dry_run: nothing is ended or removed."""

    dry_run: bool = False


def add(app: FastAPI, deps: Deps, renter: Renter, rentals: Rentals, market: Market) -> None:
    """Adds the calls to an application."""
    _add_providers(app, deps, rentals, market)
    _add_offers(app, deps, renter, market)

    @app.get("/v1/rentals")
    def all_rentals() -> dict[str, Any]:
        """Everything that was ever rented, oldest first: the ledger."""
        return {"rentals": [asdict(one) for one in deps.store.rentals()]}

    @app.get("/v1/budget")
    def budget() -> dict[str, Any]:
        """What may be spent, and how it stands."""
        return _budget(rentals)

    @app.put("/v1/budget")
    def set_budget(request: BudgetRequest) -> dict[str, Any]:
        """Keep a budget, or end it."""
        limits(rentals).set(request.budget, request.stop)
        rentals.wake()
        return _budget(rentals)

    @app.post("/v1/gc")
    def gc(request: SweepRequest) -> dict[str, Any]:
        """Look at every provider for what is ours, and end what nothing uses."""
        return {
            "dry_run": request.dry_run,
            "providers": [_swept(one) for one in rentals.sweep(dry_run=request.dry_run)],
        }


def _add_providers(app: FastAPI, deps: Deps, rentals: Rentals, market: Market) -> None:
    @app.get("/v1/providers")
    def providers() -> dict[str, Any]:
        """All that are installed, and where their credentials come from."""
        sources = deps.accounts.sources()
        kinds = deps.accounts.kinds()
        return {"providers": [_provider(name, one.capabilities, sources.get(name)) for name, one in kinds.items()]}

    @app.post("/v1/providers/{name}/check")
    def check(name: str, request: CheckRequest) -> dict[str, Any]:
        """Ask it whose the credential is, what it sells, and what of ours is there."""
        deps.accounts.hear(_secret(request.credentials))
        account = deps.accounts.open(name)
        whose = account.account()
        listing = market.offers([name], fresh=0)
        problem = listing.problems.get(name)
        swept = rentals.visit(name, dry_run=True)
        described = _provider(name, account.capabilities, deps.accounts.sources().get(name))
        return described | {
            "account": whose,
            "offers": len(listing.offers),
            "in_stock": sum(one.stock != 0 for one in listing.offers),
            "machines": [asdict(one) for one in swept.machines],
            "error": problem or swept.problem,
        }

    @app.put("/v1/providers/{name}")
    def login(name: str, request: LoginRequest) -> dict[str, Any]:
        """Keep a credential for good, once the provider has taken it."""
        secret = _secret(request.credentials)
        account = deps.accounts.trial(name, secret)
        try:
            whose = account.account()
        finally:
            account.close()
        deps.accounts.login(name, secret, keyring=request.keyring)
        return {"name": name, "account": whose, "source": deps.accounts.sources().get(name)}

    @app.delete("/v1/providers/{name}")
    def logout(name: str) -> dict[str, Any]:
        """Forget a credential."""
        rented = [one.run_id for one in deps.store.rentals(provider=name, open_only=True)]
        if rented:
            raise UsageError(
                "provider-in-use",
                f"machines of {name} are rented still: {', '.join(rented)}",
                why="without the credential lyc could not give them back",
                hint="lyc down NAME, or lyc gc",
            )
        return {"name": name, "removed": deps.accounts.logout(name)}


def _add_offers(app: FastAPI, deps: Deps, renter: Renter, market: Market) -> None:
    @app.post("/v1/offers")
    def offers(request: OffersRequest) -> dict[str, Any]:
        """What is sold just now."""
        deps.accounts.hear(_secret(request.credentials))
        listing = market.offers(request.providers, **({"fresh": 0.0} if request.fresh else {}))
        return _listed(listing) | {"offers": [_offer(one) for one in listing.offers]}

    @app.post("/v1/offers/rank")
    def ranked(request: RankRequest) -> dict[str, Any]:
        """What may be taken for a deployment, in the order in which a deploy would try it."""
        secret = _secret(request.credentials)
        deps.accounts.hear(secret)
        facts = Preparation(deps, renter, request.spec, secret, Unheard(), freed=0).inspected()
        rented = renter.open_rentals(request.spec)
        choice, listing = renter.choice(request.spec, facts, wish_of(request.spec))
        return _listed(listing) | _choice(choice) | {"rented": [_offer(one.offer) for one in rented]}


def limits(rentals: Rentals) -> Limits:
    """Raises Bug `no-limits`: the controller sets them before it serves."""
    if rentals.limits is None:
        raise Bug("no-limits", "the controller has no limits")
    return rentals.limits


def _budget(rentals: Rentals) -> dict[str, Any]:
    found, order = limits(rentals).standing(), limits(rentals).order()
    stop = [*order.picks, *(f"keep:{name}" for name in sorted(order.keep))]
    if found is None:
        return {"budget": None, "stop": stop}
    limit = found.budget.limit
    return {
        "budget": {"amount": str(limit.amount), "currency": limit.currency, "period": found.budget.period.value},
        "level": found.level.value,
        "spent": str(found.spent),
        "projected": str(found.projected),
        "per_hour": str(found.per_hour),
        "since": found.since,
        "until": found.until,
        "spent_at": found.spent_at,
        "rates": list(found.rates),
        "without": [{"amount": str(one.amount), "currency": one.currency} for one in found.without],
        "stop": stop,
    }


def _provider(name: str, one: Capabilities, source: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "title": one.title,
        "owner": one.owner or None,
        "jurisdiction": one.jurisdiction or None,
        "countries": sorted({region.country for region in one.regions.values() if region.country}),
        "currency": one.currency,
        "granularity": one.granularity,
        "minimum": one.minimum,
        "time_limit": one.time_limit,
        "tags": one.tags,
        "idempotent": one.idempotent,
        "boot_script": one.boot_script,
        "spot": one.spot,
        "credentials": [{"env": row.env, "help": row.help, "required": row.required} for row in one.credentials],
        "credentials_page": one.credentials_page,
        "source": source,
    }


def _listed(listing: Listing) -> dict[str, Any]:
    return {"asked": list(listing.asked), "problems": listing.problems, "stale": list(listing.stale)}


def _choice(choice: Choice) -> dict[str, Any]:
    reasons = choice.reasons()
    texts = {one.reason.ref: one.reason.text for one in reversed(choice.rejected)}
    return {
        "currency": choice.currency,
        "candidates": [_candidate(one) for one in choice.candidates],
        "rejected": [{"ref": ref, "count": count, "text": texts[ref]} for ref, count in reasons.items()],
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    return _offer(one.offer) | {
        "used": one.fit.count,
        "hourly": None if one.hourly is None else str(one.hourly),
        "per_million": None if one.per_million is None else str(one.per_million),
        "rate": one.rate,
        "wake": one.wake,
        "doubtful": one.fit.doubtful,
        "warnings": list(one.fit.warnings),
    }


def _offer(one: Offer) -> dict[str, Any]:
    return asdict(one) | {"per_hour": str(one.per_hour)}


def _swept(one: Swept) -> dict[str, Any]:
    return {
        "provider": one.provider,
        "machines": [asdict(machine) for machine in one.machines],
        "ended": [asdict(step) for step in one.ended],
        "leftovers": [asdict(left) for left in one.leftovers],
        "error": one.problem,
    }


def _secret(credentials: Mapping[str, str]) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in credentials.items()}
