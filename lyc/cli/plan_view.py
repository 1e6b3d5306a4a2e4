"""A survey as a person reads it: the model, what fits, the memory of the chosen card, and what does not fit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from lyc.cli.ls import short_model
from lyc.cli.output import Output
from lyc.cli.plan_bar import PARTS, bar, legend, pieces
from lyc.cli.plan_model import Planned
from lyc.cli.plan_words import cards, figure, gib, money, parameters, precision, sign_of, split, tokens
from lyc.records.card import Price
from lyc.records.fit import Cost, Fit, Speed, Survey
from lyc.units import GIB

_FITS_SHOWN = 10
_REJECTED_SHOWN = 6
_NAMES_WIDTH = 24
_BAR_MOST = 100
_NARROWEST = 40
_STAND_INS = (("→", "*"), ("×", "x"), ("±", "~"), ("€", "E"), ("£", "L"), ("←", "<"), ("·", "."))


def survey_text(output: Output, planned: Planned, survey: Survey, notes: Sequence[str], *, everything: bool) -> str:
    """The answer of `lyc plan`. everything: every candidate, however many there are."""
    shown = survey.chosen
    parts = [headline(output, planned)]
    if survey.fits:
        parts.append(_fits(output, survey, everything))
    if shown is not None:
        parts.append(_memory(output, shown))
        parts.append(_load(output, shown))
    if survey.rejected:
        parts.append(_rejected(output, survey, everything))
    if notes or (shown and shown.warnings):
        parts.append(_remarks(output, shown, notes))
    return "\n\n".join(part for part in parts if part)


def drawable(output: Output, text: str) -> str:
    """The text with stand-ins of the same width for what the encoding of stdout lacks."""
    for sign, instead in _STAND_INS:
        text = text if output.can_write(sign) else text.replace(sign, instead)
    return text


def headline(output: Output, planned: Planned) -> str:
    """What is planned, and what is not known of it."""
    facts = planned.facts
    size = "weights of unknown size" if planned.weights is None else f"{gib(planned.weights)} of weights"
    words = [
        facts.architectures[0] if facts.architectures else "unknown architecture",
        f"{parameters(planned.parameters)} parameters" if planned.parameters else "",
        size if facts.weights_bytes is not None else f"about {size}, by config.json",
        facts.quantization or facts.dtype or "",
        f"context {tokens(planned.longest)}" if planned.longest else "",
    ]
    title = output.paint(short_model(str(planned.ref)), "bold")
    lines = [title, *_wrapped(output, ", ".join(word for word in words if word))]
    if planned.adapter is not None:
        adapter = f"with the adapter {planned.adapter_ref}, rank {planned.adapter.rank}"
        size = f", {gib(planned.adapter.weights_bytes)}" if planned.adapter.weights_bytes else ""
        lines += _wrapped(output, adapter + size)
    if planned.unknown:
        lines += _wrapped(output, f"unknown: {', '.join(planned.unknown)}")
    return "\n".join(lines)


def _fits(output: Output, survey: Survey, everything: bool) -> str:
    shown = list(survey.fits) if everything else _first(survey)
    currency = next((sign_of(fit.cost.currency) for fit in survey.fits if fit.cost), "PRICE")
    money_columns = (f"{currency}/H", f"{currency}/MTOK")
    columns = ("", "GPU", "SPLIT", "WEIGHTS", "CONTEXT", "KV TOKENS", "AT ONCE", "TOKENS/S", *money_columns)
    rows = [(_mark(fit, survey.chosen), *_row(fit)) for fit in shown]
    used = [at for at in range(len(columns)) if at < 2 or at > 3 or any(row[at] not in {"", "as is"} for row in rows)]
    table = output.table(
        [columns[at] for at in used],
        [[row[at] for at in used] for row in rows],
        spare=[name for name in (money_columns[1], "SPLIT") if name in {columns[at] for at in used}],
        numbers=("CONTEXT", "KV TOKENS", "AT ONCE", "TOKENS/S", *money_columns),
    )
    more = len(survey.fits) - len(shown)
    return table + (f"\n  {more} more that fit: --all" if more else "")


def _first(survey: Survey) -> list[Fit]:
    """The cheapest, and the chosen one wherever it stands."""
    first = list(survey.fits[:_FITS_SHOWN])
    if survey.chosen is not None and survey.chosen not in first:
        first[-1] = survey.chosen
    return first


def _mark(fit: Fit, chosen: Fit | None) -> str:
    return "→" if fit is chosen else "!" if fit.doubtful else ""


def _row(fit: Fit) -> tuple[str, ...]:
    cost, cache, speed = fit.cost, fit.cache, fit.speed
    return (
        cards(fit),
        split(fit),
        precision(fit),
        tokens(fit.serving.max_model_len),
        f"{cache.tokens:,}" if cache else "-",
        f"{cache.concurrency:.1f}" if cache else "-",
        f"{speed.decode:,.0f}" if speed else "-",
        figure(cost.per_hour if cost else None),
        figure(cost.per_million if cost else None),
    )


def _memory(output: Output, fit: Fit) -> str:
    glyphs = output.can_write("".join(glyph for _, _, glyph, _ in PARTS))
    parts = pieces(fit, letters=not glyphs)
    width = min(output.width, _BAR_MOST)
    which = f"one of {fit.count} {fit.card.name}" if fit.count > 1 else fit.card.name
    lines = [
        output.paint(f"memory of {which}: {gib(fit.card.cuda_total)}", "bold"),
        f"  {bar(parts, width - 4)}",
        textwrap.indent(legend(parts, width - 2), "  "),
    ]
    if fit.cache is not None:
        room = f"{gib(fit.size('kv_cache'))} ± {fit.band / GIB:.2f}"
        lines.append(f"  KV cache {room}: {fit.cache.tokens:,} tokens in {fit.cache.blocks:,} blocks")
    return "\n".join(lines)


def _load(output: Output, fit: Fit) -> str:
    lines = []
    if fit.speed is not None:
        lines += _speed(fit.speed)
    if fit.cost is not None and fit.price is not None:
        lines += _cost(fit.cost, fit.price)
    return "\n".join(part for line in lines for part in _wrapped(output, line, hang=9, indent=""))


def _speed(speed: Speed) -> list[str]:
    load = f"{speed.concurrency} requests" if speed.concurrency > 1 else "one request"
    each = f", {speed.each:,.0f} for each" if speed.concurrency > 1 else ""
    load += f" of {tokens(speed.context)} tokens"
    return [
        f"speed  {speed.decode:,.0f} tokens/s (±{speed.band:.0%}) with {load}{each}",
        f"       first token after {speed.first_token:.2f} s; prompts are read at {speed.prefill:,.0f} tokens/s",
    ]


def _cost(cost: Cost, price: Price) -> list[str]:
    parts = [f"{money(cost.per_hour, cost.currency)} an hour"]
    parts += [f"{money(cost.monthly, cost.currency)} a month"] if cost.monthly is not None else []
    if cost.monthly_active is not None:
        parts.append(f"{money(cost.monthly_active, cost.currency)} with scale-to-zero")
    parts += [f"{money(cost.per_million, cost.currency)} per million tokens"] if cost.per_million is not None else []
    lines = [f"cost   {', '.join(parts)}"]
    if cost.break_even is not None:
        lines.append(f"       cheaper than by the token from {cost.break_even:,.0f} million tokens a month on")
    if price.source != "--price":
        place = f"; {price.country}" if price.country else ""
        lines.append(f"       {price.source}{place}; {_seen(price)}")
    return lines


def _seen(price: Price) -> str:
    return f"seen on {price.dated}" if price.dated else "seen on an unknown day"


def _rejected(output: Output, survey: Survey, everything: bool) -> str:
    """One line a candidate, the nearest first; unless all are wanted, the nearest of each card and precision."""
    shown = list(survey.rejected)
    if not everything:
        fitting = {(fit.card.name, fit.quantization) for fit in survey.fits}
        nearest: dict[tuple[str, str | None], Fit] = {}
        for fit in survey.rejected:
            key = (fit.card.name, fit.quantization)
            if key not in fitting:
                nearest.setdefault(key, fit)
        shown = list(nearest.values()) or shown[:1]
    groups = [(_named(fit), _reason(fit), 1) for fit in shown] if everything else _grouped(shown)[:_REJECTED_SHOWN]
    width = max(len(name) for name, _, _ in groups)
    lines = [output.paint("does not fit", "bold")]
    for name, reason, _ in groups:
        lines += _wrapped(output, f"{name:<{width}}  {reason}", hang=width + 4)
    more = len(survey.rejected) - sum(count for _, _, count in groups)
    return "\n".join(lines) + (f"\n  {more} more: --all" if more else "")


def _named(fit: Fit) -> str:
    return f"{cards(fit)}, {fit.quantization}" if fit.quantization else cards(fit)


def _grouped(shown: Sequence[Fit]) -> list[tuple[str, str, int]]:
    """Names, reason, how many; those of one reason, such as having no offer, stand together."""
    names: dict[str, list[str]] = {}
    for fit in shown:
        names.setdefault(_reason(fit), []).append(_named(fit))
    return [(_together(group), reason, len(group)) for reason, group in names.items()]


def _together(names: Sequence[str]) -> str:
    """`l4, a10 and 3 more`, at most `_NAMES_WIDTH` wide where there are several."""
    for shown in range(len(names), 0, -1):
        rest = f" and {len(names) - shown} more" if shown < len(names) else ""
        text = ", ".join(names[:shown]) + rest
        if len(text) <= _NAMES_WIDTH:
            break
    return text


def _reason(fit: Fit) -> str:
    return fit.reasons[0].text if fit.reasons else "no reason is known"


def _remarks(output: Output, shown: Fit | None, notes: Sequence[str]) -> str:
    lines = [f"{output.paint('warning', 'yellow')}: {text}" for text in (shown.warnings if shown else ())]
    lines += [f"{output.paint('note', 'cyan')}: {text}" for text in notes]
    return "\n".join(lines)


def _wrapped(output: Output, text: str, *, hang: int = 4, indent: str = "  ") -> list[str]:
    """Broken where a terminal would break it, and in one piece where a program reads it."""
    if not output.stdout.isatty():
        return [indent + text]
    return textwrap.wrap(
        text,
        max(output.width, _NARROWEST),
        initial_indent=indent,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
