"""Speed: the roofline against public benchmarks, and what must hold whatever the constants are."""

from __future__ import annotations

import csv
import itertools
import json
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lyc.inspection import architecture
from lyc.planning import parallelism
from lyc.planning.cache import kv_layout
from lyc.planning.catalogue.cards import CARDS, find
from lyc.planning.performance import acceptance, speed
from lyc.planning.weights import active_bytes
from lyc.planning.work import work
from lyc.records.architecture import Architecture, Experts, Layer, Mixer
from lyc.records.card import Card
from lyc.records.fit import Speed
from lyc.records.model import ModelFacts
from lyc.records.serving import Draft, Serving
from tests.planning.measured.replay import facts_of

HERE = Path(__file__).parent
V19 = (0, 19, 0)


def read(config: str, tmp_path: Path) -> ModelFacts:
    """The facts of a public model by its config.json alone."""
    text = (HERE / "measured" / "configs" / f"{config}.json").read_text(encoding="utf-8")
    folder = tmp_path / config
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(text, encoding="utf-8")
    return facts_of(folder)


def at(facts: ModelFacts, serving: Serving, card: Card, concurrency: int, context: int) -> Speed:
    """As the survey asks for it."""
    assert facts.architecture is not None
    stages = parallelism.stages(facts.architecture, serving.pp, serving.version)
    told = replace(serving, max_model_len=context)
    request = sum(kv_layout.layout(facts, told, stage).request_bytes for stage in stages)
    found = speed(
        facts,
        serving,
        card,
        concurrency=concurrency,
        context=context,
        active_bytes=active_bytes(facts, serving, batch=concurrency),
        kv_token_bytes=request * serving.tp / context,
    )
    assert found is not None
    return found


