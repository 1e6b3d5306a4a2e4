"""Tensors as headers, indexes and quantizations have them."""

from __future__ import annotations

import json
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.inspection import inspect
from lyc.inspection.tensors.collapse import collapse
from lyc.inspection.tensors.expected import total
from lyc.inspection.tensors.schemes import Omitted
from lyc.records.architecture import TensorGroup, TensorsFrom
from tests.inspection.folders import INDEX, facts_of, folder, look
from tests.inspection.test_architecture import LLAMA, public

LAYERS = st.integers(0, 4)
rows = st.lists(
    st.builds(
        lambda layer, expert, end, shape: (
            f"model.layers.{layer}.mlp.experts.{expert}.{end}" if expert else f"model.layers.{layer}.{end}",
            "BF16",
            shape,
        ),
        LAYERS,
        st.integers(0, 3),
        st.sampled_from(["up_proj.weight", "norm.weight"]),
        st.sampled_from([(4,), (4, 8)]),
    ),
    unique_by=lambda row: row[0],
)


def spread(groups: tuple[TensorGroup, ...]) -> Counter[tuple[tuple[int, ...], str]]:
    found = Counter[tuple[tuple[int, ...], str]]()
    for group in groups:
        found[group.shape, group.dtype] += group.count
    return found


@given(rows)
def test_groups_hold_each_tensor_once(tensors: list[tuple[str, str, tuple[int, ...]]]) -> None:
    assert spread(collapse(tensors)) == Counter((shape, dtype) for _, dtype, shape in tensors)


def test_layers_and_experts_are_told_by_their_names() -> None:
    names = [f"model.layers.{layer}.mlp.experts.{expert}.up_proj.weight" for layer in (1, 2) for expert in range(8)]
    (group,) = collapse([(name, "F8_E4M3", (3, 4)) for name in names])
    assert group == TensorGroup(
        "model.layers.{layer}.mlp.experts.{expert}.up_proj.weight", (3, 4), "F8_E4M3", (1, 2), 8
    )
    lone = collapse([("mlp1.1.weight", "BF16", (2,)), ("lm_head.weight", "BF16", (2, 2))])
    assert [(one.name, one.layers, one.count) for one in lone] == [("mlp1.1.weight", (), 1), ("lm_head.weight", (), 1)]


def compressed(bits: int, kind: str, strategy: str, form: str, **more: object) -> dict[str, object]:
    weights = {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, **more}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}}
    return {"quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"], "config_groups": groups}


EMBEDDINGS = 2 * 128256 * 4096 * 2  # both tables stay as they are
NORMS = 65 * 4096 * 2
MATRICES = 32 * (2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336 * 4096)
OUTPUTS = 32 * (4096 + 1024 + 1024 + 4096 + 14336 + 14336 + 4096)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, MATRICES + 32 * 7 * 4),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, MATRICES + MATRICES // 16384 * 4),
        ({"quant_method": "fp8", "activation_scheme": "static"}, MATRICES + 32 * 7 * 8),
        ({"quant_method": "fbgemm_fp8"}, MATRICES + OUTPUTS * 4),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, MATRICES * (1 / 2 + 2 / 128 + 1 / 256)),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}, MATRICES + 32 * 7 * 8),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}},
         MATRICES * (1 / 2 + 1 / 16) + 32 * 7 * 8),
        (compressed(8, "int", "channel", "int-quantized"), MATRICES + OUTPUTS * 2),
        (compressed(8, "float", "channel", "float-quantized"), MATRICES + OUTPUTS * 2),
        (compressed(4, "int", "group", "pack-quantized", group_size=128), MATRICES * (1 / 2 + 2 / 128) + 32 * 7 * 16),
        (compressed(4, "float", "tensor_group", "nvfp4-pack-quantized", group_size=16),
         MATRICES * (1 / 2 + 1 / 16) + 32 * 7 * 4),
        (compressed(4, "float", "group", "mxfp4-pack-quantized", group_size=32), MATRICES * (1 / 2 + 1 / 32)),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, MATRICES + OUTPUTS * 4),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True},
         MATRICES * (1 / 2 + 4 / 64) + 32 * 7 * (64 + 82)),
    ],
)  # fmt: skip
def test_stored_forms_weigh_what_their_formats_say(config: dict[str, object], size: float) -> None:
    """By hand from each format: values, scales, and what stands beside them, of Llama 3.1 8B."""
    found = facts_of({**LLAMA, "quantization_config": config})
    assert total(found.tensors) == EMBEDDINGS + NORMS + size
    assert found.weights_bytes is None  # config.json alone


def test_gptq_stores_the_order_of_inputs() -> None:
    found = facts_of({**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}})
    names = {group.name.removeprefix("model.layers.{layer}.") for group in found.tensors if "down_proj" in group.name}
    assert names == {f"mlp.down_proj.{end}" for end in ("qweight", "qzeros", "scales", "g_idx")}


def test_an_unknown_quantization_is_said_to_be_unknown() -> None:
    found = facts_of({**LLAMA, "quantization_config": {"quant_method": "aqlm"}})
    assert "stored form of aqlm" in found.unknown
    assert found.quantization == "aqlm"


