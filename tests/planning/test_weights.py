"""Weights: figures that vLLM logged, and what must hold whatever the model."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.planning.weights import weights
from lyc.planning.weights.active import active_bytes, distinct
from lyc.records.architecture import AdapterFacts, Experts
from lyc.records.model import ModelFacts
from lyc.records.serving import Draft, Serving, Stage
from lyc.units import GIB, MIB
from tests.planning import checkpoints as made

# model, options, stages, "Model loading took" in GiB as logged; `measured/starts.csv` has the sources
LOGGED = [
    (made.LLAMA_8B, {}, 1, 14.99),
    (made.LLAMA_8B, {"tp": 2}, 1, 7.51),
    (made.LLAMA_8B, {"tp": 4}, 1, 3.77),
    (made.LLAMA_8B, {"dtype": "float32"}, 1, 29.98),
    (made.LLAMA_8B, {"quantization": "fp8"}, 1, 8.49),
    (made.LLAMA_8B, {}, 2, 7.51),
    (made.LLAMA_8B, {}, 4, 4.26),
    (made.QWEN2_7B, {}, 1, 14.25),
    (made.QWEN2_7B, {"tp": 2}, 1, 7.12),
    (made.QWEN2_7B, {"tp": 4}, 1, 3.55),
    (made.QWEN2_72B, {"tp": 2}, 1, 67.80),
    (made.QWEN2_72B, {"tp": 4}, 1, 33.98),
    (made.QWEN3_8B, {}, 1, 15.27),
    (made.QWEN3_8B, {"tp": 4}, 1, 3.82),
    (made.QWEN3_600M, {"version": (0, 11, 0)}, 1, 1.12),
    (made.GRANITE_2B, {}, 1, 4.74),
    (made.GRANITE_2B, {"tp": 2}, 1, 2.38),
    (made.DEEPSEEK_LITE, {}, 1, 29.43),
    (made.DEEPSEEK_LITE, {"tp": 2}, 1, 14.83),
    (made.DEEPSEEK_LITE, {"tp": 4}, 1, 7.51),
    (made.gpt_oss(layers=24, experts=32), {}, 1, 13.64),
    (made.gpt_oss(layers=24, experts=32), {"tp": 2}, 1, 7.01),
    (made.gpt_oss(layers=24, experts=32), {"tp": 4}, 1, 3.63),
    (made.gpt_oss(layers=24, experts=32), {"version": (0, 11, 0)}, 1, 13.47),
    (made.gpt_oss(layers=36, experts=128), {"version": (0, 11, 0)}, 1, 64.38),
    (made.quantized(made.QWEN2_7B, "fp8-channel"), {}, 1, 8.14),
    (made.quantized(made.LLAMA_70B, "fp8-channel"), {"tp": 2}, 1, 33.88),
    (made.quantized(made.LLAMA_70B, "fp8-channel"), {"tp": 4}, 1, 16.96),
    (made.quantized(made.LLAMA_8B, "gptq"), {"dtype": "float16"}, 1, 5.38),
    (made.quantized(made.QWEN3_8B, "fp8-block"), {"version": (0, 10, 2)}, 1, 8.8),
]


def size(model: ModelFacts, serving: Serving, stage: Stage | None = None) -> int:
    return sum(term.size for term in weights(model, serving, stage or made.whole(model)))


@pytest.mark.parametrize(("model", "options", "pp", "logged"), LOGGED)
def test_what_vllm_logged(model: ModelFacts, options: dict[str, object], pp: int, logged: float) -> None:
    """Logs round to 0.01 GiB; beyond that 0.6 %."""
    assert model.architecture is not None
    each = len(model.architecture.layers) // pp
    stages = [Stage(index, pp, index * each, (index + 1) * each) for index in range(pp)]
    found = max(size(model, made.serving(**options), stage) for stage in stages) / GIB
    assert found == pytest.approx(logged, rel=0.006, abs=0.006)


MODELS = [
    made.LLAMA_8B,
    made.QWEN3_600M,
    made.DEEPSEEK_LITE,
    made.gpt_oss(layers=4, experts=8),
    made.quantized(made.LLAMA_8B, "awq"),
    made.quantized(made.LLAMA_8B, "nvfp4"),
]


@pytest.mark.parametrize("model", MODELS)
def test_all_ranks_together_hold_at_least_the_checkpoint(model: ModelFacts) -> None:
    for tp in (1, 2, 4, 8):
        assert tp * size(model, made.serving(tp=tp)) >= model.stored_bytes


@pytest.mark.parametrize("model", MODELS)
def test_more_ranks_never_take_more_each(model: ModelFacts) -> None:
    sizes = [size(model, made.serving(tp=tp)) for tp in (1, 2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_wider_dtype_takes_more() -> None:
    narrow = size(made.LLAMA_8B, made.serving(dtype="bfloat16"))
    assert size(made.LLAMA_8B, made.serving(dtype="float16")) == narrow
    assert size(made.LLAMA_8B, made.serving(dtype="float32")) > 1.99 * narrow


def test_a_float32_checkpoint_loads_at_the_dtype_that_is_asked() -> None:
    stored = made.dense(hidden=4096, inner=14336, layers=32, vocab=128256, heads=32, kv_heads=8, dtype="F32")
    assert size(stored, made.serving()) == size(made.LLAMA_8B, made.serving())


@given(cut=st.lists(st.integers(1, 31), min_size=1, max_size=3, unique=True))
def test_stages_add_up(cut: list[int]) -> None:
    """Together they hold the model once, and a rope table each."""
    edges = [0, *sorted(cut), 32]
    stages = [Stage(i, len(edges) - 1, a, b) for i, (a, b) in enumerate(itertools.pairwise(edges))]
    together = sum(size(made.LLAMA_8B, made.serving(), stage) for stage in stages)
    tables = (len(stages) - 1) * 131072 * 128 * 2
    assert together == pytest.approx(size(made.LLAMA_8B, made.serving()) + tables, abs=len(stages) * 16 * MIB)


def test_a_tied_table_stands_on_both_ends() -> None:
    both = [size(made.QWEN3_600M, made.serving(), Stage(i, 2, 14 * i, 14 * i + 14)) for i in (0, 1)]
    table = 151936 * 1024 * 2
    assert min(both) > table
    assert sum(both) - size(made.QWEN3_600M, made.serving()) >= table


def test_kv_heads_are_copied_below_one_a_rank() -> None:
    """Of 8 KV heads and tp 16 each rank keeps one: q is halved, k and v stay."""
    attention = {tp: _term(made.LLAMA_70B, made.serving(tp=tp), "attention") for tp in (8, 16)}
    head, hidden = 128, 8192
    each = {8: (8 + 2) * head * hidden + 8 * head * hidden, 16: (4 + 2) * head * hidden + 4 * head * hidden}
    assert attention == {tp: 80 * 2 * elements for tp, elements in each.items()}


def test_the_vocabulary_is_padded_before_it_is_split() -> None:
    assert _term(made.GRANITE_2B, made.serving(tp=2), "embedding and head") == 49216 // 2 * 2048 * 2


def test_terms_tell_how_they_came_about() -> None:
    for term in weights(made.DEEPSEEK_LITE, made.serving(), made.whole(made.DEEPSEEK_LITE)):
        assert term.part == "weights"
        assert term.formula
        assert term.source
        assert term.band >= 0


def test_without_an_architecture_the_files_size_is_split_with_a_wide_band() -> None:
    unknown = ModelFacts(("SomethingNew",), weights_bytes=16 * GIB)
    (term,) = weights(unknown, made.serving(tp=2), Stage(0, 2, 0, 1))
    assert term.size == 4 * GIB
    assert term.band >= term.size // 10


def test_a_draft_model_stands_beside_the_model() -> None:
    alone = size(made.LLAMA_70B, made.serving(tp=4))
    drafted = size(made.LLAMA_70B, made.serving(tp=4, draft=Draft("draft_model", 5, made.LLAMA_8B)))
    assert drafted - alone == size(made.LLAMA_8B, made.serving(tp=4))
    assert size(made.LLAMA_70B, made.serving(tp=4, draft=Draft("ngram", 5))) == alone


def test_lora_reserves_buffers_for_every_linear_layer() -> None:
    """Rank 32 on Qwen3-8B: A and B of q, k, v, o, gate, up and down, in 16 bit."""
    adapter = AdapterFacts(None, 32, ("q_proj",))
    plain, loaded = made.serving(version=(0, 12, 0)), made.serving(version=(0, 12, 0), adapter=adapter)
    outputs = 4096 + 1024 + 1024 + 4096 + 12288 + 12288 + 4096
    inputs = 3 * 4096 + 4096 + 2 * 4096 + 12288
    grown = _term(made.QWEN3_8B, loaded, "LoRA")
    assert grown == 36 * 32 * 2 * (outputs + inputs)
    assert size(made.QWEN3_8B, loaded) - size(made.QWEN3_8B, plain) == pytest.approx(grown, abs=36 * MIB)
    two = made.serving(version=(0, 12, 0), adapter=adapter, max_loras=2)
    assert _term(made.QWEN3_8B, two, "LoRA") == 2 * grown


@pytest.mark.parametrize("method", ["fp8-channel", "awq", "gptq", "w4a16", "nvfp4", "bnb"])
def test_lora_is_the_same_over_a_quantized_model(method: str) -> None:
    adapter = made.serving(version=(0, 12, 0), adapter=AdapterFacts(None, 16, ()))
    plain, other = made.QWEN3_8B, made.quantized(made.QWEN3_8B, method, {"bits": 4})
    assert _term(other, adapter, "LoRA") == _term(plain, adapter, "LoRA")


def test_a_quantized_latent_model_keeps_an_unpacked_copy_of_its_up_projection() -> None:
    packed = made.quantized(made.DEEPSEEK_LITE, "awq")
    assert _term(packed, made.serving(tp=2), "absorbed MLA") == 27 * 8 * (128 + 128) * 512 * 2
    assert not _term(made.DEEPSEEK_LITE, made.serving(), "absorbed MLA")


def test_an_index_total_settles_what_the_configuration_leaves_open() -> None:
    stored = made.LLAMA_8B.stored_bytes
    exact = size(made.LLAMA_8B, made.serving())
    told = made.from_config(made.LLAMA_8B, stored + stored // 50)
    assert size(told, made.serving()) == pytest.approx(exact * 1.02, rel=0.001)
    band = sum(term.band for term in weights(told, made.serving(), made.whole(told)))
    assert band >= exact // 60


def test_a_tied_table_that_the_checkpoint_stores_twice_is_loaded_once() -> None:
    twice = made.from_config(made.QWEN3_600M, made.QWEN3_600M.stored_bytes + 151936 * 1024 * 2)
    assert size(twice, made.serving()) == size(made.QWEN3_600M, made.serving())


def test_a_head_that_the_total_leaves_no_room_for_is_tied() -> None:
    table = 128256 * 4096 * 2
    told = made.from_config(made.LLAMA_8B, made.LLAMA_8B.stored_bytes - table)
    assert size(made.LLAMA_8B, made.serving()) - size(told, made.serving()) == pytest.approx(table, abs=2 * MIB)


@pytest.mark.parametrize("part", [0.36, 0.53])
def test_a_total_far_below_16_bit_is_a_quantized_checkpoint(part: float) -> None:
    """config.json does not say so, but the files do: linear layers shrink, tables stay."""
    stored = made.LLAMA_8B.stored_bytes
    told = made.from_config(made.LLAMA_8B, int(stored * part))
    assert size(told, made.serving()) == pytest.approx(stored * part, rel=0.02)
    assert _term(told, made.serving(), "embedding and head") == 2 * 128256 * 4096 * 2
    assert size(told, made.serving(quantization="fp8")) == size(told, made.serving())


def test_a_float32_total_does_not_scale_what_loads_in_16_bit() -> None:
    told = made.from_config(made.LLAMA_8B, 2 * made.LLAMA_8B.stored_bytes)
    assert size(told, made.serving()) == size(made.LLAMA_8B, made.serving())


def test_active_bytes_of_a_dense_model_are_all_but_the_embedding() -> None:
    found = active_bytes(made.LLAMA_8B, made.serving())
    assert found == made.LLAMA_8B.stored_bytes - 128256 * 4096 * 2
    assert active_bytes(made.LLAMA_8B, made.serving(tp=2)) == pytest.approx(found, rel=0.001)


def test_active_bytes_of_a_mixture_grow_with_the_batch() -> None:
    sizes = [active_bytes(made.DEEPSEEK_LITE, made.serving(), batch) for batch in (1, 2, 16, 256, 4096)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.2 * sizes[-1]
    everything = made.DEEPSEEK_LITE.stored_bytes - 102400 * 2048 * 2
    assert sizes[-1] == pytest.approx(everything, rel=0.001)


def test_one_token_touches_exactly_its_experts() -> None:
    assert float(distinct(Experts(64, 6, 1), 1)) == pytest.approx(6)
    assert float(distinct(Experts(64, 6, 1), 10_000)) == pytest.approx(64)


def _term(model: ModelFacts, serving: Serving, name: str) -> int:
    return sum(term.size for term in weights(model, serving, made.whole(model)) if term.name == name)
