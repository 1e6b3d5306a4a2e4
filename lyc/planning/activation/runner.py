"""Which of vLLM's engines and model runners starts a model: they profile memory in different ways. Pure."""

from __future__ import annotations

from lyc.records.architecture import Architecture, Mixer
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving

V0, V1, V2 = "v0", "v1", "v2"
"""V0: the first engine. V1: the second, with its first model runner. V2: with its second runner."""

_STATES = (
    Mixer.MAMBA1, Mixer.MAMBA2, Mixer.GATED_DELTA, Mixer.KIMI_DELTA, Mixer.LIGHTNING, Mixer.SHORT_CONV,
)  # fmt: skip
_V2_FIRST: dict[tuple[int, int], frozenset[str]] = {
    (0, 22): frozenset({"Qwen3ForCausalLM"}),
    (0, 23): frozenset({"LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM"}),
    (0, 24): frozenset({
        "Qwen3ForCausalLM", "DeepseekV2ForCausalLM", "Qwen2MoeForCausalLM", "GraniteMoeForCausalLM",
        "LlamaForCausalLM", "MistralForCausalLM",
    }),
}  # fmt: skip
"""Where the second runner started with single families (`config/vllm.py` DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES)."""
_V2_MOE = frozenset({"DeepseekV2ForCausalLM", "GraniteMoeForCausalLM", "Qwen2MoeForCausalLM"})
_V2_MOE_LATER = _V2_MOE | {
    "DeepseekV4ForCausalLM", "InklingForCausalLM", "InklingForConditionalGeneration",
    "KimiK3ForConditionalGeneration", "LongcatFlashNgramForCausalLM",
}  # fmt: skip
_DRAFTS_V1 = frozenset({"ngram", "ngram_gpu", "suffix", "medusa", "mlp_speculator", "draft_model"})


def engine(
    version: tuple[int, ...], card: Card, facts: ModelFacts, *, dtype: str, kv_cache_dtype: str = "auto", pp: int = 1
) -> str:
    """V0 or V1. Until 0.7 V0; from 0.10 V1; between, V1 but for some (`_is_v1_supported_oracle`, 0.8.5 and 0.9.2)."""
    if version < (0, 8):
        return V0
    if version >= (0, 10) or card.compute_capability is None:
        return V1
    architecture = facts.architecture
    states = architecture is not None and any(layer.mixer in _STATES for layer in architecture.layers)
    old_card = card.compute_capability < 80
    fp8_cache = kv_cache_dtype.startswith("fp8") and card.compute_capability < 90
    early = version < (0, 9) and (dtype == "float32" or pp > 1)
    return V0 if old_card or states or fp8_cache or early else V1


def runner(serving: Serving, card: Card, facts: ModelFacts) -> str:
    """V0, V1 or V2, of the model as `serving` starts it (`config/vllm.py` use_v2_model_runner, 0.22.0 to 0.33.0)."""
    version = serving.version
    found = engine(version, card, facts, dtype=serving.dtype, kv_cache_dtype=serving.kv_cache_dtype, pp=serving.pp)
    if found == V0 or version < (0, 22):
        return found
    draft = serving.draft
    if draft and (draft.method == "suffix" if version >= (0, 32) else draft.method in _DRAFTS_V1):
        return V1
    if version >= (0, 29):
        return V2
    architecture = facts.architecture
    return V2 if architecture is not None and _by_family(version, architecture, facts, serving) else V1


def _by_family(version: tuple[int, ...], architecture: Architecture, facts: ModelFacts, serving: Serving) -> bool:
    moe = any(layer.experts for layer in architecture.layers)
    states = any(layer.mixer in _STATES for layer in architecture.layers)
    first = _V2_FIRST.get((version[0], version[1]))
    if first is not None:
        plain = not moe and not (serving.quantization or facts.quantization)
        return architecture.name in first and (plain or version >= (0, 24))
    named = architecture.name in (_V2_MOE_LATER if version >= (0, 26) else _V2_MOE)
    return named or (not moe and not states)
