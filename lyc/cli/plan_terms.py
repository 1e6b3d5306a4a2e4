"""`lyc plan -v`: every term of a fit with its formula and source, vLLM's options, and speed by load. Pure but for
colours.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from lyc.cli.output import Output
from lyc.cli.plan_words import money, tokens
from lyc.records.fit import Cost, Fit, Speed
from lyc.records.serving import Serving, Term
from lyc.records.wish import Wish
from lyc.units import GIB

_INDENT = "      "


def terms_text(output: Output, fit: Fit, wish: Wish, *, version_asked: bool) -> str:
    """What the prediction is made of. version_asked: whether the user named the version of vLLM."""
    parts = [_terms(output, fit), _options(output, fit.serving, wish, version_asked), _sources(output, fit)]
    return "\n\n".join(part for part in parts if part)


def loads_text(output: Output, loads: Sequence[tuple[Speed, Cost | None]]) -> str:
    """Speed and cost by the number of requests at once."""
    if not loads:
        return ""
    rows = [
        (
            str(speed.concurrency),
            f"{speed.decode:,.0f}",
            f"{speed.each:,.0f}",
            f"±{speed.band:.0%}",
            speed.bound,
            money(cost.per_million, cost.currency) if cost else "-",
        )
        for speed, cost in loads
    ]
    columns = ("AT ONCE", "TOKENS/S", "EACH", "BAND", "BOUND BY", "PER MTOK")
    title = output.paint(f"speed by load, {tokens(loads[0][0].context)} tokens each", "bold")
    table = output.table(columns, rows, numbers=("AT ONCE", "TOKENS/S", "EACH", "BAND", "PER MTOK"))
    return f"{title}\n{textwrap.indent(table, '  ')}" + _origin(output, loads[0][0].formula, loads[0][0].source)


def _terms(output: Output, fit: Fit) -> str:
    lines = [output.paint(f"terms of {fit.card.name}, GiB of one GPU", "bold")]
    for term in fit.terms:
        lines.append(f"  {_name(term):<46} {term.size / GIB:>9.3f}  ± {term.band / GIB:.3f}")
        lines.append(_origin(output, term.formula, term.source).lstrip("\n"))
    return "\n".join(line for line in lines if line)


def _name(term: Term) -> str:
    part = term.part.replace("_", " ")
    name = term.name if term.name.lower() == part else f"{part}: {term.name}"
    return name + ("" if term.inside else " (on top of --util)")


def _origin(output: Output, formula: str, source: str) -> str:
    """`= formula` and `← source`, each broken where the terminal ends, below what they explain."""
    lines = []
    for mark, text in (("=", formula), ("←", source)):
        if text:
            lines.append(_filled(output, f"{mark} {text}", _INDENT))
    return "".join(f"\n{line}" for line in lines)


def _filled(output: Output, text: str, indent: str) -> str:
    return textwrap.fill(
        text,
        min(output.width, 100) if output.stdout.isatty() else 100,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _options(output: Output, serving: Serving, wish: Wish, version_asked: bool) -> str:
    """vLLM's options, and whose each is."""
    rows = (
        ("vLLM", ".".join(map(str, serving.version)), version_asked),
        ("--dtype", serving.dtype, wish.dtype is not None),
        ("--quantization", serving.quantization or "none", wish.quantization is not None),
        ("--kv-cache-dtype", serving.kv_cache_dtype, wish.kv_cache_dtype is not None),
        ("--max-model-len", str(serving.max_model_len), wish.max_model_len is not None),
        ("--max-num-seqs", str(serving.max_num_seqs), wish.max_num_seqs is not None),
        ("--max-num-batched-tokens", str(serving.max_num_batched_tokens), wish.max_num_batched_tokens is not None),
        ("--gpu-memory-utilization", f"{float(serving.utilization):g}", wish.utilization is not None),
        ("--block-size", str(serving.block_size or "auto"), wish.block_size is not None),
        ("--enforce-eager", str(serving.enforce_eager).lower(), wish.enforce_eager),
        ("--tensor-parallel-size", str(serving.tp), wish.tp is not None),
        ("--pipeline-parallel-size", str(serving.pp), wish.pp is not None),
    )
    lines = [output.paint("vLLM's options", "bold")]
    lines += [f"  {name:<26} {value:<12} {'asked' if asked else 'default'}" for name, value, asked in rows]
    return "\n".join(lines)


def _sources(output: Output, fit: Fit) -> str:
    card = fit.card
    seen = "seen on real cards" if card.measured else "derived, not seen on a card yet"
    lines = [output.paint(f"{card.product}", "bold"), f"  {card.cuda_total / GIB:.2f} GiB as CUDA counts them, {seen}"]
    lines += [_filled(output, f"← {source}", "  ") for source in card.sources]
    if fit.price is not None:
        price = fit.price
        each = f"{money(price.amount, price.currency)} an hour each, {price.source}"
        lines.append(_filled(output, f"{each}, {price.dated}" if price.dated else each, "  "))
    return "\n".join(lines)
