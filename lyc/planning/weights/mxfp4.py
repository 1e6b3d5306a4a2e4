"""How large vLLM makes the experts of an MXFP4 checkpoint (gpt-oss), which depends on the kernel it picks for the card.

Sources: `vllm/model_executor/layers/quantization/mxfp4.py` (0.10.2 to 0.18) and
`vllm/model_executor/layers/fused_moe/oracle/mxfp4.py` (from 0.19) for the kernels' rounding and what stays beside them;
`triton_kernels/tensor_details/layout_details/hopper_{value,scale}.py` for the layouts of Triton's kernels on Hopper.
"""

from __future__ import annotations

import enum

from lyc.planning.weights.roles import Role
from lyc.records.card import Card
from lyc.records.serving import Serving

_BLOCK = 32  # weights that share a scale
_SWIZZLED = (0, 12)  # with torch 2.8.0 `_swizzle_mxfp4` leaves the values as they are
_SCALES_FREED = (0, 25)  # until then the layer keeps the scales it loaded beside the kernel's own
_TRTLLM_BY_128 = (0, 27)  # before, it rounded the inner width to 256


class Kernel(enum.StrEnum):
    """Who multiplies the experts."""

    TRITON = "triton"
    MARLIN = "marlin"
    TRTLLM = "trtllm"


def kernel(serving: Serving, card: Card | None) -> Kernel:
    """vLLM's own choice without environment variables; a card that is not told counts as Hopper."""
    capability = card.compute_capability if card is not None else 90
    if capability is None:
        return Kernel.TRITON
    if 100 <= capability < 110:
        return Kernel.TRTLLM
    return Kernel.TRITON if 90 <= capability < 100 and serving.adapter is None else Kernel.MARLIN


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def padded(shape: tuple[int, ...], place: Role, hidden: int, serving: Serving, card: Card | None) -> float | None:
    """Bytes of one expert's share of a packed MXFP4 tensor on one rank; None where it is not one.

    shape: without the experts' axis, as gpt-oss stores it: `*_blocks` (outputs, inputs/32, 16), `*_scales` (outputs,
    inputs/32), `*_bias` (outputs).
    """
    if place.leaf not in ("blocks", "scales", "bias") or not place.packed:
        return None
    chosen, tp = kernel(serving, card), serving.tp
    down = place.module.endswith("w2")
    inner_step = 256 if serving.version < _TRTLLM_BY_128 else 128
    steps = {Kernel.TRITON: (1, 64), Kernel.MARLIN: (256, 128), Kernel.TRTLLM: (256, inner_step)}
    of_hidden, of_inner = steps[chosen]
    if place.leaf == "bias":
        inner = shape[0] // 2 if not down else 0
        outputs = _up(hidden, of_hidden) if down else 2 * _up(-(-inner // tp), of_inner)
        return float(outputs * (2 if chosen is Kernel.MARLIN else 4))
    whole = shape[1] * _BLOCK if down else shape[0] // 2
    inner = _up(-(-whole // tp), of_inner)
    width = _up(hidden, of_hidden)
    outputs, inputs = (width, inner) if down else (2 * inner, width)
    if chosen is not Kernel.TRITON:
        return float(outputs * inputs // (2 if place.leaf == "blocks" else _BLOCK))
    if place.leaf == "blocks":
        packed = inputs // 2
        return float(outputs * (_up(packed, 64) if serving.version >= _SWIZZLED else packed))
    groups = inputs // _BLOCK
    layout = _up(outputs, 256) * _up(groups, 2)
    return float(layout + (outputs * groups if serving.version < _SCALES_FREED else 0))
