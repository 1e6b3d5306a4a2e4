"""Public configurations: the kinds of their layers, the longest text, rotary tables, and what they weigh."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import SpecError
from lyc.inspection import architecture
from lyc.inspection.tensors.expected import total
from lyc.records.architecture import Architecture, Mixer, TensorsFrom
from tests.inspection.folders import facts_of

PUBLIC = Path(__file__).parents[1] / "planning/measured/configs"
EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "expected.json").read_text(encoding="utf-8"))
LLAMA: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "torch_dtype": "bfloat16", "tie_word_embeddings": False, "max_position_embeddings": 8192,
}  # fmt: skip


def public(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((PUBLIC / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def read(**changes: object) -> Architecture:
    found = architecture({**LLAMA, **changes})
    assert found is not None
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_public_configurations(name: str) -> None:
    row = EXPECTED[name]
    facts = facts_of(public(name))
    found = facts.architecture
    assert found is not None
    kinds = Counter(layer.mixer.value + ("+experts" if layer.experts else "") for layer in found.layers)
    assert kinds == row["layers"]
    assert found.positions == row["positions"]
    assert [[rope.positions, rope.dim] for rope in found.ropes] == row["ropes"]
    assert len(found.mtp) == row.get("mtp", 0)
    assert facts.tensors_from is TensorsFrom.CONFIG
    if "bytes" in row:  # as the checkpoint's own index has it
        assert total(facts.tensors) == pytest.approx(row["bytes"], rel=1e-4)


def test_a_file_that_says_no_layers_is_no_model() -> None:
    assert architecture({}) is None
    assert architecture({"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "num_hidden_layers": 0}) is None
    with pytest.raises(SpecError) as caught:
        facts_of({"hello": "world"})
    assert caught.value.ref == "no-layers"


def test_an_unknown_family_is_read_as_dense_and_said_to_be_unknown() -> None:
    found = read(model_type="mystery", architectures=["MysteryForCausalLM"])
    assert not found.known
    assert {layer.mixer for layer in found.layers} == {Mixer.FULL}


def test_a_class_alone_tells_the_family() -> None:
    config = {key: value for key, value in LLAMA.items() if key not in ("model_type", "architectures")}
    for key, value in (("architectures", ["LlamaForCausalLM"]), ("architecture", "LlamaForCausalLM")):
        found = architecture({**config, key: value})
        assert found is not None
        assert found.known
        assert found.name == "LlamaForCausalLM"


def test_sliding_windows_count_only_where_they_are_used() -> None:
    qwen = {"model_type": "qwen2", "sliding_window": 4096}
    assert {layer.mixer for layer in read(**qwen, use_sliding_window=False).layers} == {Mixer.FULL}
    assert {layer.mixer for layer in read(**qwen).layers} == {Mixer.FULL}  # its class has it off
    below = read(**qwen, use_sliding_window=True, max_window_layers=28)
    assert [layer.mixer for layer in below.layers] == [Mixer.FULL] * 28 + [Mixer.SLIDING] * 4
    mistral = read(model_type="mistral", sliding_window=4096)
    assert {(layer.mixer, layer.window) for layer in mistral.layers} == {(Mixer.SLIDING, 4096)}


def test_defaults_of_a_nested_section_are_its_class_s() -> None:
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34, "intermediate_size": 10240}
    found = architecture({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"],
                          "text_config": text, "vision_config": {"hidden_size": 1152}})  # fmt: skip
    assert found is not None
    assert (found.layers[0].heads, found.layers[0].kv_heads, found.layers[0].head_size) == (8, 4, 256)
    assert (found.vocab, found.tied) == (262208, True)
    assert "num_attention_heads" not in found.unknown


def test_an_abridged_file_names_what_it_lacks() -> None:
    config = {key: LLAMA[key] for key in ("architectures", "num_hidden_layers", "num_key_value_heads")}
    found = architecture({**config, "head_dim": 128})
    assert found is not None
    assert {"hidden_size", "num_attention_heads", "vocab_size", "intermediate_size", "dtype"} <= set(found.unknown)
    assert found.positions is None  # its class's 2048 would be another model's
    assert found.layers[0].kv_heads == 8


@pytest.mark.parametrize(
    ("scaling", "positions", "rows"),
    [
        (None, 8192, 8192),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 2048}, 8192, 8192),
        ({"type": "linear", "factor": 4.0}, 32768, 32768),
        ({"type": "dynamic", "factor": 2.0}, 16384, 16384),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}, 32768, 32768),
        ({"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 2048}, 16384, 16384),
        ({"type": "longrope", "short_factor": [1], "long_factor": [1], "original_max_position_embeddings": 2048}, 8192,
         10240),
        ({"type": "mrope", "mrope_section": [16, 24, 24]}, 8192, 32768),
    ],
)  # fmt: skip
def test_rotary_scaling(scaling: object, positions: int, rows: int) -> None:
    found = read(rope_scaling=scaling)
    assert (found.positions, [(rope.positions, rope.dim) for rope in found.ropes]) == (positions, [(rows, 128)])


def test_part_of_a_head_may_turn() -> None:
    assert [rope.dim for rope in read(partial_rotary_factor=0.25).ropes] == [32]
    assert [rope.dim for rope in read(model_type="gpt_neox").ropes] == [32]


words = st.sampled_from(
    ["num_hidden_layers", "hidden_size", "num_attention_heads", "layer_types", "sliding_window", "text_config", "dtype",
     "rope_scaling", "num_experts", "model_type", "architectures", "head_dim", "quantization_config", "vision_config",
     "hybrid_override_pattern", "attn_layer_period", "block_configs", "intermediate_size", "kv_lora_rank"]
)  # fmt: skip
leaves = (
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=True)
    | st.sampled_from(["llama", "gemma3", "qwen3_5", "jamba", "nemotron_h", "M*E-", "full_attention", "yarn", ""])
)  # fmt: skip
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6), max_leaves=25
)


@given(st.dictionaries(words, trees, max_size=10))
def test_no_file_makes_it_fail(config: dict[str, object]) -> None:
    found = architecture(config)
    assert found is None or len(found.layers) > 0


@given(st.sampled_from(sorted(EXPECTED)), words, leaves)
def test_a_public_file_with_one_odd_value_is_read_or_refused(name: str, key: str, value: object) -> None:
    try:
        facts = facts_of({**public(name), key: value})
    except SpecError as error:
        assert error.hint  # noqa: PT017
    else:
        assert facts.tensors
