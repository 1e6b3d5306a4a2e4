"""How a model is split over GPUs: the layers of each pipeline stage, and the splits that vLLM refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lyc.records.architecture import Architecture, Layer, Mixer
from lyc.records.serving import Stage

Version = tuple[int, ...]
_PADDED = 64
"""The vocabulary is padded to a multiple of this (vllm/model_executor/layers/vocab_parallel_embedding.py)."""
_NO_STAGES = frozenset({
    "AriaForConditionalGeneration", "BartForConditionalGeneration", "BartModel", "Florence2ForConditionalGeneration",
    "Gemma3nForCausalLM", "Gemma3nForConditionalGeneration", "IQuestLoopCoderForCausalLM",
    "Idefics3ForConditionalGeneration", "Mamba2ForCausalLM", "MllamaForConditionalGeneration",
    "NemotronH_Nano_Omni_Reasoning_V3", "NemotronH_Nano_VL", "NemotronH_Nano_VL_V2",
    "NemotronH_Super_Omni_Reasoning_V3", "PaddleOCRVLForConditionalGeneration", "Phi4FlashForCausalLM",
    "Phi4MMForCausalLM", "Phi4MultimodalForCausalLM", "SmolVLMForConditionalGeneration",
    "WhisperForConditionalGeneration", "Zamba2ForCausalLM",
})  # fmt: skip
"""Classes without SupportsPP in all versions (vllm/model_executor/models, 0.6.6 to 0.33.0)."""
_STAGES_SINCE: Mapping[str, Version] = {
    "HunYuanMoEV1ForCausalLM": (0, 10), "KimiVLForConditionalGeneration": (0, 10), "Plamo2ForCausalLM": (0, 10),
    "MiniMaxForCausalLM": (0, 24), "MiniMaxM1ForCausalLM": (0, 24), "MiniMaxText01ForCausalLM": (0, 24),
    "MiniMaxM3SparseForCausalLM": (0, 29), "MiniMaxM3SparseForConditionalGeneration": (0, 29),
    "OuroForCausalLM": (0, 29),
}  # fmt: skip
"""The first version read in which the class has SupportsPP."""
_PLAIN_SHARED = ("Step3p5", "Step3p7")
"""Beginnings of names of classes whose quantized checkpoints leave the shared expert as it was."""
_MERGED_FREE = (0, 14)
"""First version that lets a GPU's outputs of gate, up, query, key or value be no multiple of the block of scales."""
_GROUPED = frozenset({"awq", "gptq", "compressed-tensors", "auto-round", "awq_marlin", "gptq_marlin"})
_WIDTHS = frozenset({"intermediate_size", "moe_intermediate_size", "hidden_size"})


