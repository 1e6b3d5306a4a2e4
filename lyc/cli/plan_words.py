"""Figures of a plan as a person reads them. Pure."""

from __future__ import annotations

from decimal import Decimal

from lyc.records.fit import Fit
from lyc.units import GIB

_SIGNS = {"EUR": "€", "USD": "$", "GBP": "£"}


def gib(count: int | None) -> str:
    """16000000000 → `14.90 GiB`."""
    return "-" if count is None else f"{count / GIB:.2f} GiB"


def tokens(count: int | None) -> str:
    """Context lengths as their names have them: 131072 → `128k`, 1048576 → `1M`, 5000 → `5000`."""
    if count is None:
        return "-"
    for size, name in ((1 << 20, "M"), (1 << 10, "k")):
        if count >= size and count % size == 0:
            return f"{count // size}{name}"
    return str(count)


def parameters(count: int) -> str:
    """8030261248 → `8.03 B`."""
    for size, name in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.3g} {name}"
    return str(count)


def money(amount: Decimal | None, currency: str) -> str:
    """`€2.79`, `2.79 CHF`; without cents from a thousand on, and with as many places as a small amount needs."""
    if amount is None:
        return "-"
    sign = _SIGNS.get(currency)
    return f"{sign}{figure(amount)}" if sign else f"{figure(amount)} {currency}"


def figure(amount: Decimal | None) -> str:
    """The amount without its currency."""
    if amount is None:
        return "-"
    if amount >= 1000:
        return f"{amount:,.0f}"
    if amount >= Decimal("0.1") or amount == 0:
        return f"{amount:.2f}"
    return f"{amount:.2g}" if amount >= Decimal("0.0001") else "<0.0001"


def sign_of(currency: str) -> str:
    """`€`, or the code where there is no sign for it."""
    return _SIGNS.get(currency, currency)


def cards(fit: Fit) -> str:
    """`h100`, `h100 × 2`."""
    return fit.card.name if fit.count == 1 else f"{fit.card.name} × {fit.count}"


def split(fit: Fit) -> str:
    """How the cards share the model, where it is not by tensor parallelism alone: `tp 2, pp 2`; else empty."""
    return "" if fit.serving.pp == 1 else f"tp {fit.serving.tp}, pp {fit.serving.pp}"


def precision(fit: Fit) -> str:
    """`as is`, or the method that is applied while the weights load."""
    return fit.quantization or "as is"


def sibling_words(fit: Fit) -> tuple[str]:
    """The note that tells of a checkpoint with weights of 4 bits. fit: where it would go."""
    hourly = f" for {money(fit.cost.per_hour, fit.cost.currency)} an hour" if fit.cost else ""
    context = tokens(fit.serving.max_model_len)
    return (f"a checkpoint of it with weights of 4 bits (w4a16) would go on {cards(fit)}{hourly}, context {context}",)
