"""What sets families apart that config.json does not write: names and shapes of the tensors of a layer.

A family is the model type of its language model. Where only a size differs, config.json tells, and no row is needed
beyond `Family()`. Source: the modelling files of Transformers 5.19 and vLLM 0.19; checked against published totals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

PRE = ("input_layernorm", "post_attention_layernorm")
SANDWICH = (*PRE, "pre_feedforward_layernorm", "post_feedforward_layernorm")


@dataclass(frozen=True, slots=True)
class Family:
    """qkv_bias, out_bias, mlp_bias: the key that switches it, "yes" or "". norms: of each layer.

    qk_norm: "" | "head" (one head long) | "wide" (all heads long) | "heads" (one for each head), under `qk_names`;
    qk_key: the key that switches it. fused: modules that the checkpoint stores as one (`qkv`, `gate_up`). packed:
    experts of a layer stand in one tensor. keeps_shared: layers that read another's cache still store keys and values.
    tied: what an absent `tie_word_embeddings` means where no class says. mtp: layers for multi-token prediction where
    no key says; mtp_style: "layers" (numbered on) | "mtp" (a module of its own).
    """

    qkv_bias: str = "attention_bias"
    out_bias: str = "attention_bias"
    mlp_bias: str = "mlp_bias"
    norms: tuple[str, ...] = PRE
    norm_bias: bool = False
    final_norm: str = "norm"
    embed: str = "embed_tokens"
    layers: str = "layers"
    attention: str = "self_attn."
    qkv_name: str = "qkv_proj"
    out_name: str = "o_proj"
    qk_norm: str = ""
    qk_key: str = ""
    qk_names: tuple[str, str] = ("q_norm", "k_norm")
    fused: tuple[str, ...] = ()
    keeps_shared: bool = False
    mlp: str = "mlp."
    mlp_names: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    moe: str = "mlp"
    expert_names: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    expert_bias: bool = False
    packed: bool = False
    packed_transposed: bool = False
    router: str = "gate"
    router_bias: str = ""
    router_bias_dtype: str = ""
    shared: str = "shared_experts"
    shared_gate: str = ""
    tied: bool = True
    mtp: int = 0
    mtp_style: str = "layers"


_LLAMA = Family()
_QWEN2 = Family(qkv_bias="yes", out_bias="", mlp_bias="")
_QWEN3 = Family(qk_norm="head")
_MIXTRAL = Family(moe="block_sparse_moe", expert_names=("w1", "w3", "w2"))
_DEEPSEEK2 = Family()
_DEEPSEEK3 = Family(router_bias="gate.e_score_correction_bias", router_bias_dtype="F32")
_QWEN_MOE = Family(qkv_bias="qkv_bias", out_bias="", shared="shared_expert", shared_gate="shared_expert_gate")
_GPT_OSS = Family(
    moe="mlp", router="router", router_bias="router.bias", packed=True, packed_transposed=True, expert_bias=True,
    expert_names=("gate_up_proj", "down_proj"),
)  # fmt: skip
_QWEN_NEXT = Family(
    qk_norm="head", shared="shared_expert", shared_gate="shared_expert_gate", mtp=1, mtp_style="mtp",
)  # fmt: skip

FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA, "mistral": _LLAMA, "granite": _LLAMA, "smollm3": _LLAMA,
    "seed_oss": Family(out_bias="attention_out_bias"),
    "qwen2": _QWEN2, "qwen2_vl": _QWEN2, "qwen2_vl_text": _QWEN2, "qwen2_5_vl": _QWEN2, "qwen2_5_vl_text": _QWEN2,
    "qwen3": _QWEN3, "qwen3_vl_text": _QWEN3, "qwen3_moe": _QWEN3, "qwen2_moe": _QWEN_MOE,
    "qwen3_vl_moe_text": replace(
        _QWEN3, packed=True, packed_transposed=True, expert_names=("gate_up_proj", "down_proj")
    ),
    "qwen3_next": _QWEN_NEXT, "qwen3_5_text": _QWEN_NEXT,
    "qwen3_5_moe_text": replace(_QWEN_NEXT, packed=True, expert_names=("gate_up_proj", "down_proj")),
    "mixtral": _MIXTRAL, "gpt_oss": _GPT_OSS,
    "phi3": Family(fused=("qkv", "gate_up"), mlp_names=("gate_up_proj", "down_proj")),
    "gemma": _LLAMA, "gemma2": Family(norms=SANDWICH), "gemma3_text": Family(norms=SANDWICH, qk_norm="head"),
    "deepseek_v2": _DEEPSEEK2, "deepseek_v3": _DEEPSEEK3, "kimi_k2": _DEEPSEEK3, "deepseek_v32": _DEEPSEEK3,
    "glm4_moe": replace(_DEEPSEEK3, out_bias="", qk_norm="head", qk_key="use_qk_norm"),
    "glm4_moe_lite": _DEEPSEEK3, "glm_moe_dsa": _DEEPSEEK3,
}  # fmt: skip


def family(model_type: str) -> Family | None:
    """The row of a model type; None for one that is not known here."""
    return FAMILIES.get(model_type)
