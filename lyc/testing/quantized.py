"""Linear layers of a Llama rounded to few bits, in the formats of checkpoints that vLLM reads. No calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lyc.testing.tensors import Floats, Stored, bf16, f8, plain

METHODS = ("w8a8", "w4a16", "fp8", "awq", "gptq", "gptq-asymmetric")
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def quantized(tensors: Mapping[str, Floats], method: str, group: int = 32) -> dict[str, Stored]:
    """All tensors of the checkpoint; the linear layers (`*_proj.weight`, [out, in]) in the format of `method`.

    group: how many inputs share a scale in the 4-bit formats; must divide every layer's number of inputs.
    """
    half = method.startswith(("awq", "gptq"))
    out: dict[str, Stored] = {}
    for name, weight in tensors.items():
        if name.endswith("_proj.weight"):
            out |= _linear(name.removesuffix(".weight"), weight, method, group)
        else:
            out[name] = plain(weight.astype(np.float16)) if half else bf16(weight)
    return out


def quantization_config(method: str, group: int = 32) -> dict[str, object]:
    """The `quantization_config` that belongs into config.json."""
    if method == "awq":
        return {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
    if method.startswith("gptq"):
        symmetric = method == "gptq"
        return {"quant_method": "gptq", "bits": 4, "group_size": group, "desc_act": False, "sym": symmetric}
    if method == "w4a16":
        return _compressed("pack-quantized", _weights(4, "int", "group", group), None)
    kind = "float" if method == "fp8" else "int"
    activations = {"num_bits": 8, "type": kind, "symmetric": True, "strategy": "token", "dynamic": True}
    return _compressed(f"{kind}-quantized", _weights(8, kind, "channel", None), activations)


def _linear(base: str, weight: Floats, method: str, group: int) -> dict[str, Stored]:
    if method in ("w8a8", "fp8"):
        largest = 127 if method == "w8a8" else 448
        scale = np.abs(weight).max(1, keepdims=True) / largest
        scaled = (weight / scale).astype(np.float32)
        body = plain(np.clip(np.rint(scaled), -127, 127).astype(np.int8)) if method == "w8a8" else f8(scaled)
        return {f"{base}.weight": body, f"{base}.weight_scale": bf16(scale)}
    rows, columns = weight.shape
    grouped = weight.reshape(rows, columns // group, group)
    if method == "w4a16":
        scale = np.abs(grouped).max(2) / 7
        bits = np.clip(np.rint(grouped / scale[..., None]), -8, 7).reshape(rows, columns) + 8
        return {
            f"{base}.weight_packed": plain(_packed(bits, 1)),
            f"{base}.weight_scale": bf16(scale),
            f"{base}.weight_shape": plain(np.array([rows, columns], np.int64)),
        }
    if method == "gptq":  # symmetric: the zero point is 8
        scale = (np.abs(grouped).max(2) / 7).astype(np.float16).astype(np.float32)
        zero = np.full(scale.shape, 8.0, np.float32)
    else:
        low, high = np.minimum(grouped.min(2), 0), np.maximum(grouped.max(2), 0)
        scale = ((high - low) / 15).astype(np.float16).astype(np.float32)
        zero = np.clip(np.rint(-low / scale), 0, 15)
    bits = np.clip(np.rint(grouped / scale[..., None]) + zero[..., None], 0, 15).reshape(rows, columns).T
    scales = plain(scale.T.astype(np.float16))
    if method == "awq":
        packed, zeros = _packed(bits, 1, _AWQ_ORDER), _packed(zero.T, 1, _AWQ_ORDER)
        return {f"{base}.qweight": plain(packed), f"{base}.qzeros": plain(zeros), f"{base}.scales": scales}
    return {
        f"{base}.qweight": plain(_packed(bits, 0)),
        f"{base}.qzeros": plain(_packed(zero.T - 1, 1)),  # stored less one, by an old mistake that became the format
        f"{base}.scales": scales,
        f"{base}.g_idx": plain((np.arange(columns) // group).astype(np.int32)),
    }


def _packed(bits: NDArray[np.generic], axis: int, order: Sequence[int] = range(8)) -> NDArray[np.int32]:
    """Eight 4-bit values to an int32 along `axis`; `order[i]` is the value that lands in nibble i."""
    last = np.moveaxis(bits.astype(np.uint32), axis, -1)
    eights = last.reshape(*last.shape[:-1], -1, 8)
    words = np.zeros(eights.shape[:-1], np.uint32)
    for nibble, source in enumerate(order):
        words |= eights[..., source] << np.uint32(4 * nibble)
    return np.moveaxis(words.view(np.int32), -1, axis)


def _compressed(form: str, weights: dict[str, object], activations: dict[str, object] | None) -> dict[str, object]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


def _weights(bits: int, kind: str, strategy: str, group: int | None) -> dict[str, object]:
    return {
        "num_bits": bits,
        "type": kind,
        "symmetric": True,
        "strategy": strategy,
        "group_size": group,
        "dynamic": False,
    }
