"""What sets families apart that config.json does not write: names and shapes of the tensors of a layer.

A family is the model type of its language model; `data/families.json` has a row for each, which says in what it
differs from `Family()`, or from the one it is `like`. Source: the modelling files of Transformers 5.19 and vLLM 0.19;
checked against checkpoints that Transformers wrote, and against published totals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Family:
    """Names are relative to what stands around them: `model` to the file, most others to the layer.

    qkv_bias, out_bias, mlp_bias, head_bias: the key that switches it, "yes" or "". norms: of each layer.
    names: of the projections of queries, keys, values and the output (fused `qkv`: under the first).
    qk_norm: "" | "head" (one head long) | "wide" (all heads long) | "heads" (one for each head), under `qk_names`;
    qk_key: the key that switches it. fused: modules that the checkpoint stores as one (`qkv`, `gate_up`). turned:
    inputs stand before outputs. packed: experts of a layer stand in one tensor; packed_turned, packed_flat: how.
    keeps_shared: layers that read another's cache still store keys and values. extras, ends: parameters of a layer,
    of the model, as (name, shape, when), written as `lyc.inspection.tensors.shapes` tells. tied: what an absent
    `tie_word_embeddings` means where no class says. mtp: layers for multi-token prediction where no key says, -1 =
    none are published, whatever it says; mtp_style: "layers" (numbered on) | "mtp" (of its own).
    """

    model: str = "model."
    head: str = "lm_head"
    head_bias: str = ""
    embed: str = "embed_tokens"
    layers: str = "layers"
    final_norm: str = "norm"
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    norm_bias: bool = False
    attention: str = "self_attn."
    names: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    qkv_bias: str = "attention_bias"
    out_bias: str = "attention_bias"
    qk_norm: str = ""
    qk_key: str = ""
    qk_names: tuple[str, ...] = ("q_norm", "k_norm")
    fused: tuple[str, ...] = ()
    turned: bool = False
    gated_query: bool = False
    keeps_shared: bool = False
    state: str = "mamba."
    mlp: str = "mlp."
    mlp_names: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    mlp_bias: str = "mlp_bias"
    moe: str = "mlp."
    expert_names: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    expert_bias: bool = False
    packed: bool = False
    packed_turned: bool = False
    packed_flat: bool = False
    router: str = ""
    router_bias: str = ""
    router_bias_key: str = ""
    router_bias_dtype: str = ""
    shared: str = ""
    shared_names: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    shared_gate: str = ""
    extras: tuple[tuple[str, ...], ...] = ()
    ends: tuple[tuple[str, ...], ...] = ()
    tied: bool = True
    mtp: int = 0
    mtp_style: str = "layers"
    mtp_extras: str = ""


_FIELDS = frozenset(one.name for one in fields(Family))


@cache
def _rows() -> Mapping[str, Mapping[str, object]]:
    text = resources.files("lyc.inspection").joinpath("data/families.json").read_text("utf-8")
    loaded: Mapping[str, Mapping[str, object]] = json.loads(text)
    return loaded


@cache
def family(model_type: str) -> Family | None:
    """The row of a model type; None for one that is not known here."""
    if model_type not in _rows():
        return None
    return Family(**_values(model_type))  # type: ignore[arg-type]


def _values(model_type: str) -> dict[str, object]:
    row = _rows()[model_type]
    like = row.get("like")
    values = _values(like) if isinstance(like, str) else {}
    return {**values, **{key: _frozen(value) for key, value in row.items() if key in _FIELDS}}


def _frozen(value: object) -> object:
    if isinstance(value, list):
        return tuple(_frozen(one) for one in value)
    return value
