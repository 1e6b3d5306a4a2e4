"""What vLLM picks by itself, by version, card and model."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from lyc.planning.catalogue.cards import find
from lyc.planning.defaults import in_force, model_length, pools, server_batch, serving, utilization
from lyc.records.architecture import Architecture, Layer, Mixer, Tower
from lyc.records.model import ModelFacts
from lyc.records.serving import Draft, Serving
from lyc.records.wish import Wish

LAYER = Layer(Mixer.FULL, heads=32, kv_heads=8, head_size=128, intermediate=14336)


def model(length: int = 8192, *, dtype: str = "bfloat16", name: str = "LlamaForCausalLM", **more: object) -> ModelFacts:
    architecture = Architecture(name, 4096, 128256, dtype, (LAYER,) * 2, positions=length, **more)  # type: ignore[arg-type]
    return ModelFacts((name,), architecture=architecture)


def of(version: tuple[int, ...], card: str = "h100", facts: ModelFacts | None = None, **wish: object) -> Serving:
    asked = Wish(version, **wish)  # type: ignore[arg-type]
    return serving(facts or model(), find(card), asked, tp=1, pp=1)


@pytest.mark.parametrize(("version", "card", "batch"), [
    ((0, 8, 5), "h100", (1024, 8192)), ((0, 8, 5), "a100-80", (1024, 8192)), ((0, 9, 2), "a100-80", (256, 2048)),
    ((0, 19, 0), "h200", (1024, 8192)), ((0, 19, 0), "l4", (256, 2048)), ((0, 19, 0), "t4", (256, 2048)),
    ((0, 27, 0), "b200", (1024, 8192)), ((0, 28, 0), "b200", (1024, 16384)), ((0, 33, 0), "b300", (1024, 16384)),
    ((0, 33, 0), "h200", (1024, 8192)), ((0, 33, 0), "rtx-pro-6000", (1024, 8192)), ((0, 33, 0), "l40s", (256, 2048)),
])  # fmt: skip
def test_the_servers_batch(version: tuple[int, ...], card: str, batch: tuple[int, int]) -> None:
    assert server_batch(find(card), version) == batch
    found = of(version, card)
    assert (found.max_num_seqs, found.max_num_batched_tokens) == batch


def test_the_little_grace_blackwell_lost_its_large_batch() -> None:
    gb10 = replace(find("h100"), compute_capability=121)
    assert server_batch(gb10, (0, 32)) == (1024, 8192)
    assert server_batch(gb10, (0, 33)) == (256, 2048)


@pytest.mark.parametrize(("length", "facts", "tokens"), [
    (1024, model(), 2048), (8192, model(), 8192), (32768, model(), 32768), (131072, model(131072), 2048),
    (131072, model(131072, towers=(Tower("vision"),)), 131072), (4096, model(towers=(Tower("vision"),)), 5120),
    (8192, model(name="LlamaModel"), 32768),
])  # fmt: skip
def test_the_first_engine_took_whole_prompts(length: int, facts: ModelFacts, tokens: int) -> None:
    found = of((0, 7, 3), facts=facts, max_model_len=length)
    assert (found.max_num_seqs, found.max_num_batched_tokens) == (256, tokens)


def test_the_first_engine_did_not_split_with_drafts() -> None:
    found = of((0, 7, 3), facts=model(131072), draft=Draft("ngram", 4))
    assert found.max_num_batched_tokens == 131072


def test_wishes_win() -> None:
    found = of((0, 19, 0), max_num_seqs=7, max_num_batched_tokens=512, utilization=Fraction(1, 2), dtype="half",
               kv_cache_dtype="fp8", max_model_len=100, block_size=32, enforce_eager=True)  # fmt: skip
    assert (found.max_num_seqs, found.max_num_batched_tokens, found.utilization) == (7, 512, Fraction(1, 2))
    assert (found.dtype, found.kv_cache_dtype, found.max_model_len) == ("float16", "fp8", 100)
    assert (found.block_size, found.enforce_eager) == (32, True)


def test_sequences_never_exceed_tokens() -> None:
    assert of((0, 19, 0), max_num_batched_tokens=64).max_num_seqs == 64
    assert of((0, 19, 0), max_num_seqs=2, max_model_len=100).max_num_batched_tokens == 200
    assert of((0, 10, 2), max_num_seqs=2, max_model_len=100).max_num_batched_tokens == 8192


@pytest.mark.parametrize(("version", "part"), [((0, 6), "9/10"), ((0, 19, 1), "9/10"), ((0, 20, 0), "23/25")])
def test_the_part_of_the_card(version: tuple[int, ...], part: str) -> None:
    assert utilization(version) == of(version).utilization == Fraction(part)


@pytest.mark.parametrize(("own", "card", "version", "dtype"), [
    ("bfloat16", "h100", (0, 19), "bfloat16"), ("bfloat16", "t4", (0, 19), "float16"),
    ("float16", "t4", (0, 19), "float16"), ("float16", "h100", (0, 19), "float16"),
    ("float32", "h100", (0, 19), "bfloat16"), ("float32", "t4", (0, 19), "float16"),
    ("float32", "h100", (0, 8, 5), "float16"),
])  # fmt: skip
def test_the_type_of_activations(own: str, card: str, version: tuple[int, ...], dtype: str) -> None:
    assert of(version, card, model(dtype=own)).dtype == dtype


@pytest.mark.parametrize(("method", "detail", "card", "force"), [
    ("gptq", {"bits": 4, "sym": True}, "h100", "gptq_marlin"), ("gptq", {"bits": 4, "sym": False}, "h100", "gptq"),
    ("gptq", {"bits": 3}, "h100", "gptq"), ("awq", {"bits": 4, "zero_point": True}, "l4", "awq_marlin"),
    ("awq", {"bits": 4, "zero_point": True}, "t4", "awq"), ("fp8", {}, "h100", "fp8"), (None, {}, "h100", None),
    ("modelopt", {"quant_algo": "NVFP4"}, "b200", "modelopt_fp4"),
    ("compressed-tensors", {}, "h100", "compressed-tensors"),
])  # fmt: skip
def test_the_method_in_force(method: str | None, detail: dict[str, object], card: str, force: str | None) -> None:
    facts = replace(model(), quantization=method, quantization_detail=detail)
    assert in_force(facts, find(card), (0, 11)) == force
    assert of((0, 11), card, facts).quantization == force


def test_marlin_on_turing() -> None:
    facts = replace(model(), quantization="awq", quantization_detail={"bits": 4, "zero_point": True})
    assert in_force(facts, find("t4"), (0, 19)) == "awq_marlin"


def test_a_method_that_was_asked_for() -> None:
    assert serving(model(), find("h100"), Wish((0, 19)), tp=2, pp=1, quantization="fp8").quantization == "fp8"


def test_the_models_length() -> None:
    assert model_length(model(4096)) == 4096
    assert model_length(ModelFacts((), max_position_embeddings=512)) == 512
    assert model_length(ModelFacts(())) == 2048


def test_what_pools() -> None:
    assert pools(model(name="BertModel"))
    assert pools(model(name="LlamaForSequenceClassification"))
    assert not pools(model())
    assert not pools(model(name="Qwen2_5OmniModel"))


def test_a_cpu_by_its_world() -> None:
    found = serving(model(), find("h100"), Wish((0, 32), on_cpu=True), tp=2, pp=1)
    assert (found.max_num_seqs, found.max_num_batched_tokens, found.on_cpu) == (256, 4096, True)
