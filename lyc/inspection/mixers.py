"""How each layer mixes tokens: `patterns`' word for it → the numbers of `Layer`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lyc.inspection.settings import Settings
from lyc.records.architecture import Latent, Layer, Mixer, State

_MAMBA1 = frozenset({"jamba", "mamba", "falcon_mamba", "zamba", "plamo2"})
_LINEAR: Mapping[str, Mixer] = {
    "kimi_linear": Mixer.KIMI_DELTA, "minimax": Mixer.LIGHTNING, "minimax_text_01": Mixer.LIGHTNING,
    "minimax_m1": Mixer.LIGHTNING, "bailing_hybrid": Mixer.LIGHTNING, "bailing_moe_linear": Mixer.LIGHTNING,
}  # fmt: skip
_UNSIZED = frozenset({"deepseek_v4", "deepseek_ref"})
"""Families whose caches are of kinds that no word of `Mixer` names."""
_PURE = frozenset({"mamba", "mamba2", "falcon_mamba"})
_MQA = frozenset({"gpt_bigcode", "falcon", "refinedwebmodel"})


def head_size(text: Settings) -> int:
    """Of attention: as written, else hidden ÷ heads. Families with a class default have theirs."""
    if (written := text.whole("head_dim")) and text.model_type not in _PURE:
        return written
    hidden, heads = text.whole("attention_hidden_size") or text.whole("hidden_size"), text.whole("num_attention_heads")
    if text.model_type == "zamba2" and hidden and not text.writes("attention_hidden_size"):
        hidden *= 2  # attention sees the layer's input beside the embeddings
    if hidden and heads:
        return hidden // heads
    text.missing["head_dim"] = None
    return 0


def kv_heads(text: Settings, heads: int) -> int:
    """As written; one for multi-query; else as many as heads."""
    written = text.whole("num_key_value_heads")
    if text.model_type in _MQA and not text.flag("new_decoder_architecture"):
        if text.flag("multi_query", default=True):
            return 1
        return heads
    if text.get("multi_query") is True and written is None:
        return 1
    return written or heads


def mixers(text: Settings, words: tuple[str, ...] | None, count: int) -> tuple[Layer, ...]:
    """One `Layer` for each, its MLP still empty."""
    if text.model_type in _UNSIZED:
        text.missing["attention"] = None
        return (replace(_attention(text, Mixer.FULL), mixer=Mixer.UNKNOWN),) * count
    if text.model_type in _PURE:
        return (Layer(_mamba(text), state=_state(text)),) * count
    if words is None:
        words = (_uniform(text),) * count
        words = _below_window(text, words)
    made = {word: _layer(text, word) for word in dict.fromkeys(words)}
    layers = tuple(made[word] for word in words)
    if text.flag("use_cla") and (every := text.whole("cla_share_factor")):  # Hunyuan
        return tuple(replace(one, shares_kv=at % every != 0) for at, one in enumerate(layers))
    shared = text.whole("num_kv_shared_layers") or 0  # Gemma 3n: the last ones read an earlier layer's cache
    return tuple(replace(one, shares_kv=at >= count - shared) for at, one in enumerate(layers)) if shared else layers


def _uniform(text: Settings) -> str:
    window = text.whole("sliding_window")
    if text.get("use_sliding_window") is False or not window:
        return "full_attention"
    return "sliding_attention"


def _below_window(text: Settings, words: tuple[str, ...]) -> tuple[str, ...]:
    """Qwen: with `use_sliding_window` the first `max_window_layers` see all."""
    first = text.whole("max_window_layers")
    if first is None or not text.flag("use_sliding_window"):
        return words
    return tuple("full_attention" if at < first else word for at, word in enumerate(words))


def _layer(text: Settings, word: str) -> Layer:
    match word:
        case "full_attention":
            return _attention(text, Mixer.FULL)
        case "sliding_attention":
            return _attention(text, Mixer.SLIDING, text.whole("sliding_window") or text.whole("sliding_window_size"))
        case "chunked_attention":
            return _attention(text, Mixer.CHUNKED, text.whole("attention_chunk_size"))
        case "linear_attention":
            return Layer(_LINEAR.get(text.model_type, Mixer.GATED_DELTA), state=_linear(text))
        case "mamba":
            return Layer(_mamba(text), state=_state(text))
        case "hybrid":
            return replace(_attention(text, Mixer.FULL), state=_state(text))
        case "conv":
            kernel = text.whole("conv_L_cache") or text.need("conv_kernel")
            return Layer(Mixer.SHORT_CONV, state=State(1, text.need("hidden_size"), 0, 1, kernel))
        case "moe" | "mlp":
            return Layer(Mixer.NONE)
        case _:
            text.missing[f"layer_types={word}"] = None
            return replace(_attention(text, Mixer.UNKNOWN))


def _attention(text: Settings, mixer: Mixer, window: int | None = None) -> Layer:
    if (rank := text.whole("kv_lora_rank")) and text.whole("qk_rope_head_dim") is not None:
        return _latent(text, rank)
    if mixer is Mixer.SLIDING and window is None:
        mixer = Mixer.FULL
    heads, size = text.need("num_attention_heads"), head_size(text)
    pair = kv_heads(text, heads)
    if mixer is Mixer.SLIDING:  # MiMo and Step write other numbers for these layers
        heads = text.whole("swa_num_attention_heads") or heads
        pair = text.whole("swa_num_key_value_heads") or pair
        size = text.whole("swa_head_dim") or size
        value = text.whole("swa_v_head_dim") or text.whole("v_head_dim")
        return Layer(mixer, heads, pair, size, value or size, window)
    if mixer is Mixer.FULL and text.model_type == "gemma4_text":
        rows = (row for row in text.section("per_layer_config").values() if isinstance(row, Mapping))
        own = text.below(next(rows, {}), "")  # as newer versions write what follows
        size = own.whole("head_dim") or text.whole("global_head_dim") or 512  # its class declares no default
        if text.flag("attention_k_eq_v"):
            pair = own.whole("num_key_value_heads") or text.whole("num_global_key_value_heads") or pair
    value = text.whole("v_head_dim")
    return Layer(mixer, heads, pair, size, value or size, window)


def _latent(text: Settings, rank: int) -> Layer:
    rope, nope = text.need("qk_rope_head_dim"), text.need("qk_nope_head_dim")
    value, heads = text.need("v_head_dim"), text.need("num_attention_heads")
    index = text.whole("index_n_heads") or 0
    latent = Latent(
        rank, rope, nope, value, text.whole("q_lora_rank") or None,
        index, (text.whole("index_head_dim") or 0) if index else 0, (text.whole("index_topk") or 0) if index else 0,
    )  # fmt: skip
    if text.model_type == "minicpm3":  # the engine unfolds its keys and values, and pads these to the keys' size
        return Layer(Mixer.FULL, heads, heads, nope + rope, nope + rope, latent=latent)
    kind = Mixer.SPARSE_LATENT if index else Mixer.LATENT
    return Layer(kind, heads, heads, nope + rope, value, latent=latent)


def _mamba(text: Settings) -> Mixer:
    return Mixer.MAMBA1 if text.model_type in _MAMBA1 else Mixer.MAMBA2


def _state(text: Settings) -> State:
    """Mamba's dimensions. Mamba 1 has no heads: its inner width counts as one head."""
    hidden, expand = text.need("hidden_size"), text.number("expand") or 2
    inner = text.whole("mamba_d_ssm") or text.whole("mamba_intermediate") or int(hidden * expand)
    size = text.need("state_size")
    dtype = text.text("mamba_ssm_cache_dtype") or text.text("mamba_ssm_dtype")
    kernel = text.whole("conv_kernel") or 4
    if _mamba(text) is Mixer.MAMBA1:
        inner = text.whole("intermediate_size") or inner if text.model_type in _PURE else inner
        return State(1, inner, size, 1, kernel, dtype)
    heads = text.whole("mamba_heads") or (text.whole("num_heads") if text.model_type in _PURE else None)
    width = text.whole("mamba_head_dim") or (text.whole("head_dim") if text.model_type in _PURE else None)
    if not heads and width:
        heads = inner // width
    if not heads:
        heads = text.need("mamba_heads")
    if not width:
        width = inner // heads if heads else 0
    return State(heads, width, size, text.whole("n_groups") or 1, kernel, dtype)


def _linear(text: Settings) -> State:
    """Of linear attention: gated delta nets by their value heads, Kimi's delta and Lightning by their own."""
    match _LINEAR.get(text.model_type, Mixer.GATED_DELTA):
        case Mixer.KIMI_DELTA:
            own = text.below(text.section("linear_attn_config"), "")
            heads = own.whole("num_heads") or text.need("linear_num_heads")
            size = own.whole("head_dim") or text.need("linear_head_dim")
            kernel = own.whole("short_conv_kernel_size") or text.whole("conv_kernel") or 4
            return State(heads, size, size, heads, kernel)
        case Mixer.LIGHTNING:
            heads, size = text.need("num_attention_heads"), head_size(text)
            return State(heads, size, size, heads, 0, "float32")
        case _:
            return State(
                text.need("linear_num_value_heads"), text.need("linear_value_head_dim"),
                text.need("linear_key_head_dim"), text.need("linear_num_key_heads"), text.whole("conv_kernel") or 4,
                text.text("mamba_ssm_dtype"),
            )  # fmt: skip
