"""Numbers out of config.json. Absent or odd = None, never a guess.

Families write the same number under different names; a model of several parts (vision and language) nests the language
model's under `text_config`, `llm_config` or `language_config`. Where a family's configuration class has a default for
an absent key that is known here, it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lyc.records.architecture import Architecture, Mixer

_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")
_EQUAL_HEADS = {"llama", "gpt2", "gpt_neox", "gptj", "opt", "phi", "bloom"}
"""Families whose K/V heads are as many as the attention heads when config.json does not say (their config classes)."""

_BYTES = {
    "float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2, "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip
_FULL_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention", "attention"}
_OTHER_STATE = (
    "mamba_d_state",
    "ssm_state_size",
    "ssm_cfg",
    "linear_num_value_heads",
    "mamba_num_heads",
    "rwkv_version",
)


@dataclass(frozen=True, slots=True)
class Dimensions:
    """As in `lyc.records.model.ModelFacts`. kv_bytes_per_token is at the model's own dtype."""

    max_position_embeddings: int | None
    vocab_size: int | None
    hidden_size: int | None
    num_hidden_layers: int | None
    num_attention_heads: int | None
    num_key_value_heads: int | None
    head_dim: int | None
    num_mtp_layers: int
    dtype: str | None
    kv_bytes_per_token: int | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What class defaults add to what is written. pairs: K/V heads; size: of a head; None where layers differ."""

    pairs: int | None = None
    size: int | None = None
    token_bytes: int | None = None


def of_architecture(built: Architecture | None) -> Kept:
    """Of a model whose layers are known for sure and all keep each token's keys and values; else nothing."""
    if built is None or not built.known or built.unknown:
        return Kept()
    layers = [layer for layer in built.layers if layer.mixer is not Mixer.NONE]
    width = _BYTES.get(built.dtype)
    if width is None or any(layer.state or not layer.heads for layer in layers):
        return Kept()
    values = 0
    for layer in layers:
        latent = layer.latent
        if not layer.shares_kv:
            wide = layer.kv_heads * (layer.head_size + layer.value_head_size)
            values += latent.kv_rank + latent.rope if latent else wide
    pairs, sizes = {layer.kv_heads for layer in layers}, {layer.head_size for layer in layers}
    return Kept(pairs.pop() if len(pairs) == 1 else None, sizes.pop() if len(sizes) == 1 else None, values * width)


def language_config(config: Mapping[str, object]) -> Mapping[str, object]:
    """The part that describes the language model: the whole, or what is nested."""
    for key in _NESTED:
        nested = config.get(key)
        if isinstance(nested, Mapping):
            inner = nested.get("text_config")
            return inner if isinstance(inner, Mapping) else nested
    return config


def dimensions(config: Mapping[str, object], *, stored_dtype: str | None = None) -> Dimensions:
    """The numbers of `config`. stored_dtype: what the weights are stored in, for a config that names no dtype."""
    text = language_config(config)
    heads = _whole(text, "num_attention_heads", "n_head", "n_heads")
    hidden = _whole(text, "hidden_size", "n_embd", "d_model")
    head_dim = _whole(text, "head_dim")
    if head_dim is None and heads and hidden and hidden % heads == 0:
        head_dim = hidden // heads
    layers = _whole(text, "num_hidden_layers", "n_layer", "n_layers", "num_layers")
    kv_heads = _kv_heads(text, heads)
    dtype = _dtype(text) or _dtype(config) or stored_dtype
    return Dimensions(
        max_position_embeddings=_whole(
            text, "max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len"
        ),
        vocab_size=_whole(text, "vocab_size") or _whole(config, "vocab_size"),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        num_mtp_layers=_whole(text, "num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules") or 0,
        dtype=dtype,
        kv_bytes_per_token=_kv_bytes(text, layers, kv_heads, head_dim, _BYTES.get(dtype or "")),
    )


def _kv_heads(text: Mapping[str, object], heads: int | None) -> int | None:
    if (written := _whole(text, "num_key_value_heads", "num_kv_heads", "n_head_kv")) is not None:
        return written
    if text.get("multi_query") is True:
        return 1
    return heads if text.get("model_type") in _EQUAL_HEADS else None


def _kv_bytes(
    text: Mapping[str, object], layers: int | None, kv_heads: int | None, head_dim: int | None, width: int | None
) -> int | None:
    """Bytes for one token over all layers; None where a layer keeps another state than each token's keys and values."""
    kinds = text.get("layer_types")
    if any(text.get(key) is not None for key in _OTHER_STATE) or layers is None or width is None:
        return None
    if isinstance(kinds, list) and not set(map(str, kinds)) <= _FULL_ATTENTION:
        return None
    rank, rope = _whole(text, "kv_lora_rank"), _whole(text, "qk_rope_head_dim")
    if rank is not None:  # multi-head latent attention keeps one compressed vector and the rotary part
        return None if rope is None else layers * (rank + rope) * width
    if kv_heads is None or head_dim is None:
        return None
    return 2 * layers * kv_heads * head_dim * width


def _dtype(config: Mapping[str, object]) -> str | None:
    for key in ("dtype", "torch_dtype"):
        if isinstance(value := config.get(key), str) and value != "auto":
            return value.removeprefix("torch.")
    return None


def _whole(config: Mapping[str, object], *keys: str) -> int | None:
    """The first of `keys` that holds a whole number ≥ 0."""
    for key in keys:
        value = config.get(key)
        if type(value) is int and value >= 0:
            return value
    return None