def test_what_a_quantization_leaves_out() -> None:
    omitted = Omitted(["lm_head", "re:.*mlp.gate$", "*visual*", "model.layers.3.mlp.down_proj", "re:((", "self_attn"])
    assert "lm_head" in omitted
    assert "model.layers.7.mlp.gate" in omitted
    assert "model.visual.blocks.0.attn.qkv" in omitted
    assert "model.layers.3.mlp.down_proj" in omitted
    assert "model.layers.3.self_attn.q_proj" in omitted
    assert "model.layers.30.mlp.down_proj" not in omitted
    assert "model.layers.3.mlp.gate_proj" not in omitted


def test_layers_that_a_quantization_names_are_grouped_apart() -> None:
    ignore = ["lm_head", "model.layers.0.mlp.down_proj"]
    found = facts_of({**LLAMA, "quantization_config": {**compressed(8, "int", "channel", "int-quantized"),
                                                       "ignore": ignore}})  # fmt: skip
    layers = {
        group.dtype: group.layers
        for group in found.tensors
        if group.name == "model.layers.{layer}.mlp.down_proj.weight"
    }
    assert layers == {"BF16": (0,), "I8": tuple(range(1, 32))}


def test_an_index_without_names_gives_the_total() -> None:
    found = facts_of(LLAMA, 16060522496)
    assert (found.weights_bytes, found.tensors_from) == (16060522496, TensorsFrom.INDEX)
    assert total(found.tensors) == 16060522496
    assert not [name for name in found.unknown if name.startswith("tensors")]


def test_a_total_that_the_names_do_not_explain_is_said() -> None:
    found = facts_of(LLAMA, 20_000_000_000)
    assert "tensors: 3939477504 bytes unexplained" in found.unknown
    assert found.weights_bytes == 20_000_000_000


def names_of(groups: tuple[TensorGroup, ...]) -> list[str]:
    return [
        group.name.replace("{layer}", str(layer)).replace("{expert}", str(expert))
        for group in groups
        for layer in group.layers or (0,)
        for expert in range(max(group.experts, 1))
    ]


def test_the_names_of_an_index_are_used() -> None:
    plain = facts_of(LLAMA)
    wrapped = [f"language_model.{name}" for name in names_of(plain.tensors)]
    found = facts_of(LLAMA, 16060522496, wrapped)
    assert {group.name for group in found.tensors} == {f"language_model.{group.name}" for group in plain.tensors}
    assert total(found.tensors) == 16060522496


def test_an_index_that_names_few_is_filled_up() -> None:
    found = facts_of(LLAMA, 16060522496, ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"])
    assert total(found.tensors) == 16060522496


def test_the_weight_tells_whether_tables_are_tied_and_prediction_is_there() -> None:
    loose = {key: value for key, value in LLAMA.items() if key != "tie_word_embeddings"}
    tied = facts_of(loose, 16060522496 - 128256 * 4096 * 2).architecture
    assert tied is not None
    assert tied.tied
    glm = public("zai-org--GLM-4.5-Air")
    whole = facts_of(glm)
    without = [group for group in whole.tensors if 46 not in group.layers]
    found = facts_of(glm, total(without)).architecture
    assert found is not None
    assert found.mtp == ()


def test_sizes_that_an_abridged_file_lacks_are_found_by_weight() -> None:
    config = {"architecture": "Qwen2ForCausalLM", "num_hidden_layers": 80, "num_key_value_heads": 8, "head_dim": 128,
              "vocab_size": 152064}  # fmt: skip
    found = facts_of(config, 145412407296).architecture  # Qwen2.5-72B
    assert found is not None
    assert (found.hidden, found.layers[0].heads, found.layers[0].intermediate) == (8192, 64, 29568)
    assert {"hidden_size", "intermediate_size"} <= set(found.unknown)


def test_a_vocabulary_that_is_not_told_is_found_by_weight() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "vocab_size"}
    found = facts_of(config, 16060522496).architecture
    assert found is not None
    assert found.vocab == 128256
    assert "vocab_size" in found.unknown


def test_headers_are_read_by_range_and_never_the_weights() -> None:
    big = 1 << 20
    text = json.dumps({"lm_head.weight": {"dtype": "BF16", "shape": [big // 2], "data_offsets": [0, big]}}).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(big)
    files = {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": data}
    listing, read = folder(files)
    found = inspect(listing, read, weights_needed=False)
    assert found.tensors == (TensorGroup("lm_head.weight", (big // 2,), "BF16"),)
    assert (found.weights_bytes, found.tensors_from) == (big, TensorsFrom.HEADERS)
    assert read.bytes_read < big // 8


def test_an_index_whose_shards_are_not_there_is_enough() -> None:
    index = {
        "metadata": {"total_size": 16060522496},
        "weight_map": {"lm_head.weight": "model-00001-of-00004.safetensors"},
    }
    found = look({"config.json": json.dumps(LLAMA).encode(), INDEX: json.dumps(index).encode()})
    assert found.weights_bytes == 16060522496