def stages(architecture: Architecture, pp: int, version: Version) -> tuple[Stage, ...]:
    """The layers of each stage. Requires 1 ≤ pp ≤ number of layers.

    vllm/distributed/utils.py get_pp_indices: layers left over go to the last stage (0.6.6), to the stages before the
    last, from its side on (0.8.5).
    """
    count = len(architecture.layers)
    sizes = [count // pp] * pp
    left = count % pp
    if version < (0, 8):
        sizes[-1] += left
    else:
        for at in range(2, left + 2):
            sizes[-at] += 1
    ends = [sum(sizes[: at + 1]) for at in range(pp)]
    return tuple(Stage(at, pp, end - sizes[at], end) for at, end in enumerate(ends))


def impossible(
    architecture: Architecture, detail: Mapping[str, object], tp: int, pp: int, version: Version
) -> str | None:
    """Why vLLM refuses this split, in one line with figures; None where it does not.

    detail: `quantization_config` of the checkpoint. Sources: vllm/config ModelConfig.verify_with_parallel_config; the
    `divide` of vllm/distributed/utils.py in each parallel layer; the checks of shape of each quantization.
    """
    if pp > 1 and (reason := _no_stages(architecture, pp, version)):
        return reason
    if tp == 1:
        return None
    if (-(-architecture.vocab // _PADDED) * _PADDED) % tp:
        return f"{tp} GPUs cannot share the vocabulary of {architecture.vocab} entries evenly"
    scales = _Scales.of(architecture, detail, version)
    guessed = not _WIDTHS.isdisjoint(architecture.unknown)
    for layer in dict.fromkeys(architecture.layers):
        if reason := _heads(layer, tp) or _state(layer, tp):
            return reason
        # A width that config.json does not say was reckoned from the weights' size: too rough to refuse by.
        if not guessed and (reason := _widths(layer, tp) or _quantized(layer, scales, tp)):
            return reason
    return None


def whole_experts(architecture: Architecture, detail: Mapping[str, object], tp: int) -> bool:
    """Whether each expert must stay whole on one GPU (`--enable-expert-parallel`), because tp does not split its width.

    vllm/model_executor/layers/quantization/fp8.py Fp8MoEMethod.create_weights, 0.10.2: the width on each GPU is a
    multiple of the block of scales; else the width alone has to be divisible.
    """
    block = _scales(detail)[0]
    widths = {layer.experts.intermediate for layer in architecture.layers if layer.experts}
    return tp > 1 and any(width % tp or (block and width // tp % block) for width in widths)


def _no_stages(architecture: Architecture, pp: int, version: Version) -> str | None:
    if pp > len(architecture.layers):
        return f"the model has {len(architecture.layers)} layers, too few for {pp} pipeline stages"
    if architecture.name in _NO_STAGES or version < _STAGES_SINCE.get(architecture.name, (0,)):
        return f"vLLM has no pipeline parallelism for {architecture.name}"
    return None


def _heads(layer: Layer, tp: int) -> str | None:
    if layer.mixer is Mixer.NONE or not layer.heads:
        return None
    if layer.heads % tp:
        return f"{tp} GPUs cannot share {layer.heads} attention heads evenly"
    pairs = layer.kv_heads
    if layer.latent is None and pairs and pairs % tp and tp % pairs:
        return f"{tp} GPUs cannot share {pairs} KV heads: neither number is a multiple of the other"
    return None


def _state(layer: Layer, tp: int) -> str | None:
    state = layer.state
    if state is None:
        return None
    inner, groups = state.heads * state.head_size, state.groups
    if inner % tp:
        return f"{tp} GPUs cannot share recurrent layers of width {inner} evenly"
    if layer.mixer in (Mixer.MAMBA1, Mixer.SHORT_CONV):
        return None
    if state.heads % tp:
        return f"{tp} GPUs cannot share {state.heads} heads of recurrent layers evenly"
    if layer.mixer is Mixer.GATED_DELTA and groups % tp:
        return f"{tp} GPUs cannot share {groups} key heads of recurrent layers evenly"
    if layer.mixer is Mixer.MAMBA2 and groups % tp and groups != 1:
        return f"{tp} GPUs cannot share {groups} groups of recurrent layers evenly"
    return None


def _widths(layer: Layer, tp: int) -> str | None:
    shared = layer.experts.shared_intermediate if layer.experts else 0
    for width in (layer.intermediate, shared):
        if width % tp:
            return f"{tp} GPUs cannot share MLPs of width {width} evenly"
    return None


@dataclass(frozen=True, slots=True)
class _Scales:
    """What of a quantized checkpoint has to be whole on each GPU.

    outs, ins: outputs and inputs of a matrix that share a scale, where a GPU's part must be a multiple of them; 0 =
    free. mlp, shared, attention: whether these are quantized.
    """

    outs: int
    ins: int
    mlp: bool
    shared: bool
    attention: bool

    @staticmethod
    def of(architecture: Architecture, detail: Mapping[str, object], version: Version) -> _Scales:
        outs, ins = _scales(detail)
        plain = _untouched(detail)
        return _Scales(
            outs if version < _MERGED_FREE else 0,
            ins,
            mlp=not any("mlp" in name for name in plain),
            shared=not (any("shared" in name for name in plain) or architecture.name.startswith(_PLAIN_SHARED)),
            attention=not any("attn" in name or "q_proj" in name for name in plain),
        )


def _quantized(layer: Layer, scales: _Scales, tp: int) -> str | None:
    """A GPU's part of a matrix must hold whole blocks or groups of scales.

    vllm/model_executor/layers/quantization/utils/fp8_utils.py validate_fp8_block_shape; awq.py and gptq.py
    create_weights ("not aligned with the quantized weight shape").
    """
    shared = layer.experts.shared_intermediate if layer.experts else 0
    block = scales.ins or scales.outs
    for width, counts in ((layer.intermediate, scales.mlp), (shared, scales.shared)):
        if counts and block and width // tp % block:
            return _split(f"MLPs of width {width}", width // tp, block)
    if not scales.attention or layer.latent is not None or not layer.kv_heads:
        return None
    queries, pairs = layer.heads * layer.value_head_size, max(layer.kv_heads // tp, 1) * layer.head_size
    if scales.ins and queries // tp % scales.ins:
        return _split(f"attention of width {queries}", queries // tp, scales.ins)
    if scales.outs and pairs % scales.outs:
        return _split(f"{layer.kv_heads} KV heads of size {layer.head_size}", pairs, scales.outs)
    return None


def _split(what: str, part: int, block: int) -> str:
    return f"the checkpoint's scales stand for {block} elements each, and a GPU's part of {what} would be {part}"


def _scales(detail: Mapping[str, object]) -> tuple[int, int]:
    """(outputs, inputs) that share one scale where that binds the split; 0 = free."""
    shape = detail.get("weight_block_size")
    if isinstance(shape, (list, tuple)) and len(shape) == 2 and all(isinstance(one, int) for one in shape):
        return int(shape[0]), int(shape[1])
    if str(detail.get("quant_method")) not in _GROUPED:
        return 0, 0
    size = detail.get("group_size", detail.get("q_group_size"))
    for group in _schemes(detail):
        weights = group.get("weights")
        if isinstance(weights, Mapping):
            size = weights.get("group_size") if weights.get("strategy") == "group" else size
    return 0, size if isinstance(size, int) and size > 0 else 0


def _schemes(detail: Mapping[str, object]) -> list[Mapping[str, object]]:
    groups = detail.get("config_groups")
    return [one for one in groups.values() if isinstance(one, Mapping)] if isinstance(groups, Mapping) else []


def _untouched(detail: Mapping[str, object]) -> tuple[str, ...]:
    """Names of modules that the checkpoint leaves as they were; routers, which nobody splits, are left out."""
    for key in ("modules_to_not_convert", "ignored_layers", "ignore"):
        if isinstance(names := detail.get(key), (list, tuple)):
            return tuple(str(name) for name in names if not str(name).endswith("gate"))
    return ()
