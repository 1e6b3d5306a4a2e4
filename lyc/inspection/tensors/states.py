"""The parameters of recurrent layers, in Hugging Face's names."""

from __future__ import annotations

from lyc.inspection.families import Family
from lyc.inspection.settings import Settings
from lyc.inspection.tensors.parts import Bare, Linear, Part, norm
from lyc.records.architecture import Layer, Mixer, State


def state(text: Settings, row: Family, layer: Layer, at: str) -> list[Part]:
    """Of one layer under the prefix of the layer. Nothing for layers without a state."""
    found = layer.state
    if found is None:
        return []
    hidden = text.need("hidden_size")
    match layer.mixer:
        case Mixer.MAMBA1:
            return _mamba1(text, found, hidden, at + row.state)
        case Mixer.MAMBA2 | Mixer.FULL:
            return _mamba2(text, found, hidden, at + row.state)
        case Mixer.GATED_DELTA:
            return _gated_delta(text, found, hidden, at + "linear_attn.")
        case Mixer.KIMI_DELTA:
            return _kimi_delta(found, hidden, at + "self_attn.")
        case Mixer.LIGHTNING:
            return _lightning(found, hidden, at + "self_attn.")
        case Mixer.SHORT_CONV:
            return _short_conv(text, found, hidden, at + "conv.")
        case _:
            return []


def _mamba1(text: Settings, found: State, hidden: int, at: str) -> list[Part]:
    inner, size = found.heads * found.head_size, found.state_size
    rank = text.whole("mamba_dt_rank") or text.whole("time_step_rank") or -(-hidden // 16)
    bias = text.flag("use_bias") or text.flag("mamba_proj_bias")
    parts: list[Part] = [
        Linear(at + "in_proj", 2 * inner, hidden, bias), Bare(at + "conv1d.weight", (inner, 1, found.conv_kernel)),
        Bare(at + "conv1d.bias", (inner,)), Linear(at + "x_proj", rank + 2 * size, inner),
        Linear(at + "dt_proj", inner, rank, True), Bare(at + "A_log", (inner, size), "F32"),
        Bare(at + "D", (inner,), "F32"), Linear(at + "out_proj", hidden, inner, bias),
    ]  # fmt: skip
    if text.model_type == "jamba":
        for name, width in (("dt_layernorm", rank), ("b_layernorm", size), ("c_layernorm", size)):
            parts += norm(at + name, width)
    return parts


def _mamba2(text: Settings, found: State, hidden: int, at: str) -> list[Part]:
    inner = found.heads * found.head_size
    mixed = inner + 2 * found.groups * found.state_size
    bias = text.flag("mamba_proj_bias") or text.flag("use_bias") or text.flag("add_bias_linear")
    parts: list[Part] = [
        Linear(at + "in_proj", inner + mixed + found.heads, hidden, bias),
        Bare(at + "conv1d.weight", (mixed, 1, found.conv_kernel)), Bare(at + "dt_bias", (found.heads,)),
        Bare(at + "A_log", (found.heads,)), Bare(at + "D", (found.heads,)),
        Linear(at + "out_proj", hidden, inner, bias),
    ]  # fmt: skip
    if text.flag("mamba_conv_bias", default=True) and text.flag("use_conv_bias", default=True):
        parts.append(Bare(at + "conv1d.bias", (mixed,)))
    if text.model_type != "falcon_h1" or text.flag("mamba_rms_norm"):
        parts += norm(at + "norm", inner)
    return parts


def _gated_delta(text: Settings, found: State, hidden: int, at: str) -> list[Part]:
    keys, values = found.groups * found.state_size, found.heads * found.head_size
    parts: list[Part]
    if text.model_type == "qwen3_next":
        parts = [
            Linear(at + "in_proj_qkvz", 2 * keys + 2 * values, hidden),
            Linear(at + "in_proj_ba", 2 * found.heads, hidden),
        ]
    else:
        parts = [
            Linear(at + "in_proj_qkv", 2 * keys + values, hidden), Linear(at + "in_proj_z", values, hidden),
            Linear(at + "in_proj_b", found.heads, hidden), Linear(at + "in_proj_a", found.heads, hidden),
        ]  # fmt: skip
    return [
        *parts, Bare(at + "conv1d.weight", (2 * keys + values, 1, found.conv_kernel)),
        Bare(at + "dt_bias", (found.heads,)), Bare(at + "A_log", (found.heads,)), *norm(at + "norm", found.head_size),
        Linear(at + "out_proj", hidden, values),
    ]  # fmt: skip


def _kimi_delta(found: State, hidden: int, at: str) -> list[Part]:
    inner, size = found.heads * found.head_size, found.head_size
    parts: list[Part] = []
    for letter in "qkv":
        parts += [
            Linear(f"{at}{letter}_proj", inner, hidden),
            Bare(f"{at}{letter}_conv1d.weight", (inner, 1, found.conv_kernel)),
        ]
    return [
        *parts, Bare(at + "A_log", (1, 1, found.heads, 1), "F32"), Bare(at + "dt_bias", (inner,), "F32"),
        Linear(at + "f_a_proj", size, hidden), Linear(at + "f_b_proj", inner, size),
        Linear(at + "b_proj", found.heads, hidden), Linear(at + "g_a_proj", size, hidden),
        Linear(at + "g_b_proj", inner, size), *norm(at + "o_norm", size), Linear(at + "o_proj", hidden, inner),
    ]  # fmt: skip


def _lightning(found: State, hidden: int, at: str) -> list[Part]:
    inner = found.heads * found.head_size
    return [
        Linear(at + "qkv_proj", 3 * inner, hidden), Linear(at + "output_gate", inner, hidden),
        Linear(at + "out_proj", hidden, inner), *norm(at + "norm", inner),
    ]  # fmt: skip


def _short_conv(text: Settings, found: State, hidden: int, at: str) -> list[Part]:
    bias = text.flag("conv_bias")
    parts: list[Part] = [
        Linear(at + "in_proj", 3 * hidden, hidden, bias), Bare(at + "conv.weight", (hidden, 1, found.conv_kernel)),
        Linear(at + "out_proj", hidden, hidden, bias),
    ]  # fmt: skip
    return [*parts, Bare(at + "conv.bias", (hidden,))] if bias else parts
