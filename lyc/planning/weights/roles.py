"""From a tensor's name in the checkpoint to what vLLM makes of it: which module it joins, and how ranks share it.

The rules are those of vLLM's model classes (`vllm/model_executor/models/*.py`, 0.19.0: which of `QKVParallelLinear`,
`MergedColumnParallelLinear`, `RowParallelLinear`, `ReplicatedLinear`, `VocabParallelEmbedding`, `FusedMoE` each name
is given), read over all models at once: the same name means the same thing in nearly every one of them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache


class Region(enum.StrEnum):
    """Which part of a model a tensor belongs to. DROPPED: vLLM never loads it."""

    TEXT = "text"
    TOWER = "tower"
    MTP = "mtp"
    DROPPED = "dropped"


class Kind(enum.StrEnum):
    """What a person cares about when weights are split up."""

    EMBEDDING = "embedding"
    ATTENTION = "attention"
    MLP = "mlp"
    EXPERTS = "experts"
    TOWER = "tower"
    REST = "rest"


class Rule(enum.StrEnum):
    """How the ranks of tensor parallelism share a tensor.

    COLUMN: outputs divided; ROW: inputs divided; KEY_VALUE: outputs by KV heads, none less than one; QKV: query, key
    and value in one tensor; VOCABULARY: rows, padded to 64; MAMBA_IN, MAMBA_CONV: Mamba 2's, whose groups may be
    copied; WHOLE: each rank has all of it. GUESS: a name that lyc does not know.
    """

    COLUMN = "column"
    ROW = "row"
    KEY_VALUE = "key-value"
    QKV = "qkv"
    VOCABULARY = "vocabulary"
    MAMBA_IN = "mamba-in"
    MAMBA_CONV = "mamba-conv"
    WHOLE = "whole"
    GUESS = "guess"


@dataclass(frozen=True, slots=True)
class Role:
    """A tensor's place. module: vLLM's name, the same for tensors that become one. leaf: `weight`, `bias`, `scales` …

    linear: it is a matrix of a linear layer, so quantization while loading applies to it. packed: all experts of a
    layer stand in this one tensor. order: of allocation inside a layer.
    """

    region: Region
    kind: Kind
    rule: Rule
    module: str
    leaf: str
    linear: bool
    packed: bool
    order: int


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LEAVES = _words(
    "weight bias qweight qzeros scales g_idx weight_packed weight_scale weight_scale_inv weight_zero_point "
    "weight_shape weight_g_idx weight_scale_2 weight_scale2 weight_global_scale input_global_scale input_scale "
    "input_amax output_scale k_scale v_scale q_scale prob_scale kv_scale activation_scale weight_scb SCB "
    "e_score_correction_bias weight_chan_scale"
)
_TOWERS = _words(
    "visual vision_tower vision_model vision_encoder vision_language_adapter vision_projection vision_adapter vision "
    "vit vision_backbone image_newline multi_modal_projector mm_projector merger patch_merger pre_mm_projector_norm "
    "embed_vision embed_audio audio_tower audio_model audio_encoder audio_projector audio_adapter audio_projection "
    "aligner connector mlp1 resampler vpm apm sam_model perceiver speech_encoder sound_encoder img_projector "
    "image_projection img_processor audio_embed image_embed vision_embed_tokens modality_projection encoder_projector "
    "whisper_encoder linear_patch patch_embedding"
)
_DROPPED = _words(
    "talker token2wav rotary_emb inv_freq num_batches_tracked masked_bias weight_shape k_scale v_scale q_scale "
    "prob_scale kv_scale output_scale input_amax"
)
_MTP = _words("mtp mtp_block nextn mtp_layers eh_proj enorm hnorm shared_head")
_QUERY = _words("q_proj query wq linear_q q")
_KEY_VALUE = _words("k_proj v_proj key value wk wv linear_k linear_v k v k_proj_fp8")
_QKV = _words("qkv_proj qkv Wqkv W_pack c_attn query_key_value wqkv attn_qkv_proj in_proj_weight")
_GATE_UP = _words("gate_proj up_proj w1 w3 gate_up_proj fc13 linear_fc1_gate up_gate_proj input_linear")
_COLUMN = _words(
    "fc1 c_fc dense_h_to_4h fc_in q_b_proj kv_b_proj linear_fc1 linear_1 w_in g_proj b_proj a_proj f_b_proj g_b_proj "
    "in_proj_qkvz in_proj_qkv in_proj_z in_proj_ba in_proj_b in_proj_a dt_proj A_log D A dt_bias sinks sink "
    "per_layer_model_projection conv1d q_conv1d k_conv1d v_conv1d c_fc2 gate linear_in output_gate conv fc"
)
_ROW = _words(
    "o_proj out_proj down_proj w2 dense dense_4h_to_h c_proj fc2 wo Wo linear_fc2 linear_2 attn_out fc_out x_proj "
    "output_linear w_out out_projection embedding_projection attention.dense proj"
)
_WHOLE = _words(
    "router shared_expert_gate q_a_proj kv_a_proj_with_mqa fused_qkv_a_proj e_score_correction_bias expert_bias "
    "weights_proj wq_b f_a_proj g_a_proj fc1_latent_proj fc2_latent_proj per_layer_input_gate per_layer_projection "
    "correction_coefs prediction_coefs modality_router layer_scalar wpe embed_positions position_embeddings "
    "correct_output_scale router_weight coefficient altup_projections altup_unembed_projections "
    "indexers_proj eh_proj"
)
_VOCABULARY = _words(
    "embed_tokens wte word_embeddings embed_in tok_embeddings embeddings token_embedding embed_tokens_per_layer "
    "lm_head embed_out output output_layer embedding"
)
HEADS = _words("lm_head embed_out output output_layer")
_ATTENTION_PARTS = _words(
    "self_attn attn attention mixer linear_attn mamba self_attention conv short_conv temporal_block delta_net "
    "cross_attn encoder_attn"
)
_MLP_PARTS = _words("mlp feed_forward ffn block_sparse_moe shared_mlp moe shared_experts shared_expert")
_PACKED = ("gate_up_proj", "down_proj", "w13", "w2", "w1", "w3", "gate_proj", "up_proj", "mlp1", "mlp2")
_PACKED_LEAVES = ("_blocks", "_scales", "_bias", "_weight_scale_inv", "_weight_scale", "_scale_inv", "_scale",
                  "_input_scale", "_weight")  # fmt: skip
_REPLICATED_PROJECTORS = _words("mlp1 resampler aligner connector modality_projection img_projector")


_ROUTERS = _words("gate router layer")
_GRANITE_EXPERTS = _words("input_linear output_linear")
_MLP_MODULES = _words("gate_proj up_proj gate_up_proj down_proj w1 w2 w3 fc1 fc2 gate router")
_BY_NAME: Mapping[str, tuple[Rule, str, int]] = {
    name: (rule, joined, order)
    for names, rule, joined, order in (
        (_WHOLE, Rule.WHOLE, "", 4),
        (_ROW, Rule.ROW, "", 1),
        (_COLUMN, Rule.COLUMN, "", 1),
        (_GATE_UP, Rule.COLUMN, "gate_up_proj", 5),
        (_QUERY, Rule.COLUMN, "qkv_proj", 0),
        (_KEY_VALUE, Rule.KEY_VALUE, "qkv_proj", 0),
        (_QKV, Rule.QKV, "qkv_proj", 0),
        (("q_a_proj", "kv_a_proj_with_mqa"), Rule.WHOLE, "fused_qkv_a_proj", 0),
        (("in_proj_qkv", "in_proj_z"), Rule.COLUMN, "in_proj_qkvz", 0),
        (("in_proj_b", "in_proj_a"), Rule.COLUMN, "in_proj_ba", 0),
        (("in_proj",), Rule.MAMBA_IN, "in_proj", 0),
        (("conv1d",), Rule.MAMBA_CONV, "conv1d", 1),
    )
    for name in names
}


@lru_cache(maxsize=65536)
def role(name: str) -> Role:
    """The role of the tensor of this name, `{layer}` and `{expert}` in place of numbers. Never raises."""
    parts = name.split(".")
    path, module, leaf = _split(parts)
    region = _region(path, module, leaf)
    experts = "experts" in path or (module in _GRANITE_EXPERTS and "shared_mlp" not in path)
    packed = experts and "{expert}" not in path
    if region is Region.TOWER:
        return _tower(path, module, leaf)
    if experts and "shared_experts" not in path:
        return _expert(region, module, leaf, packed)
    rule, joined, order = _rule(path, module, leaf)
    kind = _kind(path, module, rule)
    linear = leaf in ("weight", "qweight", "weight_packed") and rule not in (Rule.VOCABULARY, Rule.MAMBA_CONV)
    linear = linear and module not in ("router", "gate", "shared_expert_gate", "weights_proj", "conv1d", "conv")
    linear = linear and "norm" not in module and not module.startswith("ln")
    return Role(region, kind, rule, joined, leaf, linear, False, order)


def _split(parts: list[str]) -> tuple[list[str], str, str]:
    """(path before the module, module, leaf). `weight.absmax` and the like are leaves of their own."""
    for place in range(len(parts) - 1, 0, -1):
        if parts[place] in LEAVES and parts[place - 1] != "experts":
            return parts[: place - 1], parts[place - 1], ".".join(parts[place:])
    last = parts[-1]
    if "experts" in parts:
        for stem in _PACKED:
            rest = last.removeprefix(stem)
            if last.startswith(stem) and (not rest or rest in _PACKED_LEAVES):
                return parts[:-1], stem, rest.lstrip("_") or "weight"
    return parts[:-1], last, "weight"


def _region(path: list[str], module: str, leaf: str) -> Region:
    names = {*path, module}
    if names & _DROPPED or leaf in _DROPPED:
        return Region.DROPPED
    if "{layer}" in path and (module in _VOCABULARY or path[-1] == "shared_head") and module != "norm":
        return Region.DROPPED  # MTP layers share embedding and head with the model
    if names & _TOWERS and "language_model" not in names:
        return Region.TOWER
    if names & _MTP:
        return Region.MTP
    return Region.TEXT


def _kind(path: list[str], module: str, rule: Rule) -> Kind:
    if rule is Rule.VOCABULARY or module in ("wpe", "embed_positions"):
        return Kind.EMBEDDING
    if any(part in _MLP_PARTS for part in path) or module in _MLP_MODULES:
        return Kind.MLP
    if any(part in _ATTENTION_PARTS for part in path):
        return Kind.ATTENTION
    if rule in (Rule.COLUMN, Rule.ROW):
        return Kind.MLP
    return Kind.ATTENTION if rule in (Rule.QKV, Rule.KEY_VALUE) else Kind.REST


def _rule(path: list[str], module: str, leaf: str) -> tuple[Rule, str, int]:
    """(rule, vLLM's module, order in the layer)."""
    inside = path[-1] if path else ""
    if "indexer" in path or "norm" in module or module.startswith("ln_") or leaf == "e_score_correction_bias":
        return Rule.WHOLE, f"{inside}.{module}", 2
    if module in _VOCABULARY and "{layer}" not in path:
        return Rule.VOCABULARY, module, 0
    if module == "conv1d" and "linear_attn" in path:
        return Rule.COLUMN, f"{inside}.conv1d", 1
    if module in _ROUTERS and inside not in ("self_attn", "attention"):
        return Rule.WHOLE, f"{inside}.gate", 4
    if inside == "mlp" and "merger" in path and module in ("0", "2"):
        return (Rule.COLUMN if module == "0" else Rule.ROW), f"merger.{module}", 6
    rule, joined, order = _BY_NAME.get(module, (Rule.GUESS, "", 3))
    if rule is Rule.ROW and inside in _MLP_PARTS:
        order = 6
    return rule, f"{inside}.{joined or module}", order


def _expert(region: Region, module: str, leaf: str, packed: bool) -> Role:
    down = module in ("down_proj", "w2", "mlp2", "output_linear")
    joined, order = ("experts.w2", 8) if down else ("experts.w13", 7)
    linear = leaf in ("weight", "qweight", "weight_packed")
    return Role(region, Kind.EXPERTS, Rule.ROW if down else Rule.COLUMN, joined, leaf, linear, packed, order)


def _tower(path: list[str], module: str, leaf: str) -> Role:
    """Towers use the same parallel layers; projectors that are plain `nn.Linear` in vLLM stay whole on each rank."""
    rule, joined, order = _rule(path, module, leaf)
    whole = rule in (Rule.VOCABULARY, Rule.GUESS, Rule.MAMBA_IN, Rule.MAMBA_CONV)
    if whole or (module in ("conv", "proj") and "patch_embed" in path) or set(path) & _REPLICATED_PROJECTORS:
        rule = Rule.WHOLE
    if rule is Rule.KEY_VALUE:
        rule = Rule.COLUMN  # encoders have as many KV heads as query heads
    if rule is Rule.QKV:
        rule = Rule.COLUMN
    region = Region.DROPPED if "head" in path and "vision_model" in path else Region.TOWER
    linear = leaf == "weight" and rule is not Rule.WHOLE
    return Role(region, Kind.TOWER, rule, joined, leaf, linear, False, order)
