"""What may be rented, and where prompts may go: every rule says yes for certain, or the answer is no. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lyc.errors import UsageError
from lyc.records.fit import Reason
from lyc.records.money import Money, Rates
from lyc.records.rental import Capabilities, Offer
from lyc.spec.money import parse_hourly
from lyc.spec.residency import ANY_OF_EU, EEA, parse_residency, show_residency

AT_HOME = EEA | {ANY_OF_EU}
"""Where the law of the Union holds, as far as `Rules.sovereign` is concerned."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a user allows. residency: countries that will do, None = any (`parse_residency`). sovereign: nobody outside
    the EEA may be made to hand over what runs there: see `refuse`. max_price: of the whole machine for an hour, without
    tax. spot: whether machines that the provider may take back will do. providers: by name, empty = all.
    """

    residency: frozenset[str] | None = None
    sovereign: bool = False
    max_price: Money | None = None
    spot: bool = False
    providers: tuple[str, ...] = ()

    @property
    def countries(self) -> frozenset[str] | None:
        """Where machines may stand, by both rules: one that stands outside the EEA answers to the law there, whoever
        owns it. None = anywhere.
        """
        if not self.sovereign:
            return self.residency
        return AT_HOME if self.residency is None else self.residency & AT_HOME


def rules_of(
    *,
    residency: str | None = None,
    sovereign: bool = False,
    max_price: str | None = None,
    spot: bool = False,
    providers: Sequence[str] = (),
) -> Rules:
    """The rules as they are written: `eu`, `3EUR/h`.

    Raises UsageError `unknown-residency`, `invalid-amount`, and `contradictory-rules` where no country is left.
    """
    rules = Rules(
        None if residency is None else parse_residency(residency),
        sovereign,
        None if max_price is None else parse_hourly(max_price, where="--max-price"),
        spot,
        tuple(dict.fromkeys(providers)),
    )
    if rules.countries is not None and not rules.countries:
        raise UsageError(
            "contradictory-rules",
            f"--residency {residency} and --sovereign leave no country",
            why="a machine outside the EEA answers to the law of the country where it stands",
            where="--sovereign",
            hint="lyc deploy MODEL --sovereign --residency eu",
        )
    return rules


def refuse(offer: Offer, capabilities: Capabilities, rules: Rules, rates: Rates | None) -> Reason | None:
    """Why an offer may not be taken; None where it may. What lasts is told before what passes: sold out comes last.

    rates: by which prices in another currency than the limit's are compared, None = they cannot be.

    `sovereign` wants two things. The machine stands in the EEA; and the company that owns the provider, or its ultimate
    parent, is of the EEA too (`Capabilities.jurisdiction`). For a law may reach data through whoever holds it: the US
    CLOUD Act obliges a provider that is subject to US law to hand over what is in its possession, custody or control
    "regardless of whether [it] is located within or outside of the United States" (18 U.S.C. § 2713), while Article 48
    GDPR does not recognise such an order by itself. Countries whose protection the Commission finds adequate are not
    of the EEA, so they are refused. It is a rule about owners alone: that a company of the EEA may have customers,
    staff or suppliers elsewhere, through which a court there reaches it, is not looked into.
    """
    provider = capabilities.title or capabilities.name or offer.provider
    return (
        _other_provider(offer, rules)
        or _elsewhere(f"{provider} does not say in which country {_region(offer)} is", offer.country, rules)
        or _foreign_owner(
            provider, offer.owner or capabilities.owner, offer.jurisdiction or capabilities.jurisdiction, rules
        )
        or _spot(offer, rules)
        or _dear(offer, rules, rates)
        or _sold_out(offer)
    )


def refuse_place(kind: str, country: str, rules: Rules, *, owner: str = "", jurisdiction: str = "") -> Reason | None:
    """Why something other than a rented machine may not hold prompts, weights or logs; None where it may.

    kind: as the reason names it: `gateway`, `bucket NAME`, `logs`, `host NAME`. country: where it stands, empty =
    unknown. owner: who runs it; jurisdiction: the country of that company (see `Capabilities`), which for a machine of
    the user's own is the user's; empty = unknown. Unknown is refused by the rule that asks for it, and no other.
    """
    who = owner or f"the owner of the {kind}"
    return _elsewhere(f"it is not known in which country the {kind} is", country, rules) or _foreign_owner(
        who, owner, jurisdiction, rules
    )


def _other_provider(offer: Offer, rules: Rules) -> Reason | None:
    if not rules.providers or offer.provider in rules.providers:
        return None
    return Reason("provider-not-asked", f"{offer.provider} was not asked for, only {', '.join(rules.providers)}")


def _elsewhere(unknown: str, country: str, rules: Rules) -> Reason | None:
    allowed = rules.countries
    if allowed is None:
        return None
    wanted = "the EEA (--sovereign)" if rules.residency is None else show_residency(allowed)
    if not country:
        return Reason("country-unknown", f"{unknown}; it must be {wanted}")
    if country.upper() not in allowed:
        return Reason("wrong-country", f"it is in {country.upper()}; it must be {wanted}")
    return None


def _foreign_owner(who: str, owner: str, jurisdiction: str, rules: Rules) -> Reason | None:
    if not rules.sovereign:
        return None
    of = f" ({owner})" if owner and owner != who else ""
    if not jurisdiction:
        return Reason("owner-unknown", f"it is not known to which country's law {who}{of} answers (--sovereign)")
    if jurisdiction.upper() not in AT_HOME:
        law = "US law (CLOUD Act)" if jurisdiction.upper() == "US" else f"the law of {jurisdiction.upper()}"
        return Reason("foreign-owner", f"{who}{of} answers to {law}, wherever the machine stands (--sovereign)")
    return None


def _spot(offer: Offer, rules: Rules) -> Reason | None:
    if offer.spot and not rules.spot:
        return Reason("spot-not-asked", "the provider may take it back at any time; --spot allows that")
    return None


def _dear(offer: Offer, rules: Rules, rates: Rates | None) -> Reason | None:
    limit = rules.max_price
    if limit is None:
        return None
    if not offer.per_hour.is_finite() or offer.per_hour < 0:
        return Reason("price-unknown", f"its price is not known; --max-price is {_hourly(limit)}")
    asked = Money(offer.per_hour, offer.currency)
    same = None if rates is None else rates.convert(asked.amount, asked.currency, limit.currency)
    amount = asked.amount if asked.currency == limit.currency else same
    if amount is None:
        return Reason(
            "no-rate",
            f"{_hourly(asked)} cannot be compared with --max-price {_hourly(limit)}: there is no rate of "
            f"{asked.currency} to {limit.currency}",
        )
    if amount <= limit.amount:
        return None
    rate = "" if rates is None or asked.currency == limit.currency else rates.told(asked.currency, limit.currency)
    how = f" ({_hourly(Money(amount, limit.currency))} at {rate})" if rate else ""
    return Reason("too-dear", f"{_hourly(asked)}{how} is above --max-price {_hourly(limit)}")


def _sold_out(offer: Offer) -> Reason | None:
    return Reason("sold-out", "the provider has none left") if offer.stock is not None and offer.stock <= 0 else None


def _region(offer: Offer) -> str:
    return f"its region {offer.region}" if offer.region else "the machine"


def _hourly(money: Money) -> str:
    return f"{money.amount:.2f} {money.currency}/h"
