"""Which part of config.json describes the language model, and by which family's defaults it is to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lyc.inspection.settings import Settings, class_defaults, class_parts, model_type_of

NESTED = ("thinker_config", "text_config", "llm_config", "language_config", "text_model", "llm", "text")
"""Under these names the language model's part is nested; looked for again in what was found."""

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "hybrid_override_pattern", "decoder_layers")
_SAME: Mapping[str, str] = {
    "kimi_k2": "deepseek_v3", "deepseek_vl_v2": "deepseek_v2", "deepseek_ocr": "deepseek_v2", "llama4": "llama4_text",
    "minimax_text_01": "minimax", "minimax_m1": "minimax", "internlm2": "", "pixtral": "mistral",
    "phi3_v": "phi3", "phi4mm": "phi3", "phi4_multimodal": "phi3", "mistral_large_3": "deepseek_v3",
    "granitemoe_hybrid": "granitemoehybrid", "sarvam_mla": "deepseek_v3", "mamba_ssm": "mamba",
}  # fmt: skip
"""Model types that have no class of their own in Transformers, and the one whose numbers they share."""
_CLASSES: Mapping[str, str] = {
    "KimiK2ForCausalLM": "kimi_k2", "Phi3VForCausalLM": "phi3_v", "Phi4MMForCausalLM": "phi4mm",
    "InternVLChatModel": "internvl_chat", "KimiVLForConditionalGeneration": "kimi_vl", "PhiMoEForCausalLM": "phimoe",
    "KimiK25ForConditionalGeneration": "kimi_k25", "MiniMaxText01ForCausalLM": "minimax_text_01",
    "MiniMaxM1ForCausalLM": "minimax_m1", "PixtralForConditionalGeneration": "pixtral",
    "MistralLarge3ForCausalLM": "mistral_large_3", "InternLM2ForCausalLM": "internlm2", "DeciLMForCausalLM":
    "nemotron-nas", "MiMoForCausalLM": "mimo", "MiMoV2FlashForCausalLM": "mimo_v2_flash", "LLaMAForCausalLM": "llama",
    "MPTForCausalLM": "mpt", "RWForCausalLM": "falcon", "Qwen2ForRewardModel": "qwen2", "Qwen2_5OmniModel":
    "qwen2_5_omni", "BailingMoeForCausalLM": "bailing_moe", "BailingMoeV2ForCausalLM": "bailing_moe",
    "QWenLMHeadModel": "qwen", "BaichuanForCausalLM": "baichuan", "BaiChuanForCausalLM": "baichuan",
    "ChatGLMModel": "chatglm", "ChatGLMForConditionalGeneration": "chatglm", "ExaoneForCausalLM": "exaone",
    "UltravoxModel": "ultravox", "QuantMixtralForCausalLM": "mixtral", "StableLMEpochForCausalLM": "stablelm",
    "SolarForCausalLM": "solar", "TeleChat2ForCausalLM": "telechat2", "OrionForCausalLM": "orion",
    "MiniCPMForCausalLM": "minicpm", "Step3TextForCausalLM": "step3_text", "Step3p5ForCausalLM": "step3p5",
    "DeepseekForCausalLM": "deepseek", "DeepseekVLV2ForCausalLM": "deepseek_vl_v2", "MolmoForCausalLM": "molmo",
}  # fmt: skip
_LANGUAGE: Mapping[str, str] = {
    "llava": "llama", "llava_next": "llama", "llava_next_video": "llama", "vipllava": "llama", "mistral3": "mistral",
    "internvl": "qwen2", "qwen2_audio": "qwen2", "voxtral": "llama", "ultravox": "llama", "idefics3": "llama",
    "smolvlm": "llama", "paligemma": "gemma", "lfm2_vl": "lfm2", "llava_onevision": "qwen2",
    "granite_speech": "granite", "aya_vision": "cohere2", "cohere2_vision": "cohere2", "kimi_vl": "deepseek_v3",
    "kimi_k25": "deepseek_v3", "deepseek_vl_v2": "deepseek_v2",
}  # fmt: skip
"""The language model's type where neither its section nor the class of the whole names it: the whole's own default."""


@dataclass(frozen=True, slots=True)
class Sections:
    """name: of the model's class. outer: config.json itself; text: the language model's part, which may be the same.

    path: names of the sections that lead to `text`, outermost first.
    """

    name: str
    outer: Settings
    text: Settings
    path: tuple[str, ...]

    @property
    def chain(self) -> tuple[Settings, ...]:
        """From the innermost section outwards."""
        return (self.text,) if self.text is self.outer else (self.text, self.outer)


def sections(config: Mapping[str, object]) -> Sections:
    """Finds them. A flat file of a model with several parts is read as its language model's part."""
    name = _class_name(config)
    outer_type = _model_type(config) or _CLASSES.get(name) or model_type_of(name) or ""
    missing: dict[str, None] = {}
    outer = Settings(config, outer_type, class_defaults(_defaults_of(outer_type)), missing)
    path: list[str] = []
    found, text_type = config, outer_type
    while nested := next((key for key in NESTED if isinstance(found.get(key), Mapping)), None):
        inner = found[nested]
        if not isinstance(inner, Mapping) or (_has_layers(found) and not _has_layers(inner)):
            break
        part = _part_type(text_type, nested)
        found, text_type = inner, _model_type(inner) or part or text_type
        path.append(nested)
    if not path:
        text_type = _text_type(outer_type)
    defaults = class_defaults(_defaults_of(text_type))
    text = outer if not path and text_type == outer_type else Settings(found, text_type, defaults, missing)
    return Sections(name or outer_type, outer, text, tuple(path))


def _text_type(outer: str) -> str:
    """The language model's type of a model type with parts (`qwen3_5` → `qwen3_5_text`), else itself."""
    seen = outer
    for key in NESTED:
        if (part := _part_type(seen, key)) is not None:
            return _text_type(part)
    return seen


def _part_type(whole: str, section: str) -> str | None:
    part = class_parts(whole).get(section)
    if isinstance(part, str):
        return part
    return _LANGUAGE.get(whole) if section == "text_config" else None


def _class_name(config: Mapping[str, object]) -> str:
    listed = config.get("architectures")
    if isinstance(listed, list) and listed:
        return str(listed[0])
    single = config.get("architecture", listed)
    return single if isinstance(single, str) else ""


def _model_type(config: Mapping[str, object]) -> str | None:
    found = config.get("model_type")
    return found if isinstance(found, str) and found else None


def _defaults_of(model_type: str) -> str:
    return _SAME.get(model_type, model_type)


def _has_layers(config: Mapping[str, object]) -> bool:
    return any(config.get(key) is not None for key in _LAYERS)
