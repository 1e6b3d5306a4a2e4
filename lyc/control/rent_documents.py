"""What the API answers about what is rented, and what that costs. Money is decimal text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from lyc.records.rental import Rental


class RentedDocument(TypedDict):
    """A machine that is paid for by the hour. per_hour: decimal text. until: when it goes back by itself (`--ttl`)."""

    provider: str
    machine: str | None
    product: str
    count: int
    region: str | None
    country: str | None
    per_hour: str
    currency: str
    spot: bool
    until: float | None


def rented(host: str, rentals: Iterable[Rental]) -> RentedDocument | None:
    """What a host costs, by the rentals that are open; None where it is not rented."""
    rental = next((one for one in rentals if one.host == host), None)
    if rental is None:
        return None
    offer = rental.offer
    return {
        "provider": rental.provider,
        "machine": rental.machine,
        "product": offer.product,
        "count": offer.count,
        "region": offer.region or None,
        "country": offer.country or None,
        "per_hour": str(offer.per_hour),
        "currency": offer.currency,
        "spot": offer.spot,
        "until": rental.time_limit,
    }


class ServedDocument(TypedDict):
    """`lyc.records.traffic.Served`."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    uncounted: int


class AsOneDocument(TypedDict):
    """Amounts of several currencies as one. rates: by which they were converted. without: what could not be."""

    amount: str
    currency: str
    rates: list[str]
    without: dict[str, str]


class CostLineDocument(TypedDict):
    """Money is decimal text. amounts: by currency. per_million, foretold: in the currency of the document."""

    key: str
    rentals: int
    seconds: float
    amounts: dict[str, str]
    cost: AsOneDocument
    served: ServedDocument | None
    per_million: str | None
    foretold: str | None
    idle: float | None


class SavedDocument(TypedDict):
    """`lyc.renting.saved.Saved`."""

    seconds: float
    amounts: dict[str, str]


class CostDocument(TypedDict):
    """`lyc.renting.report.Report`."""

    by: str
    since: float | None
    until: float
    currency: str
    lines: list[CostLineDocument]
    total: CostLineDocument
    per_hour: dict[str, str]
    served_since: float | None
    further: int
    saved: SavedDocument


class BilledMachineDocument(TypedDict):
    """ours: what lyc reckoned; theirs: what the provider says that it bills. Decimal text."""

    provider: str
    machine: str
    run_id: str
    deployment: str
    ours: str
    theirs: str
    currency: str
    our_currency: str
    since: float
    until: float


class BilledDocument(TypedDict):
    """silent: providers that do not tell what they bill for a machine. problems: by provider, the error."""

    since: float
    until: float
    machines: list[BilledMachineDocument]
    silent: list[str]
    problems: dict[str, dict[str, object]]
