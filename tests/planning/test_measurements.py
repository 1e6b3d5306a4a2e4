"""The planner against logged starts of vLLM: a folder with config.json and an index → what vLLM then reported.

One row alone, with its terms and their formulas (parts: weights, layout, activation, outside, whole):

    .venv/bin/python -m tests.planning.measured.parts weights 57

All rows, with the table of medians and 90th percentiles below:

    .venv/bin/python -m pytest tests/planning/test_measurements.py

The bounds lie a little above what was reached, far below what the project promises (0.5 % and 3 to 5 %): a change that
makes the planner worse fails here.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import pytest

from lyc.planning import defaults, parallelism
from lyc.planning.cache import kv_layout
from lyc.records.fit import Fit
from lyc.records.model import ModelFacts
from lyc.units import GIB
from tests.planning.measured.replay import MODELS, STARTED, Start, card_of, facts_of, folder, replayed, starts, wish_of

STARTS = starts()
WHOLE = [start for start in STARTS if start.whole]
SURE = [start for start in WHOLE if start.version_known == "exact"]
ROUNDING = Fraction(5, 1000) * GIB
"""vLLM logs GiB with two places."""
OTHER_LAYOUT = {
    26: "the logged GiB are of the first stage of a pipeline, the tokens of the last",
    27: "the logged GiB are of the first stage of a pipeline, the tokens of the last",
    115: "prefix caching was switched on: the logged concurrency tells of a second state for each request",
    158: "GiB and tokens are of two of its eight GPUs",
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ModelFacts]:
    """Every model, from config.json and an index without names."""
    place = tmp_path_factory.mktemp("models")
    return {model: facts_of(folder(model, place / model.replace("/", "--"))) for model in MODELS}


@pytest.fixture(scope="module")
def fits(facts: Mapping[str, ModelFacts]) -> Mapping[int, Fit]:
    return {start.id: replayed(start, facts[start.model]) for start in WHOLE}


def label(start: Start) -> str:
    return f"{start.id}-{start.model.rpartition('/')[2]}-tp{start.tp}"


def gib(fit: Fit, part: str) -> float:
    return fit.size(part) / GIB


def weights_error(start: Start, fit: Fit) -> float | None:
    return None if start.weights_gib is None else gib(fit, "weights") / start.weights_gib - 1


def activation_error(start: Start, fit: Fit) -> float | None:
    """In GiB: relative to a small figure it says little. Of a pipeline the first stage is logged, the fullest told."""
    return None if start.activation_gib is None or start.pp > 1 else gib(fit, "activation") - start.activation_gib


def kv_error(start: Start, fit: Fit) -> float | None:
    if start.kv_gib is None or start.kv_gib <= 0 or start.pp > 1:
        return None
    return gib(fit, "kv_cache") / start.kv_gib - 1


def tokens_error(start: Start, fit: Fit) -> float | None:
    if start.kv_tokens is None:
        return None
    return (fit.cache.tokens if fit.cache else 0) / start.kv_tokens - 1


def errors(
    of: Callable[[Start, Fit], float | None], among: Iterable[Start], fits: Mapping[int, Fit]
) -> list[tuple[float, Start]]:
    """|error| with its row, smallest first."""
    found = ((of(start, fits[start.id]), start) for start in among)
    return sorted(((abs(error), start) for error, start in found if error is not None), key=lambda pair: pair[0])


def p90(values: list[float]) -> float:
    return values[math.ceil(0.9 * len(values)) - 1]


def assert_within(found: list[tuple[float, Start]], *, median: float, ninetieth: float) -> None:
    values = [error for error, _ in found]
    worst = ", ".join(f"#{start.id} {start.model} {error:.1%}" for error, start in found[-8:])
    assert statistics.median(values) <= median, worst
    assert p90(values) <= ninetieth, worst


def test_every_row_is_replayed_or_says_why_not() -> None:
    for start in STARTS:
        assert start.left_out or start.model in MODELS
    assert len(WHOLE) >= 85


def test_weights(fits: Mapping[int, Fit]) -> None:
    assert_within(errors(weights_error, WHOLE, fits), median=0.001, ninetieth=0.005)


def test_tokens_of_the_kv_cache(fits: Mapping[int, Fit]) -> None:
    started = [start for start in SURE if start.outcome == STARTED]
    assert_within(errors(tokens_error, started, fits), median=0.001, ninetieth=0.01)


def test_tokens_where_options_or_versions_are_guessed(fits: Mapping[int, Fit]) -> None:
    started = [start for start in WHOLE if start.outcome == STARTED]
    assert_within(errors(tokens_error, started, fits), median=0.001, ninetieth=0.03)


@pytest.mark.parametrize(
    "start", [s for s in STARTS if s.kv_gib and s.kv_tokens and not s.left_out and s.id not in OTHER_LAYOUT], ids=label
)
def test_tokens_from_the_logged_size_of_the_kv_cache(start: Start, facts: Mapping[str, ModelFacts]) -> None:
    """What is known after the fact leaves only the layout to foretell: exact but for the rounding of the log."""
    assert start.kv_gib is not None
    assert start.kv_tokens is not None
    model = facts[start.model]
    assert model.architecture is not None
    wish = dataclasses.replace(wish_of(start), version=start.version or (0, 19, 0))
    card = card_of(dataclasses.replace(start, gpu=start.gpu or "h100"))
    serving = defaults.serving(model, card, wish, tp=start.tp, pp=start.pp, quantization=start.quantization)

    def tokens(available: Fraction) -> int:
        stages = parallelism.stages(model.architecture, start.pp, serving.version)
        sizes = [kv_layout.size(kv_layout.layout(model, serving, stage), int(available), serving) for stage in stages]
        return min(sizes, key=lambda size: size.blocks).tokens

    logged = Fraction(str(start.kv_gib)) * GIB
    assert tokens(logged - ROUNDING) <= start.kv_tokens <= tokens(logged + ROUNDING)


@pytest.mark.parametrize("start", [start for start in STARTS if start.needed_gib and start.model], ids=label)
def test_what_a_request_needs_and_how_long_it_may_be(start: Start, tmp_path: Path) -> None:
    """As vLLM words its refusal: GiB for one request of max_model_len, and the length that would fit."""
    model = facts_of(folder(start.model, tmp_path))
    card = card_of(dataclasses.replace(start, gpu="rtx-5090"))
    serving = defaults.serving(model, card, wish_of(start), tp=start.tp, pp=start.pp, quantization=None)
    assert model.architecture is not None
    stage = parallelism.stages(model.architecture, start.pp, serving.version)[0]
    layout = kv_layout.layout(model, serving, stage)
    assert start.kv_gib is not None
    assert layout.checked_bytes / GIB == pytest.approx(start.needed_gib, abs=0.01)
    assert kv_layout.longest(layout, int(start.kv_gib * GIB), serving) == pytest.approx(start.longest, rel=0.005)


@pytest.mark.parametrize("start", [start for start in WHOLE if start.outcome == STARTED], ids=label)
def test_what_started_is_not_refused(start: Start, fits: Mapping[int, Fit]) -> None:
    assert fits[start.id].fits, fits[start.id].reasons


@pytest.mark.parametrize("start", [start for start in WHOLE if start.outcome != STARTED], ids=label)
def test_what_failed_is_refused_or_doubted(start: Start, fits: Mapping[int, Fit]) -> None:
    assert not fits[start.id].fits or fits[start.id].warnings


@pytest.mark.parametrize("model", [name for name, entry in MODELS.items() if entry["total_size"]])
def test_names_in_the_index_change_little(model: str, facts: Mapping[str, ModelFacts], tmp_path: Path) -> None:
    named = facts_of(folder(model, tmp_path, with_names=True))
    for start in (start for start in SURE if start.model == model):
        with_names, without = replayed(start, named), replayed(start, facts[model])
        assert gib(with_names, "weights") == pytest.approx(gib(without, "weights"), rel=0.005)


@pytest.mark.parametrize("model", [name for name, entry in MODELS.items() if entry["total_size"]])
def test_without_an_index_the_weights_are_known_all_the_same(
    model: str, facts: Mapping[str, ModelFacts], tmp_path: Path
) -> None:
    at = folder(model, tmp_path)
    (at / "model.safetensors.index.json").unlink()
    alone = facts_of(at)
    for start in (start for start in SURE if start.model == model):
        bare, indexed = replayed(start, alone), replayed(start, facts[model])
        assert gib(bare, "weights") == pytest.approx(gib(indexed, "weights"), rel=0.01)


# --- the table ---


def version_group(start: Start) -> str:
    if start.version_known != "exact":
        return "version inferred"
    version = start.version
    for name, below in (("before 0.10", (0, 10)), ("0.10–0.16", (0, 17)), ("0.17–0.18", (0, 19)), ("0.19", (0, 20))):
        if version < below:
            return f"vLLM {name}"
    return "vLLM 0.20 on"


def family(start: Start, facts: Mapping[str, ModelFacts]) -> str:
    model = facts[start.model]
    quantized = start.quantization or model.quantization
    return f"{model.architectures[0]}{f' ({quantized})' if quantized else ''}"


def line(name: str, among: list[Start], fits: Mapping[int, Fit]) -> str:
    cells = [f"{name:46} {len(among):4}"]
    for of, show in ((weights_error, "{:.2%}"), (tokens_error, "{:.2%}"), (kv_error, "{:.2%}"),
                     (activation_error, "{:.2f}")):  # fmt: skip
        values = [error for error, _ in errors(of, among, fits)]
        for value in (statistics.median(values), p90(values)) if values else ():
            cells.append(f"{show.format(value):>9}")
        cells.extend([f"{'–':>9}"] * (0 if values else 2))
    return " ".join(cells)


def test_print_the_table(fits: Mapping[int, Fit], facts: Mapping[str, ModelFacts], printed_below: list[str]) -> None:
    started = [start for start in WHOLE if start.outcome == STARTED]
    groups: dict[str, list[Start]] = {}
    for start in sorted(started, key=lambda one: (family(one, facts), one.id)):
        groups.setdefault(family(start, facts), []).append(start)
    versions: dict[str, list[Start]] = {}
    for start in sorted(started, key=lambda one: (one.version_known != "exact", one.version)):
        versions.setdefault(version_group(start), []).append(start)
    head = ("weights", "", "tokens", "", "KV GiB", "", "activ.GiB", "")
    printed_below.append(f"{'|error|: median, 90th percentile':46} rows {' '.join(f'{cell:>9}' for cell in head)}")
    printed_below.extend(line(name, among, fits) for name, among in groups.items())
    printed_below.append("")
    printed_below.extend(line(name, among, fits) for name, among in versions.items())
    printed_below.append("")
    printed_below.append(line("all whose version is sure", [s for s in started if s in SURE], fits))
    printed_below.append(line("all", started, fits))
    printed_below.append("")
    worst = errors(tokens_error, started, fits)[-8:]
    printed_below.extend(
        f"worst in tokens: {error:7.2%}  #{start.id} {start.model}, vLLM {'.'.join(map(str, start.version))},"
        f" {start.gpu} tp{start.tp}" for error, start in reversed(worst)
    )  # fmt: skip
    for start in STARTS:
        if not start.whole:
            why = start.left_out or f"{'version' if not start.version else 'card'} unknown: parts only"
            printed_below.append(f"not replayed whole: #{start.id} {start.model or '(no name)'}: {why}")
    assert started
