"""Workspaces of mixture-of-experts kernels: what stays after the run, and what only lives in a layer."""

from __future__ import annotations

from lyc.planning.activation_moments import Tensor
from lyc.records.architecture import Layer
from lyc.records.card import Card
from lyc.records.serving import Serving

_KEPT_SINCE = (0, 14)
"""Modular kernels take their workspace from one manager that keeps it (`v1/worker/workspace.py`)."""
_TRANSIENT = ("mxfp4", "gptq_marlin", "awq_marlin", "gptq", "awq", "bitsandbytes", "modelopt_fp4", "gguf")
"""Methods whose kernels allocate by the layer (fused_marlin_moe, triton_kernels, FlashInfer)."""
_BLOCK = 128


def experts(
    layer: Layer, hidden: int, serving: Serving, card: Card, *, blocks: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """(tensors that stay allocated, tensors of the layer) of one layer with experts; empty for a dense one.

    blocks: weights are fp8 with a scale for each block, which DeepGEMM runs on Hopper and later: every expert's rows
    are rounded up to 128. `TritonExperts.workspace_shapes` (0.19.0): rows × max(I, H) and rows × max(2·I, H), where
    rows = tokens × experts per token; before 0.14 `fused_experts_impl`: rows × max(2·I, H) and rows × I, in chunks.
    """
    if layer.experts is None:
        return (), ()
    some = layer.experts
    inner, item = -(-some.intermediate // serving.tp), 4 if serving.dtype == "float32" else 2
    both = 2 * inner if layer.gated else inner
    tokens = min(serving.max_num_batched_tokens, _chunk(serving.version))
    rows = tokens * some.per_token
    if blocks and (card.compute_capability or 0) in (90, 100, 103) and serving.version >= _KEPT_SINCE:
        rows = -(-(rows + some.count * (_BLOCK - 1)) // _BLOCK) * _BLOCK
    if serving.version < _KEPT_SINCE or serving.quantization in _TRANSIENT:
        size = rows * (max(both, hidden) + inner) * item
        return (), (Tensor(f"experts {rows}×({max(both, hidden)}+{inner})", size),)
    first, second = max(inner, hidden), max(both, hidden)
    return (Tensor(f"expert workspace {rows}×({first}+{second})", rows * (first + second) * item),), ()


def _chunk(version: tuple[int, ...]) -> int:
    """VLLM_FUSED_MOE_CHUNK_SIZE: 32768 tokens, 16384 from 0.12 to 0.18; then none."""
    if version >= (0, 19):
        return 1 << 30
    return 16384 if version >= (0, 12) else 32768