def foretold(row: Mapping[str, str], tmp_path: Path) -> tuple[float, Speed]:
    """Answer tokens a second of one benchmark: with its prompts, or of the decoding alone."""
    facts = read(row["config"], tmp_path)
    version = tuple(int(part) for part in row["version"].split("."))
    serving = Serving(version, tp=int(row["tp"]), pp=int(row["pp"]), quantization=row["quantization"] or None)
    batch, prompt, answer = (int(row[name]) for name in ("concurrency", "input", "output"))
    card = find(row["gpu"])
    decoding = at(facts, serving, card, batch, prompt + answer // 2)
    if row["kind"] == "decode":
        return decoding.decode, decoding
    prefill = at(facts, serving, card, 1, min(batch * prompt, serving.max_num_batched_tokens)).prefill
    return batch * answer / (answer / decoding.each + batch * prompt / prefill), decoding


def test_against_public_benchmarks(tmp_path: Path, printed_below: list[str]) -> None:
    with (HERE / "throughput.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    errors: list[float] = []
    inside = 0
    printed_below.append("answer tokens/s                             cards      at once  measured  foretold  ratio")
    for row in rows:
        told, found = foretold(row, tmp_path)
        ratio = told / float(row["measured"])
        inside += 1 / (1 + found.band) <= ratio <= 1 + found.band
        errors.append(abs(ratio - 1))
        cards = f"{row['gpu']}x{int(row['tp']) * int(row['pp'])}"
        printed_below.append(
            f"{row['config'][:42]:43} {cards:10} {row['concurrency']:>7}  {float(row['measured']):8.1f}  {told:8.1f}  "
            f"{ratio:5.2f}"
        )
    errors.sort()
    median, tail = statistics.median(errors), errors[round(0.9 * (len(errors) - 1))]
    printed_below.append(f"{len(errors)} rows: median {median:.1%}, p90 {tail:.1%}; {inside} inside the band")
    assert median < 0.12
    assert tail < 0.8
    assert inside >= 0.75 * len(rows)


@pytest.fixture
def llama(tmp_path: Path) -> ModelFacts:
    return read("meta-llama--Llama-3.1-8B-Instruct", tmp_path)


@pytest.fixture
def mixtral(tmp_path: Path) -> ModelFacts:
    return read("mistralai--Mixtral-8x7B-v0.1", tmp_path)


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_more_at_once_is_faster_in_all_and_slower_for_each(llama: ModelFacts, card: Card) -> None:
    found = [at(llama, Serving(V19), card, load, 2048) for load in (1, 2, 8, 64, 256)]
    assert all(a.decode < b.decode and a.each > b.each for a, b in itertools.pairwise(found))
    assert all(0 < one.band < 1 and one.first_token > 0 and one.prefill > one.each for one in found)


def test_longer_texts_are_slower(llama: ModelFacts) -> None:
    found = [at(llama, Serving(V19), find("l40s"), 32, context) for context in (512, 2048, 8192, 32768)]
    assert all(a.each > b.each and a.first_token < b.first_token for a, b in itertools.pairwise(found))


def test_more_cards_are_faster_but_not_by_as_much(llama: ModelFacts) -> None:
    one, two, four = (at(llama, Serving(V19, tp=tp), find("h100"), 8, 2048).decode for tp in (1, 2, 4))
    assert one < two < four < 4 * one


def test_stages_of_a_pipeline_do_not_shorten_a_step(llama: ModelFacts) -> None:
    """A request passes through all stages one after another, so it gains nothing; a batch gains little."""
    alone = at(llama, Serving(V19), find("h100"), 1, 2048)
    piped = at(llama, Serving(V19, pp=2), find("h100"), 1, 2048)
    assert piped.each <= alone.each
    assert piped.band > alone.band


def test_a_fast_link_beats_a_slow_one(llama: ModelFacts) -> None:
    card = find("a100-80")
    slow = replace(card, link="pcie", link_bandwidth=find("a100-80-pcie").link_bandwidth)
    assert at(llama, Serving(V19, tp=4), card, 64, 2048).decode > at(llama, Serving(V19, tp=4), slow, 64, 2048).decode


def test_fp8_multiplies_faster_only_where_the_card_can(llama: ModelFacts) -> None:
    def gain(card: str) -> float:
        wide, narrow = (at(llama, Serving(V19, quantization=how), find(card), 1, 8192) for how in (None, "fp8"))
        return narrow.prefill / wide.prefill

    assert gain("h100") > 1.5
    assert gain("a100-80") == pytest.approx(1.0, rel=0.01)


def test_a_large_batch_is_bound_by_arithmetic(llama: ModelFacts) -> None:
    assert at(llama, Serving(V19), find("h100"), 1, 128).bound == "memory"
    assert at(llama, Serving(V19), find("rtx-3090"), 1024, 128).bound == "compute"


def test_eager_is_slower(llama: ModelFacts) -> None:
    fast, slow = (at(llama, Serving(V19, enforce_eager=eager), find("h100"), 1, 2048).each for eager in (False, True))
    assert slow < fast


def test_experts_are_read_as_the_tokens_pick_them(mixtral: ModelFacts) -> None:
    """One token reads two of eight experts; many read them all, so a step becomes slower faster than of a dense one."""
    serving = Serving(V19, tp=2)
    assert active_bytes(mixtral, serving, batch=1) < 0.4 * active_bytes(mixtral, serving, batch=64)
    assert at(mixtral, serving, find("h100"), 1, 512).each > 1.8 * at(mixtral, serving, find("h100"), 64, 512).each


def test_drafts_help_and_widen_the_band(llama: ModelFacts) -> None:
    plain = at(llama, Serving(V19), find("h100"), 1, 2048)
    drafted = at(llama, Serving(V19, draft=Draft("eagle3", 3)), find("h100"), 1, 2048)
    assert plain.each < drafted.each < 4 * plain.each
    assert drafted.band > plain.band
    assert "tokens a step (assumed)" in drafted.formula


def test_a_drafted_token_is_worth_less_than_the_one_before() -> None:
    assert acceptance("mtp", 0) == 1.0
    gains = [acceptance("mtp", n + 1) - acceptance("mtp", n) for n in range(4)]
    assert gains == sorted(gains, reverse=True)
    assert acceptance("ngram", 3) < acceptance("mtp", 3)


def test_amd_is_less_sure(llama: ModelFacts) -> None:
    assert at(llama, Serving(V19), find("mi300x"), 8, 2048).band > at(llama, Serving(V19), find("h100"), 8, 2048).band


def test_a_card_of_unknown_rates_has_no_speed(llama: ModelFacts) -> None:
    card = replace(find("h100"), bandwidth=0)
    assert speed(llama, Serving(V19), card, concurrency=1, context=1, active_bytes=1, kv_token_bytes=1) is None


def test_the_formula_has_the_figures(llama: ModelFacts) -> None:
    found = at(llama, Serving(V19), find("h100"), 4, 1000)
    assert "3350 GB/s" in found.formula
    assert "4·1000·" in found.formula
    assert found.source


def test_work_of_a_dense_model(llama: ModelFacts) -> None:
    """Twice the parameters of the layers: 8.03 B less two tables of 128256 × 4096."""
    assert llama.architecture is not None
    found = work(llama.architecture)
    assert found.linear == pytest.approx(2 * (8_030_261_248 - 2 * 128256 * 4096), rel=1e-3)
    assert found.head == 2 * 128256 * 4096
    assert found.scores(1000) == 32 * 1000 * 4 * 32 * 128
    assert (found.layers, found.moe, found.state) == (32, 0, 0)


def test_work_of_experts() -> None:
    """Only those that a token passes, and the router."""
    layer = Layer(Mixer.FULL, heads=4, kv_heads=4, head_size=16, experts=Experts(8, 2, intermediate=100))
    model = Architecture("A", hidden=64, vocab=1000, dtype="bfloat16", layers=(layer,) * 3)
    assert work(model).linear == 3 * (2 * 64 * 4 * 64 + 2 * 3 * 64 * 2 * 100 + 2 * 64 * 8)
    assert work(model).moe == 3


def test_a_window_bounds_the_work_of_attention() -> None:
    layer = Layer(Mixer.SLIDING, heads=4, kv_heads=4, head_size=16, window=100, intermediate=10)
    found = work(Architecture("A", hidden=64, vocab=10, dtype="bfloat16", layers=(layer,)))
    assert found.scores(50) * 2 == found.scores(100) == found.scores(10_000)


@pytest.mark.parametrize("config", sorted(path.stem for path in (HERE / "measured" / "configs").glob("*.json")))
def test_every_public_model_has_work(config: str) -> None:
    text = (HERE / "measured" / "configs" / f"{config}.json").read_text(encoding="utf-8")
    found = architecture(json.loads(text))
    assert found is not None
    told = work(found)
    assert told.linear > 10**8
    assert told.layers == len(found.layers)
    facts = ModelFacts(("A",), architecture=found)
    assert speed(facts, Serving(V19), find("h100"), concurrency=1, context=100, active_bytes=10**9, kv_token_bytes=1000)
