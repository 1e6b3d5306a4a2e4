"""Models whose file describes each layer by itself (`block_configs`): those that Nemotron's search made of Llama."""

from __future__ import annotations

from collections.abc import Mapping

from lyc.inspection.mixers import head_size
from lyc.inspection.settings import Settings
from lyc.records.architecture import Layer, Mixer


def blocks(text: Settings) -> tuple[Layer, ...] | None:
    """The layers as written one by one; None for models that are not described so."""
    rows = text.listing("block_configs")
    if text.model_type != "nemotron-nas" or not rows or not all(isinstance(row, Mapping) for row in rows):
        return None
    made: dict[str, Layer] = {}
    for row in rows:
        made.setdefault(str(row), _layer(text, text.below(row if isinstance(row, Mapping) else {}, "")))
    return tuple(made[str(row)] for row in rows)


def _layer(text: Settings, row: Settings) -> Layer:
    attention, mlp = row.below(row.section("attention"), ""), row.below(row.section("ffn"), "")
    width = 0 if mlp.flag("no_op") else _width(text, mlp)
    group = attention.whole("n_heads_in_group")
    if attention.flag("no_op") or not group:
        return Layer(Mixer.NONE, intermediate=width)
    heads, size = text.need("num_attention_heads"), head_size(text)
    return Layer(Mixer.FULL, heads, heads // group, size, size, intermediate=width)


def _width(text: Settings, mlp: Settings) -> int:
    """By vllm/model_executor/models/nemotron_nas.py, 0.19.0: two thirds of a multiple, rounded up to 256."""
    if (written := mlp.whole("intermediate_size")) is not None:
        return written
    width = int(2 * (mlp.number("ffn_mult") or 0) * text.need("hidden_size") / 3)
    return -(-width // 256) * 256
