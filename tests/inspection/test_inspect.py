"""Models that can be served, and each way in which one cannot."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import pytest

from lyc.errors import SpecError
from lyc.inspection import inspect
from lyc.records.model import Listing, ModelFacts, ModelRef, SourceFile, SourceKind

CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "vocab_size": 3,
}
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1, "c": 2}}, "added_tokens": [{"id": 3, "content": "<s>"}]}


def safetensors(tensors: Mapping[str, tuple[str, list[int], int]]) -> bytes:
    rows, at = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        rows[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **rows}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


WEIGHTS = safetensors({"a": ("BF16", [4, 4], 32), "b": ("F32", [2], 8)})
WHOLE: dict[str, bytes] = {
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": json.dumps(TOKENIZER).encode(),
    "model.safetensors": WEIGHTS,
}


def look(files: Mapping[str, bytes], *refused: str) -> ModelFacts:
    listing = Listing(
        ModelRef(SourceKind.LOCAL, "/data/it's"),
        tuple(SourceFile(name, len(data)) for name, data in files.items()),
        refused,
    )

    def read(file: SourceFile, start: int, length: int | None) -> bytes:
        data = files[file.path]
        return data[start:] if length is None else data[start : start + length]

    return inspect(listing, read)


def without(*names: str) -> dict[str, bytes]:
    return {name: data for name, data in WHOLE.items() if name not in names}


def config(**changes: object) -> dict[str, bytes]:
    return {**WHOLE, "config.json": json.dumps({**CONFIG, **changes}).encode()}


def test_the_facts_of_a_plain_model() -> None:
    facts = look(WHOLE)
    assert facts.architectures == ("LlamaForCausalLM",)
    assert (facts.head_dim, facts.num_key_value_heads, facts.weights_bytes) == (16, 2, 40)
    assert facts.kv_bytes_per_token == 2 * 2 * 2 * 16 * 2
    assert facts.dtype == "bfloat16"
    assert facts.vocabulary is not None
    assert facts.unknown == ()


def test_a_nested_language_model_is_read_and_the_outer_architecture_kept() -> None:
    text = {key: value for key, value in CONFIG.items() if key != "architectures"}
    nested = {
        "architectures": ["Some"],
        "model_type": "some_vl",
        "text_config": text,
        "vision_config": {"hidden_size": 9},
    }
    facts = look({**WHOLE, "config.json": json.dumps(nested).encode()})
    assert facts.architectures == ("Some",)
    assert facts.hidden_size == 64
    assert facts.kv_bytes_per_token == look(WHOLE).kv_bytes_per_token


def test_the_dtype_comes_from_the_weights_when_config_names_none() -> None:
    facts = look(config(torch_dtype=None))
    assert facts.dtype == "bfloat16"


def test_what_is_not_known_is_none_and_said_so() -> None:
    facts = look(config(model_type="mystery", num_key_value_heads=None, hidden_size="64"))
    assert facts.num_key_value_heads is None
    assert facts.hidden_size is None
    assert facts.kv_bytes_per_token is None
    assert {"num_key_value_heads", "kv_bytes_per_token", "hidden_size"} <= set(facts.unknown)


def test_a_layer_with_another_kind_of_state_leaves_kv_bytes_unknown() -> None:
    assert look(config(layer_types=["linear_attention", "full_attention"])).kv_bytes_per_token is None
    assert look(config(layer_types=["sliding_attention", "full_attention"])).kv_bytes_per_token is not None


def test_latent_attention_keeps_one_compressed_vector() -> None:
    assert look(config(kv_lora_rank=512, qk_rope_head_dim=64)).kv_bytes_per_token == 2 * (512 + 64) * 2


def test_quantization_is_read_as_written() -> None:
    facts = look(config(quantization_config={"quant_method": "AWQ", "bits": 4}))
    assert facts.quantization == "awq"
    assert facts.quantization_detail == {"quant_method": "AWQ", "bits": 4}


def test_models_with_the_same_vocabulary_have_the_same_fingerprint() -> None:
    def facts(tokenizer: object, name: str = "tokenizer.json") -> ModelFacts:
        return look({**without("tokenizer.json"), "merges.txt": b"", name: json.dumps(tokenizer).encode()})

    base = facts(TOKENIZER).vocabulary
    tuned = {"model": {"vocab": {"c": 2, "a": 0, "b": 1}}, "added_tokens": []}
    other = {"model": {"vocab": {"a": 1, "b": 0, "c": 2}}}
    unigram = {"model": {"vocab": [["a", -1.0], ["b", -2.0], ["c", -3.0]]}}
    assert facts(tuned).vocabulary == base
    assert facts(unigram).vocabulary == base
    assert facts({"a": 0, "b": 1, "c": 2}, "vocab.json").vocabulary == base
    assert facts(other).vocabulary not in (base, None)
    assert facts({"model": {}}).vocabulary is None


def sharded(index: Mapping[str, object]) -> dict[str, bytes]:
    first, second = (f"model-0000{at}-of-00002.safetensors" for at in (1, 2))
    return {
        **without("model.safetensors"),
        first: WEIGHTS,
        second: WEIGHTS,
        "model.safetensors.index.json": json.dumps(index).encode(),
    }


def test_shards_are_added_up_by_their_index() -> None:
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    assert look(sharded({"weight_map": shards})).weights_bytes == 80


def broken(error: str, files: Mapping[str, bytes], *refused: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        look(files, *refused)
    assert caught.value.ref == error
    assert caught.value.hint
    return caught.value


def test_an_index_that_names_a_missing_shard() -> None:
    error = broken("missing-shard", sharded({"weight_map": {"a": "model-00009-of-00009.safetensors"}}))
    assert error.detail == ("model-00009-of-00009.safetensors",)


def test_no_config() -> None:
    broken("no-config", without("config.json"))
    broken("no-config", {})


def test_config_that_is_not_json_names_line_and_column() -> None:
    assert broken("invalid-json", {**WHOLE, "config.json": b'{\n  "a": 1,\n  oops\n}'}).where == "config.json:3:3"
    broken("invalid-json", {**WHOLE, "config.json": b"[]"})
    broken("invalid-json", {**WHOLE, "config.json": b"\xff\xfe\xff"})
    broken("invalid-json", {**WHOLE, "config.json": b"[" * 100_000})


def test_no_tokenizer_and_each_file_that_is_one() -> None:
    bare = without("tokenizer.json")
    broken("no-tokenizer", bare)
    broken("no-tokenizer", {**bare, "vocab.json": b"{}"})
    for name in ("tokenizer.model", "tekken.json"):
        assert look({**bare, name: b"x"}).vocabulary is None
    assert look({**bare, "vocab.json": b'{"a": 0}', "merges.txt": b""}).vocabulary


def test_no_weights_at_all() -> None:
    broken("no-weights", without("model.safetensors"))


def test_pickle_only_says_why_and_how_to_convert() -> None:
    error = broken("pickle-weights", without("model.safetensors"), "pytorch_model.bin")
    assert "executes" in error.why
    script = error.hint.split("<<'END'\n")[1].split("\nEND")[0]
    compile(script, "hint", "exec")
    assert "save_pretrained" in script


def test_gguf_only() -> None:
    broken("gguf-weights", {}, "model.Q4_K_M.gguf")
    broken("gguf-weights", without("model.safetensors"), "model.Q4_K_M.gguf")


def test_an_adapter_alone_names_its_base() -> None:
    files = {"adapter_config.json": b'{"base_model_name_or_path": "acme/base"}', "adapter_model.safetensors": WEIGHTS}
    assert "acme/base" in broken("adapter-only", files).why


def test_pickles_beside_safetensors_do_not_matter() -> None:
    assert look(WHOLE, "pytorch_model.bin").weights_bytes == 40


def test_weights_that_are_cut_short_anywhere() -> None:
    for size in range(len(WEIGHTS)):
        broken("truncated-weights", {**WHOLE, "model.safetensors": WEIGHTS[:size]})
