"""Of all that providers sell: what may be taken and does, the best first, and why the rest is not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from lyc.records.fit import Fit, Reason
from lyc.records.money import Rates
from lyc.records.rental import Capabilities, Offer
from lyc.renting.rules import Rules, refuse

Fits = Callable[[Sequence[Offer]], Sequence[tuple[Offer, Fit | Reason]]]
"""How the model sits on each offer: `lyc.planning.offers.fits` of one model and wish."""
Wake = Callable[[Offer], float | None]
"""Seconds from the order to the first answer, None = not known."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An offer that may be taken and does. fit: with the cost of the whole machine, as billed. hourly, per_million: in
    the one currency of the choice; None = no price, or no rate. rate: by which they were converted, empty = they were
    not. wake: seconds, None = unknown.
    """

    offer: Offer
    fit: Fit
    hourly: Decimal | None
    per_million: Decimal | None
    rate: str = ""
    wake: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An offer that may not be taken, or on which the model does not fit, and why."""

    offer: Offer
    reason: Reason


@dataclass(frozen=True, slots=True)
class Choice:
    """candidates: the best first. rejected: as they were offered. currency: in which the prices are compared."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    currency: str

    def reasons(self) -> dict[str, int]:
        """Why offers were rejected, by ref → how many, the most frequent first."""
        counts: dict[str, int] = {}
        for one in self.rejected:
            counts[one.reason.ref] = counts.get(one.reason.ref, 0) + 1
        return dict(sorted(counts.items(), key=lambda row: (-row[1], row[0])))


def rank(
    offers: Sequence[Offer],
    capabilities: Mapping[str, Capabilities],
    rules: Rules,
    rates: Rates | None,
    *,
    fits: Fits,
    currency: str = "EUR",
    wake: Wake | None = None,
) -> Choice:
    """What may be taken, in the order in which to try it.

    capabilities: by provider; an offer of one that is not there is rejected. fits: is asked once, for the offers that
    the rules let through. What fits for sure comes before what may not (`Fit.doubtful`): to find that out costs
    money. Then the cheapest first, a machine as a whole, and those whose price does not compare last; of equal ones
    those of known stock, those that stay before spot, those that wake sooner.

    For example, with `partial` of functools and `fits` of `lyc.planning.offers`:

        choice = rank(offers, capabilities, rules, rates, fits=partial(fits, facts, wish))
        best = choice.candidates[0]      # of no candidates, `choice.reasons()` says why
        best.offer, best.hourly          # what to order, and 2.29 EUR
        best.fit.count, best.per_million # how many of its cards are used, and what a million tokens cost
    """
    allowed: list[Offer] = []
    rejected: list[Rejected] = []
    for offer in offers:
        reason = _refused(offer, capabilities, rules, rates)
        if reason is None:
            allowed.append(offer)
        else:
            rejected.append(Rejected(offer, reason))
    candidates: list[Candidate] = []
    for offer, result in fits(allowed):
        if isinstance(result, Fit) and result.fits:
            candidates.append(_candidate(offer, result, rates, currency, wake))
        else:
            rejected.append(Rejected(offer, _why(result)))
    return Choice(tuple(sorted(candidates, key=_order)), tuple(rejected), currency)


def _refused(
    offer: Offer, capabilities: Mapping[str, Capabilities], rules: Rules, rates: Rates | None
) -> Reason | None:
    provider = capabilities.get(offer.provider)
    if provider is None:
        return Reason("provider-unknown", f"nothing is known of the provider {offer.provider}")
    return refuse(offer, provider, rules, rates)


def _why(result: Fit | Reason) -> Reason:
    if isinstance(result, Reason):
        return result
    return result.reasons[0] if result.reasons else Reason("no-room", "the model does not fit")


def _candidate(offer: Offer, fit: Fit, rates: Rates | None, currency: str, wake: Wake | None) -> Candidate:
    hourly = _converted(offer.per_hour, offer.currency, currency, rates)
    per_million = None if fit.cost is None else fit.cost.per_million
    return Candidate(
        offer,
        fit,
        hourly,
        None if per_million is None else _converted(per_million, offer.currency, currency, rates),
        "" if rates is None or offer.currency == currency else rates.told(offer.currency, currency),
        None if wake is None else wake(offer),
    )


def _converted(amount: Decimal, currency: str, into: str, rates: Rates | None) -> Decimal | None:
    if not amount.is_finite() or amount < 0:
        return None
    if currency == into:
        return amount
    return None if rates is None else rates.convert(amount, currency, into)


def _order(one: Candidate) -> tuple[bool, bool, Decimal, bool, bool, bool, float, str, str]:
    offer = one.offer
    return (
        one.fit.doubtful,
        one.hourly is None,
        one.hourly if one.hourly is not None else Decimal(0),
        offer.stock is None,
        offer.spot,
        one.wake is None,
        one.wake or 0.0,
        offer.provider,
        offer.id,
    )
