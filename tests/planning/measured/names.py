"""Names of a checkpoint's tensors, as the publishers of these families write them; empty for other families."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")
_NORMS = ("input_layernorm", "post_attention_layernorm")


def names(config: Mapping[str, Any]) -> list[str]:
    family = _FAMILIES.get((config.get("architectures") or [""])[0])
    if family is None or ("quantization_config" in config and config["model_type"] != "gpt_oss"):
        return []
    ends = ["model.embed_tokens.weight", "model.norm.weight"]
    if not config.get("tie_word_embeddings"):
        ends.append("lm_head.weight")
    layers = range(config["num_hidden_layers"])
    return ends + [f"model.layers.{layer}.{name}" for layer in layers for name in family(config, layer)]


def _plain(config: Mapping[str, Any], _layer: int) -> Iterator[str]:
    yield from (f"{norm}.weight" for norm in _NORMS)
    yield from (f"mlp.{part}.weight" for part in _MLP)
    yield from _attention(config)


def _attention(config: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"self_attn.{part}.weight" for part in _ATTENTION)
    if config["model_type"] in ("qwen2", "qwen2_moe"):
        yield from (f"self_attn.{part}.bias" for part in _ATTENTION[:3])
    if config["model_type"] in ("qwen3", "qwen3_moe"):
        yield from ("self_attn.q_norm.weight", "self_attn.k_norm.weight")


def _qwen_moe(config: Mapping[str, Any], _layer: int) -> Iterator[str]:
    yield from (f"{norm}.weight" for norm in _NORMS)
    yield from _attention(config)
    yield "mlp.gate.weight"
    for expert in range(config["num_experts"]):
        yield from (f"mlp.experts.{expert}.{part}.weight" for part in _MLP)
    if config.get("shared_expert_intermediate_size"):
        yield "mlp.shared_expert_gate.weight"
        yield from (f"mlp.shared_expert.{part}.weight" for part in _MLP)


def _gpt_oss(_config: Mapping[str, Any], _layer: int) -> Iterator[str]:
    yield from (f"{norm}.weight" for norm in _NORMS)
    yield from (f"self_attn.{part}.{kind}" for part in _ATTENTION for kind in ("weight", "bias"))
    yield from ("self_attn.sinks", "mlp.router.weight", "mlp.router.bias")
    yield from (
        f"mlp.experts.{part}_{kind}" for part in ("gate_up_proj", "down_proj") for kind in ("blocks", "scales", "bias")
    )


def _deepseek(config: Mapping[str, Any], layer: int) -> Iterator[str]:
    yield from (f"{norm}.weight" for norm in _NORMS)
    compressed = ("q_a_proj", "q_a_layernorm", "q_b_proj") if config["q_lora_rank"] else ("q_proj",)
    parts = (*compressed, "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj", "o_proj")
    yield from (f"self_attn.{part}.weight" for part in parts)
    if layer < config["first_k_dense_replace"]:
        yield from (f"mlp.{part}.weight" for part in _MLP)
        return
    yield "mlp.gate.weight"
    yield from (f"mlp.shared_experts.{part}.weight" for part in _MLP)
    for expert in range(config["n_routed_experts"]):
        yield from (f"mlp.experts.{expert}.{part}.weight" for part in _MLP)


_FAMILIES: Mapping[str, Callable[[Mapping[str, Any], int], Iterator[str]]] = {
    "LlamaForCausalLM": _plain,
    "MistralForCausalLM": _plain,
    "Qwen2ForCausalLM": _plain,
    "Qwen3ForCausalLM": _plain,
    "GraniteForCausalLM": _plain,
    "Qwen2MoeForCausalLM": _qwen_moe,
    "Qwen3MoeForCausalLM": _qwen_moe,
    "GptOssForCausalLM": _gpt_oss,
    "DeepseekV2ForCausalLM": _deepseek,
}
