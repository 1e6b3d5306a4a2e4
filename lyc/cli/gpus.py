"""`lyc gpus`: the cards that lyc knows, what they run, and what they cost."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import Json, Providers, card_names
from lyc.cli.price_options import PriceFile, PriceWords, Residency, price_book
from lyc.cli.session import open_session
from lyc.units import GIB

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.planning.catalogue.prices import PriceBook
    from lyc.records.card import Card, Price

EXAMPLES = """
lyc gpus
lyc gpus h100
lyc gpus --residency eu --price h100=2.79EUR/h@FI
lyc gpus h100 --available --residency eu
lyc gpus --json | jq -r '.gpus[] | select(.usable_gib > 79) | .name'
"""

_TERA = 10**12
_SHORT = {"bf16": "bf16", "fp8": "fp8", "int8": "int8", "awq": "int4", "mxfp4": "mxfp4", "nvfp4": "nvfp4"}
"""Format → as the table has it. Every card runs fp16; where awq runs, gptq does too."""


def gpus(  # noqa: PLR0917  Typer hands them over by name
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One GPU, with all sources.", autocompletion=card_names),
    ] = None,
    price: PriceWords = None,
    prices: PriceFile = None,
    residency: Residency = None,
    available: Annotated[
        bool, typer.Option("--available", help="Ask all configured providers what they have just now.")
    ] = False,
    provider: Providers = None,
    as_json: Json = False,
) -> None:
    """List the GPUs that lyc knows, or show one."""
    if available or provider:
        from lyc.cli.gpus_available import show

        show(open_session(context, as_json=as_json), name, provider or [], residency)
        return
    from lyc.engines.versions import pinned
    from lyc.planning.catalogue.cards import CARDS, find
    from lyc.spec.residency import parse_residency

    session = open_session(context, as_json=as_json)
    output = session.output
    book = price_book(price, prices, session.settings)
    allowed = None if residency is None else parse_residency(residency)
    version = pinned(on_cpu=False).release
    if name is not None:
        card = find(name, "NAME")
        offers = book.of(card, allowed)
        output.answer({"gpu": _document(card, offers, version)}, _one(output, card, offers, version))
        return
    rows = [(card, book.of(card, allowed)) for card in CARDS.values()]
    shown = [row for row in rows if row[1] or allowed is None]
    if as_json:
        documents = [_document(card, offers, version) for card, offers in shown]
        output.document({"gpus": documents, "rates": _rates(book)})
        return
    text = _table(output, shown, version) if shown else ""
    output.answer({}, text)
    if "~" in text:
        output.say("~ weights alone: they are widened before they are multiplied")
    if hidden := len(rows) - len(shown):
        output.say(f"{hidden} more have no price of which it is known that the machine stands in {residency}")
    output.hint("lyc gpus NAME   with every price and every source\n--price h100=2.79EUR/h   for your own")


def _table(output: Output, rows: Sequence[tuple[Card, tuple[Price, ...]]], version: tuple[int, ...]) -> str:
    columns = (
        "NAME", "GIB", "GB", "TB/S", "BF16", "FP8", "FP4", "CC", "PRICE/H", "SEEN", "AT", "RUNS", "PRODUCT",
    )  # fmt: skip
    cells = [
        (
            card.name,
            f"{card.cuda_total / GIB:.1f}",
            str(card.memory // GIB),
            f"{card.bandwidth / _TERA:.2f}",
            _rate(card.bf16),
            _rate(card.fp8),
            _rate(card.fp4),
            _capability(card),
            _money(offers[0]) if offers else "-",
            _seen(offers[0]) if offers else "-",
            offers[0].source if offers else "-",
            _runs(card, version),
            card.product,
        )
        for card, offers in rows
    ]
    numbers = ("GIB", "GB", "TB/S", "BF16", "FP8", "FP4", "CC", "PRICE/H")
    return output.table(columns, cells, spare=("PRODUCT", "CC", "GB", "RUNS", "AT", "SEEN"), numbers=numbers)


def _one(output: Output, card: Card, offers: Sequence[Price], version: tuple[int, ...]) -> str:
    from lyc.planning.catalogue.precision import formats

    held = formats(card, version)
    named = {how: " ".join(name for name in held if held[name] == how) for how in ("native", "weights", "no")}
    seen = "seen" if card.measured else "derived"
    rates = ", ".join(f"{name} {_rate(rate)}" for name, rate in _rates_of(card).items() if rate)
    facts = (
        ("memory", f"{card.cuda_total / GIB:.2f} GiB for CUDA ({seen}), sold as {card.memory // GIB} GB"),
        ("bandwidth", f"{card.bandwidth / _TERA:.3f} TB/s, {card.memory_kind}"),
        ("TFLOPS", f"{rates} (dense, fp32 accumulate)"),
        ("capability", _capability(card)),
        ("link", f"{card.link}, {card.link_bandwidth // 10**9} GB/s each way"),
        ("per machine", f"up to {card.per_host}"),
        ("runs", named["native"]),
        ("as weights", named["weights"]),
        ("runs not", named["no"]),
        ("also", ", ".join(card.aliases)),
    )
    fields = (line.partition(": ") for line in card.sources)
    sources = [(_FIELDS.get(field, field), text) for field, _, text in fields]
    sources += [(f"price, {offer.source}", offer.page) for offer in offers if offer.page]
    parts = (
        f"{output.paint(card.name, 'bold')}  {card.product}",
        _pairs(output, facts),
        f"{output.paint('PRICES', 'dim')}\n{_offers(output, offers)}",
        f"{output.paint('SOURCES', 'dim')}\n{_pairs(output, list(dict.fromkeys(sources)))}",
    )
    return "\n\n".join(parts)


_FIELDS = {"cuda_total": "memory", "tflops": "TFLOPS", "nvidia_smi_mib": "nvidia-smi"}


def _pairs(output: Output, rows: Sequence[tuple[str, str]]) -> str:
    """Names and texts in two columns; on a terminal a long text goes on below itself."""
    width = max(len(name) for name, _ in rows)
    room = shutil.get_terminal_size().columns if output.stdout.isatty() else 10_000
    return "\n".join(
        textwrap.fill(
            text,
            max(room, width + 24),
            initial_indent=f"  {name:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_on_hyphens=False,
        )
        for name, text in rows
        if text
    )


def _offers(output: Output, offers: Sequence[Price]) -> str:
    if not offers:
        return "  none known"
    rows = [(f"{_money(offer)}/h", _seen(offer), offer.source, *_place(offer)) for offer in offers]
    table = output.table(("PRICE", "SEEN", "AT", "IN", "REGION"), rows, numbers=("PRICE",))
    return "\n".join(f"  {line}" for line in table.splitlines()[1:])


def _place(offer: Price) -> tuple[str, str]:
    return offer.country or "place unknown", offer.region if offer.region != offer.country else ""


def _document(card: Card, offers: Sequence[Price], version: tuple[int, ...]) -> dict[str, object]:
    from lyc.planning.catalogue.precision import formats

    return {
        "name": card.name,
        "product": card.product,
        "vendor": card.vendor,
        "aliases": list(card.aliases),
        "nominal_gb": card.memory // GIB,
        "memory_kind": card.memory_kind,
        "usable_gib": round(card.cuda_total / GIB, 2),
        "measured": card.measured,
        "bandwidth_gb_per_second": card.bandwidth // 10**9,
        "tflops": {name: rate / _TERA for name, rate in _rates_of(card).items()},
        "compute_capability": _capability(card) or None,
        "link": card.link,
        "link_gb_per_second": card.link_bandwidth // 10**9,
        "per_host": card.per_host,
        "runs": formats(card, version),
        "prices": [
            {
                "amount": str(offer.amount),
                "currency": offer.currency,
                "dated": offer.dated or None,
                "source": offer.source,
                "country": offer.country or None,
                "region": offer.region or None,
                "page": offer.page or None,
            }
            for offer in offers
        ],
        "sources": list(card.sources),
    }


def _rates(book: PriceBook) -> dict[str, object]:
    per_euro = {code: str(rate) for code, rate in book.rates.per_euro.items()}
    return {"per_euro": per_euro, "dated": book.rates.dated, "source": book.rates.source}


def _rates_of(card: Card) -> dict[str, int]:
    return {"bf16": card.bf16, "fp16": card.fp16, "int8": card.int8, "fp8": card.fp8, "fp4": card.fp4}


def _rate(rate: int) -> str:
    return f"{rate / _TERA:.0f}" if rate else "-"


def _capability(card: Card) -> str:
    has = card.compute_capability
    return "" if has is None else f"{has // 10}.{has % 10}"


def _runs(card: Card, version: tuple[int, ...]) -> str:
    from lyc.planning.catalogue.precision import formats

    marks = {"native": "", "weights": "~"}
    held = formats(card, version)
    return " ".join(f"{short}{marks[held[name]]}" for name, short in _SHORT.items() if held[name] in marks)


def _money(offer: Price) -> str:
    from lyc.cli.plan_words import money

    return money(offer.amount, offer.currency)


def _seen(offer: Price) -> str:
    return offer.dated or ("yours" if not offer.page else "undated")
