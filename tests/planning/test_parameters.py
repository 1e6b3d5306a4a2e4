"""Names of tensors to vLLM's modules, and how kernels, cards and versions change what stands on a GPU."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from lyc.planning.catalogue.cards import CARDS, find
from lyc.planning.weights import likeness, weights
from lyc.planning.weights.lora import rank_of
from lyc.planning.weights.mxfp4 import Kernel, kernel
from lyc.planning.weights.parameters import runs, vocabulary_rows
from lyc.planning.weights.roles import Kind, Region, Rule, role
from lyc.records.architecture import (
    Architecture,
    Experts,
    Layer,
    Mixer,
    State,
    TensorGroup,
    Tower,
)  # fmt: skip
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import Draft, Serving
from lyc.units import GIB, MIB
from tests.planning import checkpoints as made

IN_LAYER, TEXT = "model.layers.{layer}.", Region.TEXT


@pytest.mark.parametrize(
    ("name", "region", "kind", "rule", "module"),
    [
        ("model.embed_tokens.weight", TEXT, Kind.EMBEDDING, Rule.VOCABULARY, "embed_tokens"),
        ("lm_head.weight", TEXT, Kind.EMBEDDING, Rule.VOCABULARY, "lm_head"),
        ("backbone.embeddings.weight", TEXT, Kind.EMBEDDING, Rule.VOCABULARY, "embeddings"),
        (IN_LAYER + "self_attn.q_proj.weight", TEXT, Kind.ATTENTION, Rule.COLUMN, "self_attn.qkv_proj"),
        (IN_LAYER + "self_attn.k_proj.bias", TEXT, Kind.ATTENTION, Rule.KEY_VALUE, "self_attn.qkv_proj"),
        (IN_LAYER + "self_attn.qkv_proj.weight", TEXT, Kind.ATTENTION, Rule.QKV, "self_attn.qkv_proj"),
        (IN_LAYER + "self_attn.o_proj.qweight", TEXT, Kind.ATTENTION, Rule.ROW, "self_attn.o_proj"),
        (IN_LAYER + "self_attn.q_a_proj.weight", TEXT, Kind.ATTENTION, Rule.WHOLE, "self_attn.fused_qkv_a_proj"),
        (IN_LAYER + "self_attn.indexer.wq_b.weight", TEXT, Kind.ATTENTION, Rule.WHOLE, "indexer.wq_b"),
        (IN_LAYER + "self_attn.sinks", TEXT, Kind.ATTENTION, Rule.COLUMN, "self_attn.sinks"),
        (IN_LAYER + "linear_attn.in_proj_qkv.weight", TEXT, Kind.ATTENTION, Rule.COLUMN, "linear_attn.in_proj_qkvz"),
        (IN_LAYER + "linear_attn.A_log", TEXT, Kind.ATTENTION, Rule.COLUMN, "linear_attn.A_log"),
        (IN_LAYER + "mamba.in_proj.weight", TEXT, Kind.ATTENTION, Rule.MAMBA_IN, "mamba.in_proj"),
        (IN_LAYER + "mlp.gate_proj.weight", TEXT, Kind.MLP, Rule.COLUMN, "mlp.gate_up_proj"),
        (IN_LAYER + "mlp.down_proj.weight_scale", TEXT, Kind.MLP, Rule.ROW, "mlp.down_proj"),
        (IN_LAYER + "mlp.gate.weight", TEXT, Kind.MLP, Rule.WHOLE, "mlp.gate"),
        ("backbone.layers.{layer}.mixer.gate.weight", TEXT, Kind.MLP, Rule.WHOLE, "mixer.gate"),
        (IN_LAYER + "mlp.gate.e_score_correction_bias", TEXT, Kind.MLP, Rule.WHOLE, "mlp.gate"),
        (IN_LAYER + "mlp.experts.{expert}.up_proj.weight", TEXT, Kind.EXPERTS, Rule.COLUMN, "experts.w13"),
        (IN_LAYER + "block_sparse_moe.experts.{expert}.w2.weight", TEXT, Kind.EXPERTS, Rule.ROW, "experts.w2"),
        (IN_LAYER + "mlp.experts.gate_up_proj_blocks", TEXT, Kind.EXPERTS, Rule.COLUMN, "experts.w13"),
        (IN_LAYER + "block_sparse_moe.output_linear.weight", TEXT, Kind.EXPERTS, Rule.ROW, "experts.w2"),
        (IN_LAYER + "shared_mlp.input_linear.weight", TEXT, Kind.MLP, Rule.COLUMN, "shared_mlp.gate_up_proj"),
        (IN_LAYER + "mlp.shared_experts.up_proj.weight", TEXT, Kind.MLP, Rule.COLUMN, "shared_experts.gate_up_proj"),
        (IN_LAYER + "input_layernorm.weight", TEXT, Kind.REST, Rule.WHOLE, "{layer}.input_layernorm"),
        ("visual.blocks.{layer}.attn.qkv.weight", Region.TOWER, Kind.TOWER, Rule.COLUMN, "attn.qkv_proj"),
        ("visual.patch_embed.proj.weight", Region.TOWER, Kind.TOWER, Rule.WHOLE, "patch_embed.proj"),
        ("model.language_model.layers.{layer}.mlp.up_proj.weight", TEXT, Kind.MLP, Rule.COLUMN, "mlp.gate_up_proj"),
        ("mtp.layers.{layer}.mlp.up_proj.weight", Region.MTP, Kind.MLP, Rule.COLUMN, "mlp.gate_up_proj"),
    ],
)
def test_a_name_says_what_vllm_makes_of_it(name: str, region: Region, kind: Kind, rule: Rule, module: str) -> None:
    found = role(name)
    assert (found.region, found.kind, found.rule, found.module) == (region, kind, rule, module)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.{layer}.self_attn.rotary_emb.inv_freq",
        "model.layers.{layer}.self_attn.k_proj.k_scale",
        "model.layers.{layer}.shared_head.head.weight",
        "talker.model.layers.{layer}.mlp.up_proj.weight",
        "vision_tower.vision_model.head.mlp.fc1.weight",
    ],
)
def test_what_vllm_does_not_load_is_dropped(name: str) -> None:
    assert role(name).region is Region.DROPPED


def test_an_unknown_name_is_a_guess_with_a_band() -> None:
    odd = TensorGroup("model.layers.{layer}.self_attn.fancy_proj.weight", (4096, 4096), "BF16", tuple(range(32)))
    model = replace(made.LLAMA_8B, tensors=(*made.LLAMA_8B.tensors, odd))
    (term,) = (t for t in weights(model, made.serving(tp=2), made.whole(model)) if t.name == "attention")
    assert term.band >= 32 * 4096 * 4096


def test_merged_modules_are_one_parameter_each() -> None:
    (layer,) = (run for run in runs(made.LLAMA_8B, made.serving(), made.whole(made.LLAMA_8B)) if run.layers == 32)
    sizes = {parameter.name: parameter.size for parameter in layer.parameters if parameter.size > MIB}
    assert sizes == {
        "self_attn.qkv_proj.weight": 6144 * 4096 * 2,
        "self_attn.o_proj.weight": 4096 * 4096 * 2,
        "mlp.gate_up_proj.weight": 2 * 14336 * 4096 * 2,
        "mlp.down_proj.weight": 14336 * 4096 * 2,
    }


def test_equal_layers_are_told_once_and_unlike_ones_apart() -> None:
    found = runs(made.DEEPSEEK_LITE, made.serving(), made.whole(made.DEEPSEEK_LITE))
    assert [run.layers for run in found] == [1, 1, 26, 1]


def test_mamba_groups_that_do_not_divide_are_copied() -> None:
    """Granite 4 has one group: B and C stand whole on each rank, the heads are divided."""
    heads, size, state, hidden = 48, 64, 128, 2048
    inner, both = heads * size, 2 * state
    shape = (2 * inner + both + heads, hidden)
    mixer = Layer(Mixer.MAMBA2, state=State(heads, size, state, groups=1, conv_kernel=4))
    group = TensorGroup("model.layers.{layer}.mamba.in_proj.weight", shape, "BF16", (0,))
    model = made.facts(Architecture("GraniteMoeHybridForCausalLM", hidden, 100352, "bfloat16", (mixer,)), [group])
    (run,) = runs(model, made.serving(tp=4), made.whole(model))
    assert run.parameters[0].size == (2 * inner // 4 + both + heads // 4) * hidden * 2


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [("h100", Kernel.TRITON), ("a100-80", Kernel.MARLIN), ("l40s", Kernel.MARLIN), ("rtx-5090", Kernel.MARLIN),
     ("b200", Kernel.TRTLLM)],
)  # fmt: skip
def test_the_card_decides_who_multiplies_mxfp4(gpu: str, expected: Kernel) -> None:
    assert kernel(made.serving(), find(gpu)) is expected


def test_mxfp4_is_padded_by_kernel() -> None:
    """Widths of 2880 become 3072 × 2944 for Marlin and 3072 × 3072 for TRTLLM: 7 % and 14 % more experts."""
    model = made.gpt_oss(layers=24, experts=32)
    plain = 24 * 32 * (3 * 2880 * 2880 // 2) * 17 // 16
    biases = 24 * 32 * 3 * 3072 * 4
    for gpu, inner in (("a100-80", 2944), ("b200", 3072)):
        size = _experts(model, made.serving(), find(gpu))
        padded = 24 * 32 * (3 * 3072 * inner // 2) * 17 // 16
        assert padded < size <= padded + biases
        assert size > 1.06 * plain
    newer = _experts(model, made.serving(version=(0, 28, 0)), find("b200"))
    assert newer < _experts(model, made.serving(), find("b200"))


def test_hopper_frees_the_scales_it_loaded_since_0_25() -> None:
    model = made.gpt_oss(layers=24, experts=32)
    scales = 24 * 32 * 3 * 2880 * 90
    old, new = (_experts(model, made.serving(version=v), find("h100")) for v in ((0, 24, 0), (0, 25, 0)))
    assert old - new == scales


def test_gptq_zero_points_stay_on_hopper_alone() -> None:
    model = made.quantized(made.LLAMA_8B, "gptq", {"bits": 4, "desc_act": False})
    left = sum(g.count * prod(g.shape) * 4 for g in model.tensors if g.name.endswith(("qzeros", "g_idx")))
    hopper, ampere = (_layers(model, made.serving(), find(gpu)) for gpu in ("h100", "a100-80"))
    assert hopper - ampere == left


def test_fp8_blocks_on_ampere_get_a_scale_for_each_row() -> None:
    model = made.quantized(made.LLAMA_8B, "fp8-block")
    linear = sum(g.count * prod(g.shape) for g in model.tensors if g.dtype == "F8_E4M3")
    grown = _layers(model, made.serving(), find("a100-80")) - _layers(model, made.serving(), find("h100"))
    assert grown == linear // 128 * 2 - linear // 128 // 128 * 4


def test_bitsandbytes_unpacks_its_scales_since_0_10() -> None:
    model = made.quantized(made.LLAMA_8B, "bnb")
    absmax = sum(g.count * prod(g.shape) for g in model.tensors if g.name.endswith("weight.absmax"))
    old, new = (_layers(model, made.serving(version=v)) for v in ((0, 9, 2), (0, 10, 0)))
    assert new - old == 3 * absmax
    assert _layers(model, made.serving(version=(0, 10, 0), tp=2)) * 2 == pytest.approx(new, rel=0.001)


@pytest.mark.parametrize(
    ("method", "of_bf16"), [("fp8", 0.5), ("bitsandbytes", 0.28125), ("mxfp8", 0.515625), ("fp8_per_block", 0.5001)]
)
def test_quantizing_while_loading_takes_the_linear_layers_alone(method: str, of_bf16: float) -> None:
    plain = _layers(made.LLAMA_8B, made.serving())
    assert _layers(made.LLAMA_8B, made.serving(quantization=method)) == pytest.approx(of_bf16 * plain, rel=0.0005)


def test_latent_attention_brings_a_work_buffer_by_version_and_card() -> None:
    def buffers(version: tuple[int, ...], gpu: str) -> int:
        terms = weights(made.DEEPSEEK_LITE, made.serving(version=version), made.whole(made.DEEPSEEK_LITE), find(gpu))
        return sum(term.size for term in terms if "workspace" in term.name) // MIB

    assert buffers((0, 9, 2), "h100") == 0
    assert buffers((0, 19, 0), "h100") == 128
    assert buffers((0, 19, 0), "b200") == 256
    assert buffers((0, 26, 0), "h100") == 0
    assert buffers((0, 19, 0), "mi300x") == 0


def test_amd_pads_the_rows_of_experts() -> None:
    amd, nvidia = (_experts(made.DEEPSEEK_LITE, made.serving(), find(gpu)) for gpu in ("mi300x", "h100"))
    gate_up = 26 * 64 * 2 * 1408 * 256  # rows of 2048 × 2 B end at 512; those of down, 1408 × 2 B, do not
    assert amd - nvidia == gate_up


def test_mtp_layers_are_loaded_for_their_method_alone() -> None:
    layer = made.LAYER + "mlp.up_proj.weight"
    extra = TensorGroup(layer, (14336, 4096), "BF16", (32,))
    assert made.LLAMA_8B.architecture is not None
    tensors = tuple(g for g in made.LLAMA_8B.tensors if g.name != layer)
    whole = TensorGroup(layer, (14336, 4096), "BF16", tuple(range(33)))
    architecture = replace(made.LLAMA_8B.architecture, mtp=(Layer(Mixer.FULL, 32, 8, 128, 128),))
    model = replace(made.LLAMA_8B, architecture=architecture, tensors=(*tensors, whole))
    plain, ngram, mtp = (_total(model, made.serving(draft=d)) for d in (None, Draft("ngram", 3), Draft("mtp", 1)))
    assert plain == ngram == _total(made.LLAMA_8B, made.serving())
    assert mtp - plain == pytest.approx(prod(extra.shape) * 2, abs=2 * MIB)


def test_towers_that_the_tensors_do_not_show_take_what_the_total_leaves() -> None:
    assert made.LLAMA_8B.architecture is not None
    seeing = replace(made.LLAMA_8B.architecture, towers=(Tower("vision", 1024, 24, 16, 4096),))
    stored = sum(g.count * prod(g.shape) * 2 for g in made.LLAMA_8B.tensors)
    told = replace(made.from_config(made.LLAMA_8B, stored + GIB), architecture=seeing)
    for tp in (1, 4):
        (tower,) = (t for t in weights(told, made.serving(tp=tp), made.whole(told)) if t.name == "towers")
        assert tower.size == GIB // tp
        assert tower.band
    guessed = replace(made.from_config(made.LLAMA_8B, None), architecture=seeing)
    (tower,) = (t for t in weights(guessed, made.serving(), made.whole(guessed)) if t.name == "towers")
    assert 0.4 * GIB < tower.size < 0.8 * GIB
    assert tower.band >= tower.size // 5


def test_a_float32_router_bias_and_state_stay_so() -> None:
    names = ("mlp.gate.e_score_correction_bias", "linear_attn.A_log")
    groups = [TensorGroup(made.LAYER + name, (256,), "BF16", (0,)) for name in names]
    layer = Layer(Mixer.FULL, experts=Experts(256, 8, 1))
    model = made.facts(Architecture("X", 8, 8, "bfloat16", (layer,)), groups)
    (run,) = runs(model, made.serving(), made.whole(model))
    assert [parameter.size for parameter in run.parameters] == [1024, 1024]


def test_the_vocabulary_grows_to_a_multiple_of_64() -> None:
    assert [vocabulary_rows(rows) for rows in (1, 64, 65, 49155, 151936)] == [64, 64, 128, 49216, 151936]


def test_lora_ranks_are_those_that_vllm_takes() -> None:
    assert [rank_of(rank) for rank in (1, 4, 8, 9, 64, 300, 512, 600)] == [1, 8, 8, 16, 64, 320, 512, 600]


@pytest.mark.parametrize(
    "model",
    [
        made.LLAMA_8B, made.DEEPSEEK_LITE, made.gpt_oss(layers=2, experts=8), made.quantized(made.LLAMA_8B, "gptq"),
        made.quantized(made.LLAMA_8B, "fp8-block"), made.quantized(made.DEEPSEEK_LITE, "awq"),
    ],
)  # fmt: skip
def test_cards_that_are_alike_hold_the_same(model: ModelFacts) -> None:
    known: dict[tuple[object, ...], int] = {}
    for card in CARDS.values():
        for version in ((0, 11, 0), (0, 19, 0), (0, 28, 0)):
            options = made.serving(version=version)
            assert known.setdefault(likeness(model, options, card), found := _total(model, options, card)) == found
    assert len(known) < 3 * len(CARDS)


def test_on_the_cpu_nothing_is_rounded() -> None:
    terms = weights(made.LLAMA_8B, made.serving(on_cpu=True), made.whole(made.LLAMA_8B))
    assert "allocator rounding" not in {term.name for term in terms}


def _total(model: ModelFacts, serving: Serving, card: Card | None = None) -> int:
    return sum(term.size for term in weights(model, serving, made.whole(model), card))


def _layers(model: ModelFacts, serving: Serving, card: Card | None = None) -> int:
    terms = weights(model, serving, made.whole(model), card)
    return sum(term.size for term in terms if term.name in ("attention", "MLP"))


def _experts(model: ModelFacts, serving: Serving, card: Card) -> int:
    return sum(t.size for t in weights(model, serving, made.whole(model), card) if t.name == "experts")
