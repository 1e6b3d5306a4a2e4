"""Stages of pipeline parallelism, and splits that vLLM refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from lyc.planning import parallelism
from lyc.records.architecture import Architecture, Experts, Layer, Mixer, State
from tests.planning.kv_models import MODELS, delta, full

V19 = (0, 19, 0)
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def model(layer: Layer, count: int = 32, *, name: str = "LlamaForCausalLM", vocab: int = 128256) -> Architecture:
    return Architecture(name, 4096, vocab, "bfloat16", (layer,) * count)


@pytest.mark.parametrize(
    ("layers", "pp", "version", "sizes"),
    [
        (32, 1, V19, [32]),
        (32, 4, V19, [8, 8, 8, 8]),
        (61, 4, V19, [15, 15, 16, 15]),
        (62, 4, V19, [15, 16, 16, 15]),
        (63, 4, V19, [16, 16, 16, 15]),
        (25, 2, V19, [13, 12]),
        (61, 4, (0, 7, 3), [15, 15, 15, 16]),
        (63, 4, (0, 6, 6), [15, 15, 15, 18]),
    ],
)
def test_stages(layers: int, pp: int, version: tuple[int, ...], sizes: list[int]) -> None:
    found = parallelism.stages(model(full(8, 128), layers), pp, version)
    assert [stage.last - stage.first for stage in found] == sizes
    assert [stage.first for stage in found[1:]] == [stage.last for stage in found[:-1]]
    assert (found[0].embeds, found[-1].samples, found[-1].last) == (True, True, layers)


DENSE = replace(full(8, 128), intermediate=14336)
MOE = replace(full(4, 128), experts=Experts(128, 8, 768))
STEP = replace(full(8, 128, 64), experts=Experts(288, 8, 1280, 1280))


@pytest.mark.parametrize(
    ("architecture", "detail", "tp", "reason"),
    [
        (model(DENSE), {}, 8, None),
        (model(DENSE), {}, 16, None),
        (model(full(10, 128, 40)), {}, 2, None),
        (model(full(10, 128, 40)), {}, 4, "10 KV heads"),
        (model(full(4, 128, 28)), {}, 8, "28 attention heads"),
        (model(full(1, 128, 48)), {}, 8, None),
        (model(DENSE, vocab=49155), {}, 8, None),
        (model(full(3, 128, 36), vocab=49155), {}, 3, "vocabulary of 49155"),
        (model(replace(DENSE, intermediate=1001)), {}, 2, "MLPs of width 1001"),
        (model(replace(DENSE, intermediate=29568)), {"quant_method": "awq", "group_size": 128}, 8, "29568"),
        (model(replace(DENSE, intermediate=29568)), {"quant_method": "awq", "group_size": 128}, 1, None),
        (model(replace(DENSE, intermediate=29696)), {"quant_method": "gptq", "group_size": 128}, 8, None),
        (model(DENSE), {"quant_method": "gptq", "group_size": -1}, 8, None),
        (model(replace(DENSE, intermediate=18432)), FP8, 16, None),
        (model(replace(DENSE, intermediate=18432)), FP8, 32, "18432"),
        (model(replace(DENSE, intermediate=18432)), FP8 | {"ignored_layers": ["model.layers.0.mlp.up_proj"]}, 32, None),
        (model(replace(DENSE, intermediate=18432)), FP8 | {"modules_to_not_convert": ["mlp.gate"]}, 32, "18432"),
        (model(MOE), FP8, 4, None),
        (model(replace(MOE, experts=Experts(256, 8, 512, 512))), FP8, 8, "width 512"),
        (model(STEP, name="Step3p7FlashForCausalLM"), FP8, 8, None),
        (model(delta(32)), {}, 16, None),
        (model(delta(32)), {}, 32, "16 key heads"),
        (model(Layer(Mixer.MAMBA2, state=State(48, 64, 128, 1, 4))), {}, 32, "48 heads"),
        (model(Layer(Mixer.MAMBA2, state=State(64, 64, 128, 8, 4))), {}, 16, "8 groups"),
        (model(Layer(Mixer.MAMBA2, state=State(128, 64, 128, 1, 4))), {}, 16, None),
        (model(Layer(Mixer.MAMBA1, state=State(1, 8192, 16, 1, 4))), {}, 8, None),
        (model(Layer(Mixer.SHORT_CONV, state=State(1, 2048, 0, 1, 3))), {}, 3, "width 2048"),
        (MODELS["deepseek-v2-lite"].architecture, {}, 16, None),
        (MODELS["deepseek-v2-lite"].architecture, {}, 32, "16 attention heads"),
        (MODELS["glm-5"].architecture, FP8, 8, None),
    ],
)  # fmt: skip
def test_splits(architecture: Architecture, detail: Mapping[str, object], tp: int, reason: str | None) -> None:
    found = parallelism.impossible(architecture, detail, tp, 1, V19)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert reason in found


def test_a_block_of_scales_wider_than_a_gpus_kv_heads() -> None:
    """Refused for the keys' outputs until 0.14, which lets merged matrices end within a block."""
    narrow = model(replace(full(8, 64), intermediate=16384))
    assert parallelism.impossible(narrow, FP8, 8, 1, (0, 13, 0)) is not None
    assert parallelism.impossible(narrow, FP8, 8, 1, (0, 14, 0)) is None


def test_groups_of_compressed_tensors() -> None:
    group = {"weights": {"num_bits": 4, "strategy": "group", "group_size": 128}}
    channel = {"weights": {"num_bits": 8, "strategy": "channel", "group_size": None}}
    wide = model(replace(DENSE, intermediate=29568))
    for scheme, refused in ((group, True), (channel, False)):
        detail = {"quant_method": "compressed-tensors", "config_groups": {"group_0": scheme}}
        assert (parallelism.impossible(wide, detail, 8, 1, V19) is not None) is refused


@pytest.mark.parametrize(
    ("name", "pp", "version", "refused"),
    [
        ("LlamaForCausalLM", 2, V19, False),
        ("LlamaForCausalLM", 33, V19, True),
        ("Gemma3nForCausalLM", 2, V19, True),
        ("Gemma3nForCausalLM", 1, V19, False),
        ("KimiVLForConditionalGeneration", 2, (0, 9, 2), True),
        ("KimiVLForConditionalGeneration", 2, (0, 10, 2), False),
    ],
)
def test_pipelines(name: str, pp: int, version: tuple[int, ...], refused: bool) -> None:
    assert (parallelism.impossible(model(DENSE, name=name), {}, 1, pp, version) is not None) is refused


@pytest.mark.parametrize(
    ("experts", "detail", "tp", "whole"),
    [
        (Experts(128, 8, 768), FP8, 4, True),
        (Experts(128, 8, 768), FP8, 2, False),
        (Experts(128, 8, 768), {}, 4, False),
        (Experts(128, 8, 1536), FP8, 8, True),
        (Experts(64, 8, 1000), {}, 16, True),
        (Experts(64, 8, 1000), {}, 1, False),
    ],
)
def test_experts_that_must_stay_whole(experts: Experts, detail: Mapping[str, object], tp: int, whole: bool) -> None:
    assert parallelism.whole_experts(model(replace(full(4, 128), experts=experts)), detail, tp) is whole
