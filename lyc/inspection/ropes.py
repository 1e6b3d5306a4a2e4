"""Tables of rotary positions as vLLM allocates them, and the longest text that it derives.

Rows by vllm/model_executor/layers/rotary_embedding, 0.19.0: `get_rope` and the classes it chooses. Equal tables are
allocated once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lyc.inspection.settings import Settings
from lyc.records.architecture import Layer, Mixer, Rope

_NONE = frozenset({
    "jamba", "nemotron_h", "nemotron_h_puzzle", "mamba", "mamba2", "falcon_mamba", "gpt2", "opt", "bloom", "mpt",
    "gpt_bigcode", "kimi_linear", "whisper", "zamba", "jais",
})  # fmt: skip
_HALF = {
    "stablelm": 0.25, "phi": 0.5, "glm": 0.5, "glm4": 0.5, "glm4_moe": 0.5, "glm4v_text": 0.5, "nemotron": 0.5,
    "persimmon": 0.5, "gpt_neox": 0.25, "qwen3_next": 0.25, "qwen3_5_text": 0.25, "qwen3_5_moe_text": 0.25,
    "bamba": 0.5, "chatglm": 0.5, "glm4v_moe_text": 0.5,
}  # fmt: skip
"""Part of the head that turns, where the file does not say: defaults of their configuration classes."""
_MROPE = frozenset({
    "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text", "qwen3_5_text",
    "qwen3_5_moe_text", "qwen2_5_omni_text", "glm4v_text", "glm4v_moe_text", "qwen3_omni_moe_text",
})  # fmt: skip
_UNSCALED = ("su", "longrope", "llama3")
_LENGTHS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_target_positions",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip


def positions(text: Settings) -> int | None:
    """As vllm/config/model.py `_get_and_verify_max_len`, 0.19.0. None where nothing says (the engine takes 2048)."""
    found = [value for key in _LENGTHS if (value := text.whole(key))]
    base: float | None = text.whole("model_max_length") or (min(found) if found else None)
    if base is None or "gemma3" in text.model_type:
        return None if base is None else int(base)
    factor = 1.0
    for one in parameters(text).values():
        kind = rope_type(one)
        if kind not in _UNSCALED:
            factor = _number(one, "factor") or factor
            if kind == "yarn":
                base = _number(one, "original_max_position_embeddings") or base
    return int(base * factor)


def parameters(text: Settings) -> dict[str, Mapping[str, object]]:
    """Rotary parameters by layer type; one for all is named ''."""
    found = text.section("rope_parameters") or text.section("rope_scaling")
    nested = {str(key): value for key, value in found.items() if isinstance(value, Mapping)}
    return nested or ({"": found} if found else {})


def rope_type(one: Mapping[str, object]) -> str:
    return str(one.get("rope_type") or one.get("type") or "default")


def ropes(text: Settings, layers: tuple[Layer, ...]) -> tuple[Rope, ...]:
    """The distinct tables of the decoder."""
    length = text.whole("max_position_embeddings") or text.whole("max_sequence_length") or positions(text) or 8192
    if text.model_type in _NONE or text.text("position_embedding_type") in ("nope", "absolute") or text.flag("alibi"):
        return ()
    return tuple(dict(_tables(text, layers, length)).values())


def _tables(text: Settings, layers: tuple[Layer, ...], length: int) -> Iterator[tuple[object, Rope]]:
    """Each table with what it depends on: those that depend on the same are one."""
    found = parameters(text)
    whole = found.get("") or found.get("full_attention") or next(iter(found.values()), {})
    for layer in dict.fromkeys(layers):
        match layer.mixer:
            case Mixer.LATENT | Mixer.SPARSE_LATENT if layer.latent:
                rope = Rope(_rows(text, whole, length), layer.latent.rope)
                yield rope, rope
                if layer.latent.index_heads:  # the index turns its halves, attention its pairs
                    yield ("index", rope), rope
            case Mixer.FULL if layer.latent:
                rope = Rope(_rows(text, whole, length), layer.latent.rope)
                yield rope, rope
            case Mixer.FULL | Mixer.CHUNKED | Mixer.UNKNOWN if layer.heads:
                rope = Rope(_rows(text, whole, length), _dim(text, whole, layer.head_size))
                yield (rope, rope_type(whole), _theta(text, whole)), rope
            case Mixer.SLIDING:
                one = _local(text, found, whole)
                rope = Rope(_rows(text, one, length), _dim(text, one, layer.head_size))
                base = text.get("rope_local_base_freq") or text.get("swa_rope_theta") or _theta(text, one)
                unlike = "local" if text.model_type in _LOCAL else base
                yield (rope, rope_type(one), unlike), rope


_LOCAL = frozenset({"gemma3_text", "gemma3n_text", "gemma4_text"})
"""Families whose sliding layers turn at a base of their own, without the scaling of the others."""


def _local(
    text: Settings, found: Mapping[str, Mapping[str, object]], whole: Mapping[str, object]
) -> Mapping[str, object]:
    """Parameters of sliding layers."""
    if (own := found.get("sliding_attention")) is not None:
        return own
    return {} if text.model_type in _LOCAL or text.model_type in ("olmo2", "olmo3") else whole


def _theta(text: Settings, one: Mapping[str, object]) -> object:
    return one.get("rope_theta") or text.get("rope_theta")


def _rows(text: Settings, one: Mapping[str, object], length: int) -> int:
    factor = _number(one, "factor") or 1.0
    original = _number(one, "original_max_position_embeddings") or text.whole("original_max_position_embeddings")
    turned = 4 if "mrope_section" in one or (text.model_type in _MROPE and rope_type(one) == "default") else 1
    match rope_type(one):
        case "yarn" | "deepseek_yarn" | "deepseek_llama_scaling":
            base = int(original or length)
            return base * 4 if turned == 4 else int(base * factor)
        case "linear":
            return int(length * factor)
        case "dynamic":
            return int(length * factor) if "alpha" not in one else length
        case "su" | "longrope":
            return int(original or length) + length
        case _:
            return length * turned


def _dim(text: Settings, one: Mapping[str, object], size: int) -> int:
    if rope_type(one) == "proportional":  # Gemma 4: the others are turned by nothing, but stand in the table
        return size
    part = _number(one, "partial_rotary_factor") or text.number("partial_rotary_factor")
    if part is None and (rotary := text.whole("rotary_dim")):
        return rotary
    return int(size * (part if part is not None else _HALF.get(text.model_type, 1.0)))


def _number(one: Mapping[str, object], key: str) -> float | None:
    value = one.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
