"""config.json as one part of a model sees it: what is written, under any of its names, else its family's default.

`data/defaults.json` holds the class defaults of Hugging Face's configuration classes: many published files leave out
whatever equals them. What is in neither is None, and its name is remembered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

ALIASES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "d_model", "model_dim", "dim", "embed_dim"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers", "num_layer", "decoder_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads", "decoder_attention_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv", "multi_query_group_num", "num_attention_groups", "kv_n_heads"),
    "head_dim": ("attention_head_dim", "hidden_size_per_head", "kv_channels", "d_head"),
    "intermediate_size": ("ffn_hidden_size", "ffn_dim", "n_inner", "d_ff", "inner_size", "decoder_ffn_dim"),
    "vocab_size": ("padded_vocab_size", "n_vocab"),
    "num_experts": ("num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts", "n_experts"),
    "num_experts_per_tok": (
        "num_experts_per_token", "moe_topk", "moe_top_k", "top_k_experts", "moe_k", "num_selected_experts", "topk",
    ),
    "moe_intermediate_size": ("moe_ffn_hidden_size", "expert_ffn_hidden_size", "moe_expert_ffn_hidden_size"),
    "n_shared_experts": ("num_shared_experts", "moe_num_shared_experts", "num_shared_expert"),
    "shared_expert_intermediate_size": (
        "moe_shared_expert_intermediate_size", "shared_intermediate_size", "share_expert_dim",
    ),
    "partial_rotary_factor": ("rotary_pct", "rotary_emb_fraction"),
    "num_nextn_predict_layers": ("mtp_num_hidden_layers", "num_mtp_modules", "num_mtp_layers", "mtp_num_layers"),
    "state_size": ("mamba_d_state", "ssm_state_size", "d_state"),
    "conv_kernel": ("mamba_d_conv", "conv_kernel_size", "d_conv", "linear_conv_kernel_dim"),
    "expand": ("mamba_expand",),
    "n_groups": ("mamba_n_groups", "mamba_ngroups", "ngroups"),
    "mamba_heads": ("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"),
    "mamba_head_dim": ("mamba_d_head", "mamba_headdim"),
    "layer_types": ("layers_block_type",),
}  # fmt: skip
"""Other names of one number, in the order in which they are looked for."""


@cache
def catalogue() -> Mapping[str, Mapping[str, object]]:
    """`architectures`: class name → model type; `types`: model type → defaults, parts, aliases."""
    text = resources.files("lyc.inspection").joinpath("data/defaults.json").read_text("utf-8")
    loaded: Mapping[str, Mapping[str, object]] = json.loads(text)
    return loaded


def model_type_of(architecture: str) -> str | None:
    """The model type that a class name such as `LlamaForCausalLM` belongs to."""
    found = catalogue()["architectures"].get(architecture)
    return found if isinstance(found, str) else None


def class_defaults(model_type: str) -> Mapping[str, object]:
    """Defaults of a model type; empty where it is not known."""
    return _part(model_type, "defaults")


def class_parts(model_type: str) -> Mapping[str, object]:
    """Nested section → its model type, as in `text_config` → `gemma3_text`."""
    return _part(model_type, "parts")


def _part(model_type: str, part: str) -> Mapping[str, object]:
    row = catalogue()["types"].get(model_type)
    found = row.get(part) if isinstance(row, Mapping) else None
    return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Settings:
    """One section of config.json over the defaults of its class. missing: names asked for in vain by `need`."""

    written: Mapping[str, object]
    model_type: str = ""
    defaults: Mapping[str, object] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)

    def get(self, name: str) -> object:
        """What is written under any of its names, else the default. A written null means none, not the default."""
        names = (name, *ALIASES.get(name, ()))
        for source in (self.written, self.defaults):
            for key in names:
                if (value := source.get(key)) is not None:
                    return value
            if any(key in source for key in names):
                return None
        return None

    def writes(self, name: str) -> bool:
        return any(self.written.get(key) is not None for key in (name, *ALIASES.get(name, ())))

    def mentions(self, name: str) -> bool:
        """Whether it is written, be it as null."""
        return any(key in self.written for key in (name, *ALIASES.get(name, ())))

    def whole(self, name: str) -> int | None:
        """A whole number ≥ 0. A list of them counts as its largest (some families write one a layer)."""
        value = self.get(name)
        if isinstance(value, list) and value and all(type(one) is int for one in value):
            value = max(value)
        if type(value) is float and value.is_integer():
            value = int(value)
        return value if type(value) is int and value >= 0 else None

    def need(self, name: str) -> int:
        """As `whole`; 0, and the name remembered, where it is not known."""
        value = self.whole(name)
        if value is None:
            self.missing[name] = None
        return value or 0

    def number(self, name: str) -> float | None:
        value = self.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.get(name)
        return value if isinstance(value, bool) else default

    def text(self, name: str) -> str | None:
        value = self.get(name)
        return value if isinstance(value, str) else None

    def listing(self, name: str) -> list[object] | None:
        value = self.get(name)
        return value if isinstance(value, list) else None

    def section(self, name: str) -> Mapping[str, object]:
        value = self.get(name)
        return value if isinstance(value, Mapping) else {}

    def below(self, written: Mapping[str, object], model_type: str) -> Settings:
        """Another section, which reports what it misses to the same place."""
        return Settings(written, model_type, class_defaults(model_type), self.missing)
