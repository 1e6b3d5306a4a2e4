"""Workspaces of mixture-of-experts kernels: what stays after the run, and what only lives in a layer."""

from __future__ import annotations

from lyc.planning.activation.moments import Tensor
from lyc.records.architecture import Layer
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving

_KEPT_SINCE = (0, 14)
"""Modular kernels take their workspace from one manager that keeps it (`v1/worker/workspace.py`)."""
_MARLIN_KEPT_SINCE = (0, 22)
"""Marlin's integer kernels came to it later (`quantization/auto_gptq.py`, `auto_awq.py`)."""
_INTEGERS = ("gptq", "gptq_marlin", "awq", "awq_marlin", "bitsandbytes", "gguf")
_BLACKWELL = (100, 103)
_BLOCK = 128

Tensors = tuple[Tensor, ...]


def experts(layer: Layer, hidden: int, facts: ModelFacts, serving: Serving, card: Card) -> tuple[Tensors, Tensors]:
    """(tensors that stay allocated, tensors of the layer) of one layer with experts; both empty for a dense one.

    `workspace_shapes` of `TritonExperts` and `MarlinExperts` (0.19.0): rows × max(I, H) and rows × max(2·I, H), where
    rows = tokens × experts per token; `DeepGemmExperts`, for fp8 in blocks on Hopper and later, rounds every expert's
    rows up to 128. FlashInfer's and OpenAI's kernels of 4-bit floats keep none. Before 0.14 `fused_experts_impl`: rows
    × max(2·I, H) and rows × I, in chunks, for the time of the layer.
    """
    if layer.experts is None:
        return (), ()
    some = layer.experts
    inner, item = -(-some.intermediate // serving.tp), 4 if serving.dtype == "float32" else 2
    both = 2 * inner if layer.gated else inner
    rows = min(serving.max_num_batched_tokens, _chunk(serving.version)) * some.per_token
    if not _keeps(facts, serving, card):
        size = rows * (max(both, hidden) + inner) * item
        return (), (Tensor(f"experts {rows}×({max(both, hidden)}+{inner})", size),)
    if facts.quantization_detail.get("weight_block_size") and (card.compute_capability or 0) in (90, *_BLACKWELL):
        rows = -(-(rows + some.count * (_BLOCK - 1)) // _BLOCK) * _BLOCK
    first, second = max(inner, hidden), max(both, hidden)
    return (Tensor(f"expert workspace {rows}×({first}+{second})", rows * (first + second) * item),), ()


def _keeps(facts: ModelFacts, serving: Serving, card: Card) -> bool:
    """Whether the kernels of this quantization on this card take their workspace from the manager."""
    version, method, capability = serving.version, serving.quantization, card.compute_capability or 0
    if version < _KEPT_SINCE:
        return False
    layout = str(facts.quantization_detail.get("format", ""))
    if method in _INTEGERS or (method == "compressed-tensors" and layout == "pack-quantized"):
        return version >= _MARLIN_KEPT_SINCE
    if method in ("mxfp4", "gpt_oss_mxfp4"):
        return capability < 90 and version >= (0, 19)
    if method == "modelopt_fp4" or "nvfp4" in layout:
        return capability < 100
    return True


def _chunk(version: tuple[int, ...]) -> int:
    """VLLM_FUSED_MOE_CHUNK_SIZE: 32768 tokens, 16384 from 0.12 to 0.18; then none."""
    if version >= (0, 19):
        return 1 << 30
    return 16384 if version >= (0, 12) else 32768
