"""Figures as a person reads them, and vLLM's terms with their sources."""

from __future__ import annotations

from decimal import Decimal

import pytest

from lyc.cli.plan_terms import loads_text, terms_text
from lyc.cli.plan_words import cards, figure, gib, money, parameters, precision, split, tokens
from lyc.records.serving import Serving
from lyc.records.wish import Wish
from tests.cli.test_plan_view import made, screen, term


def test_sizes() -> None:
    assert (gib(None), gib(0), gib(16 * 10**9)) == ("-", "0.00 GiB", "14.90 GiB")


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (512, "512"), (1024, "1k"), (5000, "5000"), (8192, "8k"), (131072, "128k"), (1 << 20, "1M"),
     ((1 << 20) + 1024, "1025k")],
)  # fmt: skip
def test_contexts(count: int | None, text: str) -> None:
    assert tokens(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999"), (3_230_000, "3.23 M"), (8_030_261_248, "8.03 B"), (70_553_706_496, "70.6 B"), (10**12, "1 T")],
)
def test_parameters(count: int, text: str) -> None:
    assert parameters(count) == text


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (None, "EUR", "-"),
        (Decimal("2.79"), "EUR", "€2.79"),
        (Decimal("2.794999"), "USD", "$2.79"),
        (Decimal("2.79"), "CHF", "2.79 CHF"),
        (Decimal("0"), "EUR", "€0.00"),
        (Decimal("0.1"), "GBP", "£0.10"),
        (Decimal("0.0456"), "EUR", "€0.046"),
        (Decimal("0.0000001"), "EUR", "€<0.0001"),
        (Decimal("20204.4"), "EUR", "€20,204"),
    ],
)
def test_money(amount: Decimal | None, currency: str, text: str) -> None:
    assert money(amount, currency) == text
    assert figure(amount) in text


def test_a_fit_in_words() -> None:
    assert (cards(made()), split(made()), precision(made())) == ("h100", "", "as is")
    four = made(count=4, quantization="fp8", serving=Serving((0, 19, 0), tp=2, pp=2))
    assert (cards(four), split(four), precision(four)) == ("h100 × 4", "tp 2, pp 2", "fp8")
    assert split(made(count=4, serving=Serving((0, 19, 0), tp=4))) == ""


def test_terms_say_whether_they_count_and_options_whose_they_are() -> None:
    fit = made(terms=(term("weights", 1), term("cuda_graph", 0.5, inside=False)))
    lines = [
        line.strip()
        for line in terms_text(screen(), fit, Wish((0, 19, 0), max_num_seqs=1024), version_asked=False).splitlines()
    ]
    assert any(line.startswith("weights ") and line.endswith("1.000  ± 0.000") for line in lines)
    assert any("cuda graph: cuda_graph (on top of --util)" in line for line in lines)
    assert (lines.count("= a · b"), lines.count("← vllm/x.py f, 0.19.0")) == (2, 2)
    said = {words[0]: words[1:] for line in lines if line.startswith("--") and (words := line.split())}
    assert (said["--max-num-seqs"], said["--block-size"]) == (["1024", "asked"], ["auto", "default"])
    assert "← memory: a log" in lines
    assert any(line.split() == ["vLLM", "0.19.0", "default"] for line in lines)
    assert "€2.79 an hour each, a provider, 2026-09-01" in lines


def test_no_loads_no_table() -> None:
    assert loads_text(screen(), []) == ""
    speed = made().speed
    assert speed is not None
    text = loads_text(screen(), [(speed, None)])
    assert text.splitlines()[2].split() == ["32", "1,234", "39", "±34%", "memory", "-"]
