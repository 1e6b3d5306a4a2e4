"""Layers of known models, written by hand: what the tests of the KV cache plan with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lyc.planning import parallelism
from lyc.planning.cache import kv_layout
from lyc.records.architecture import Architecture, Latent, Layer, Mixer, State
from lyc.records.model import ModelFacts
from lyc.records.serving import CacheLayout, Serving, Stage

GIB = 1 << 30


def full(kv: int, size: int, heads: int = 32) -> Layer:
    return Layer(Mixer.FULL, heads, kv, size, size)


def sliding(kv: int, size: int, window: int, heads: int = 32) -> Layer:
    return Layer(Mixer.SLIDING, heads, kv, size, size, window)


def chunked(kv: int, size: int, window: int, heads: int = 32) -> Layer:
    return Layer(Mixer.CHUNKED, heads, kv, size, size, window)


def delta(values: int, dtype: str | None = "float32") -> Layer:
    return Layer(Mixer.GATED_DELTA, state=State(values, 128, 128, 16, 4, dtype))


def every(count: int, period: int, one: Layer, others: Layer) -> tuple[Layer, ...]:
    """`one` at the end of each period, `others` before it."""
    return tuple(one if at % period == period - 1 else others for at in range(count))


def facts(
    layers: Iterable[Layer],
    name: str = "LlamaForCausalLM",
    *,
    mtp: tuple[Layer, ...] = (),
    detail: Mapping[str, object] | None = None,
    known: bool = True,
    vocab: int = 151936,
) -> ModelFacts:
    architecture = Architecture(name, 4096, vocab, "bfloat16", tuple(layers), mtp=mtp, known=known)
    return ModelFacts((name,), architecture=architecture, quantization_detail=dict(detail or {}))


def stages(model: ModelFacts, serving: Serving) -> tuple[Stage, ...]:
    assert model.architecture is not None
    return parallelism.stages(model.architecture, serving.pp, serving.version)


def layout(model: ModelFacts, serving: Serving, stage: int = 0) -> CacheLayout:
    return kv_layout.layout(model, serving, stages(model, serving)[stage])


LATENT = Layer(Mixer.LATENT, 16, 16, 192, 128, latent=Latent(512, 64, 128, 128))
_SPARSE = Latent(512, 64, 128, 128, 1536, 64, 128, 2048)
_MAMBA1 = Layer(Mixer.MAMBA1, state=State(1, 8192, 16, 1, 4))
_MAMBA2 = Layer(Mixer.MAMBA2, state=State(128, 64, 128, 1, 4))
_NEMOTRON = Layer(Mixer.MAMBA2, state=State(64, 64, 128, 8, 4, "float32"))
_MLP = Layer(Mixer.NONE)

MODELS: Mapping[str, ModelFacts] = {
    "llama-3.1-8b": facts([full(8, 128)] * 32),
    "multi-query": facts([full(1, 128, 48)] * 40),
    "deepseek-v2-lite": facts([LATENT] * 27, "DeepseekV2ForCausalLM"),
    "glm-5": facts([Layer(Mixer.SPARSE_LATENT, 64, 64, 192, 128, latent=_SPARSE)] * 78, "GlmMoeDsaForCausalLM"),
    "gpt-oss-20b": facts(every(24, 2, full(8, 64, 64), sliding(8, 64, 128, 64)), "GptOssForCausalLM"),
    "gemma-2-9b": facts(every(42, 2, full(8, 256, 16), sliding(8, 256, 4096, 16)), "Gemma2ForCausalLM"),
    "gemma-3-4b": facts(every(34, 6, full(4, 256, 8), sliding(4, 256, 1024, 8)), "Gemma3ForCausalLM"),
    "llama-4-scout": facts(every(48, 4, full(8, 128, 40), chunked(8, 128, 8192, 40)), "Llama4ForCausalLM"),
    "mistral-7b-v0.1": facts([sliding(8, 128, 4096)] * 32, "MistralForCausalLM"),
    "qwen3-next-80b": facts(every(48, 4, full(2, 256, 16), delta(32, None)), "Qwen3NextForCausalLM"),
    "qwen3.5-2b": facts(every(24, 4, full(2, 256, 8), delta(16)), "Qwen3_5ForConditionalGeneration"),
    "qwen3.5-9b": facts(every(32, 4, full(4, 256, 16), delta(32)), "Qwen3_5ForConditionalGeneration"),
    "qwen3.6-35b-a3b": facts(every(40, 4, full(2, 256, 16), delta(32)), "Qwen3_5MoeForConditionalGeneration"),
    "granite-4-small": facts(every(40, 10, full(8, 128), _MAMBA2), "GraniteMoeHybridForCausalLM"),
    "nemotron-3-nano": facts(
        [*[_NEMOTRON, _MLP] * 20, *[_NEMOTRON] * 3, *[full(2, 128, 32)] * 6, *[_MLP] * 3], "NemotronHForCausalLM"
    ),
    "lfm2-1.2b": facts(
        [*[Layer(Mixer.SHORT_CONV, state=State(1, 2048, 0, 1, 3))] * 10, *[full(8, 64)] * 6], "Lfm2ForCausalLM"
    ),
    "jamba-mini": facts(every(32, 8, full(8, 128), _MAMBA1), "JambaForCausalLM"),
    "mamba-2.7b": facts([Layer(Mixer.MAMBA1, state=State(1, 5120, 16, 1, 4))] * 64, "MambaForCausalLM"),
    "kimi-linear-48b": facts(
        every(
            27,
            4,
            replace(LATENT, heads=32, kv_heads=32),
            Layer(Mixer.KIMI_DELTA, state=State(32, 128, 128, 32, 4)),
        ),
        "KimiLinearForCausalLM",
    ),
    "falcon-h1-7b": facts(
        [Layer(Mixer.FULL, 12, 2, 128, 128, state=State(24, 128, 256, 1, 4))] * 44, "FalconH1ForCausalLM"
    ),
}
