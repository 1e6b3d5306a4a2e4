"""May this precision be used here? Asked before anything starts; vLLM would say so half a minute later.

Least compute capabilities come from the engine's own table (`data/quantization-*.json`). What works on a CPU stands in
no table of vLLM's; the words below say what its real CPU build did with small models, and the tests do it again.
"""

from __future__ import annotations

from lyc.engines.tables import nearest, quantization_methods
from lyc.engines.versions import VLLM_VERSION
from lyc.errors import NoFit, SpecError
from lyc.records.model import ModelFacts
from lyc.records.plan import EngineBuild, HostFacts

ONLINE = frozenset({
    "fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "int8_per_channel_weight_only", "mxfp8",
    "nvfp4_per_token", "experts_int8",
})  # fmt: skip
"""Methods that vLLM applies while it loads an unquantized checkpoint. All others need a checkpoint made so."""
_SAME = {
    "awq": "awq", "auto_awq": "awq", "awq_marlin": "awq",
    "gptq": "gptq", "auto_gptq": "gptq", "gptq_marlin": "gptq",
    "mxfp4": "mxfp4", "gpt_oss_mxfp4": "mxfp4",
    "fp8": "fp8", "deepseek_v4_fp8": "fp8",
}  # fmt: skip
"""Names of one format. A checkpoint says the first; the others choose among kernels for it."""
ON_CPU_CHECKPOINT = frozenset({"compressed-tensors", "awq", "gptq", "fp8"})
ON_CPU_ONLINE = frozenset({"int8_per_channel_weight_only"})
_ABSENT = {
    "gguf": "GGUF is not a format of this vLLM; it serves safetensors only",
    "bitsandbytes": "bitsandbytes needs a plug-in that is not part of the engine's environment",
    "bnb": "bitsandbytes needs a plug-in that is not part of the engine's environment",
    "int8": "the weight-only method is called int8_per_channel_weight_only",
    "w8a8": "it is a scheme inside of compressed-tensors checkpoints, found by itself",
    "w4a16": "it is a scheme inside of compressed-tensors checkpoints, found by itself",
}
_HOW = "leave --quantization out: what the checkpoint is quantized with is found by itself"


def check(wish: str | None, facts: ModelFacts, host: HostFacts, build: EngineBuild) -> None:
    """Raise SpecError when the wish cannot be (unknown, or not this checkpoint's), NoFit when it cannot be here.

    wish: `--quantization` as written, None = as the checkpoint is. The checkpoint's own quantization is checked too.
    """
    if wish is not None:
        _check_name(wish)
        _check_agrees(wish, facts)
    if build.on_cpu:
        _check_cpu(wish, facts)
    else:
        _check_gpu(wish, facts, host)


def family(method: str) -> str:
    """The format that a method's name stands for: `gptq_marlin` → `gptq`."""
    return _SAME.get(method, method)


def _check_name(wish: str) -> None:
    methods = quantization_methods()
    if wish in methods:
        return
    alike = nearest(wish, methods)
    if wish in _ABSENT:
        alike = ["int8_per_channel_weight_only"] if wish == "int8" else []
    raise SpecError(
        "unknown-quantization",
        f"vLLM {VLLM_VERSION} has no quantization method {wish!r}",
        why=_ABSENT.get(wish, ""),
        where="--quantization",
        hint=f"did you mean {' or '.join(alike)}?" if alike else _HOW,
    )


def _check_agrees(wish: str, facts: ModelFacts) -> None:
    own = facts.quantization
    if own is not None and family(own) != family(wish):
        raise SpecError(
            "quantization-mismatch",
            f"the checkpoint is quantized with {own}, so it cannot be served with {wish}",
            why="quantized weights are not quantized again",
            where="--quantization",
            hint=f"drop --quantization, or deploy the unquantized model with --quantization {wish}",
        )
    if own is None and wish not in ONLINE:
        raise SpecError(
            "quantization-needs-checkpoint",
            f"{wish} needs a checkpoint that was quantized with it, and this one is not quantized",
            why="its config.json has no quantization_config",
            where="--quantization",
            hint=f"deploy a {wish} checkpoint of the model, or choose one that is applied while loading: "
            + ", ".join(sorted(ONLINE)),
        )


def _check_cpu(wish: str | None, facts: ModelFacts) -> None:
    own = facts.quantization
    if own is None:
        if wish is not None and wish not in ON_CPU_ONLINE:
            raise _not_on_cpu(wish, "its kernels are for GPUs only", "--quantization int8_per_channel_weight_only")
        return
    if family(own) not in ON_CPU_CHECKPOINT:
        why = _ABSENT.get(own, "its kernels are for GPUs only")
        raise _not_on_cpu(own, why, "the unquantized model, or a compressed-tensors, AWQ or GPTQ checkpoint")
    if family(own) == "gptq" and facts.quantization_detail.get("sym") is False:
        raise _not_on_cpu(
            "asymmetric gptq", "vLLM's CPU kernels take symmetric GPTQ only (sym: true)", "a symmetric GPTQ checkpoint"
        )


def _check_gpu(wish: str | None, facts: ModelFacts, host: HostFacts) -> None:
    method = quantization_methods().get(wish or facts.quantization or "")
    capable = [card for card in host.accelerators if card.compute_capability is not None]
    if method is None or not capable:
        return
    worst = min(capable, key=lambda card: card.compute_capability or 0)
    has = worst.compute_capability or 0
    if has < method.min_capability:
        raise NoFit(
            "quantization-not-on-gpu",
            f"{method.name} cannot run on {worst.product or worst.name}",
            why=f"it needs compute capability {method.min_capability / 10:.1f}, this card has {has / 10:.1f}",
            where="--quantization" if wish else "config.json: quantization_config",
            hint="choose a newer card, or another precision of the model",
        )


def _not_on_cpu(method: str, why: str, instead: str) -> NoFit:
    return NoFit(
        "quantization-not-on-cpu",
        f"{method} cannot be served on a CPU",
        why=why,
        where="--quantization",
        hint=f"use a GPU, or {instead}",
    )
