"""SmolLM2-135M-Instruct from GGUF to the folder that engines take; or a tiny random Llama with its tokenizer.

    python gguf_convert.py FILE.gguf OUT [--tiny]

Runs in an interpreter of its own that has numpy and gguf, which lyc itself does without; so it imports nothing of lyc.
The same input gives the same bytes everywhere: only integers, IEEE single precision and `Random.randbytes`, whose
output Python promises to keep, take part.

Names of the format's keys and tensors: gguf-py/gguf/constants.py of llama.cpp. Layout of the result: transformers'
LlamaConfig and PreTrainedTokenizerFast.
"""

from __future__ import annotations

import json
import random
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

Tensor = tuple[str, tuple[int, ...], Callable[[], NDArray[np.float32]]]
"""Name, shape, and how to get the values: one tensor at a time is in memory."""

_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_CONTROL_TOKEN = 3
_TINY = {
    # A head_dim of 32 is the smallest that the engine's attention takes on CPU.
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "rope_theta": 10000.0,
}  # fmt: skip


def main(source: str, target: str, *flags: str) -> None:
    """Write config.json, the tokenizer's files and model.safetensors (bf16) into `target`, which is made."""
    out = Path(target)
    out.mkdir(parents=True)
    reader = GGUFReader(source)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    config = _config(fields)
    if "--tiny" in flags:
        config |= _TINY
        tensors = list(_random_tensors(config))
    else:
        tensors = list(_read_tensors(reader, config))
    _write_json(out / "config.json", config)
    specials = {f"{name}_token_id": config[f"{name}_token_id"] for name in ("bos", "eos", "pad")}
    _write_json(out / "generation_config.json", {"_from_model_config": True, **specials})
    _write_tokenizer(out, fields, config["max_position_embeddings"])
    _write_safetensors(out / "model.safetensors", tensors)


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": 1e-05,
        "rope_theta": float(fields["llama.rope.freq_base"]),
        "vocab_size": fields["llama.vocab_size"],
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "use_cache": True,
        "torch_dtype": "bfloat16",
    }


def _read_tensors(reader: GGUFReader, config: dict[str, Any]) -> Iterator[Tensor]:
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for stored in reader.tensors:
        shape = tuple(int(side) for side in reversed(stored.shape))
        if stored.name == "token_embd.weight":
            name, kind = "model.embed_tokens.weight", ""
        elif stored.name == "output_norm.weight":
            name, kind = "model.norm.weight", ""
        else:
            _, layer, kind, _ = stored.name.split(".")
            name = f"model.layers.{layer}.{_NAMES[kind]}.weight"
        yield name, shape, _values(stored, heads.get(kind))


def _values(stored: Any, heads: int | None) -> Callable[[], NDArray[np.float32]]:
    def values() -> NDArray[np.float32]:
        found: NDArray[np.float32] = dequantize(stored.data, stored.tensor_type)
        return found if heads is None else _unpermuted(found, heads)

    return values


def _unpermuted(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """llama.cpp stores the rows of q and k interleaved for its rotary embedding; transformers wants them in halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _random_tensors(config: dict[str, Any]) -> Iterator[Tensor]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    chance = random.Random(0)  # noqa: S311  (weights, no secrets)

    def noise(*shape: int) -> tuple[tuple[int, ...], Callable[[], NDArray[np.float32]]]:
        """Uniform, with a standard deviation of about 0.05."""

        def values() -> NDArray[np.float32]:
            raw = np.frombuffer(chance.randbytes(2 * shape[0] * shape[1]), dtype="<u2").reshape(shape)
            return (raw.astype(np.float32) - np.float32(32767.5)) * np.float32(0.0866 / 32767.5)

        return shape, values

    def ones() -> tuple[tuple[int, ...], Callable[[], NDArray[np.float32]]]:
        return (hidden,), lambda: np.ones(hidden, dtype=np.float32)

    yield "model.embed_tokens.weight", *noise(config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        here = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{here}{norm}.weight", *ones()
        for part in "qkvo":
            yield f"{here}self_attn.{part}_proj.weight", *noise(hidden, hidden)
        yield f"{here}mlp.gate_proj.weight", *noise(inner, hidden)
        yield f"{here}mlp.up_proj.weight", *noise(inner, hidden)
        yield f"{here}mlp.down_proj.weight", *noise(hidden, inner)
    yield "model.norm.weight", *ones()


def _write_safetensors(path: Path, tensors: list[Tensor]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape, _ in tensors:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, values in tensors:
            file.write(_bfloat16(values()))


def _bfloat16(values: NDArray[np.float32]) -> bytes:
    """The upper halves, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return rounded.astype("<u2").tobytes()


def _write_tokenizer(out: Path, fields: dict[str, Any], longest: int) -> None:
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [
        {"id": at, "content": text, **flags}
        for at, (text, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind == _CONTROL_TOKEN
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": {text: at for at, text in enumerate(tokens)},
        "merges": [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]],
    }
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, level]},
        "post_processor": None,
        "decoder": level | {"add_prefix_space": True},
        "model": model,
    }
    _write_json(out / "tokenizer.json", document)
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    specials = {f"{ours}_token": tokens[fields[f"tokenizer.ggml.{theirs}_token_id"]] for ours, theirs in names.items()}
    _write_json(out / "special_tokens_map.json", specials)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "chat_template": fields["tokenizer.chat_template"],
        **specials,
        "added_tokens_decoder": {
            str(row["id"]): {key: value for key, value in row.items() if key != "id"} for row in added
        },
    }
    _write_json(out / "tokenizer_config.json", settings)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
