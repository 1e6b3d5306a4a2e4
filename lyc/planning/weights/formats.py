"""Bytes an element takes on the GPU, by how it is stored, by what is asked of vLLM, and by what kernels make of it.

Sources: vLLM's quantization methods (`vllm/model_executor/layers/quantization/*.py`, `create_weights` and
`process_weights_after_loading`) and linear layers (`params_dtype` is the runtime dtype), 0.19.0 unless said otherwise.
"""

from __future__ import annotations

from lyc.records.architecture import DTYPE_BITS
from lyc.records.serving import Serving

RUNTIME = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "float64": 8}
_FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
_AT_RUNTIME = frozenset(("weight", "bias", "scales"))
_ALWAYS_F32 = frozenset(("A_log", "A", "e_score_correction_bias", "expert_bias"))
_DEQUANTIZED_SCALES = (0, 10)  # BitsAndBytesModelLoader._dequantize_dq

# Bytes a weight takes when vLLM quantizes while loading: matrix, and scales beside it.
_FP8_TENSOR = 1.0
_FP8_BLOCK = 1 + 4 / (128 * 128)  # one float32 for 128 × 128
_MXFP8 = 1 + 1 / 32
_NVFP4 = 1 / 2 + 1 / 16
_MXFP4 = 1 / 2 + 1 / 32
_NF4 = 1 / 2 + 4 / 64  # `absmax` is kept as float32 for 64 weights
WHILE_LOADING = {
    "fp8": _FP8_TENSOR, "fp8_per_tensor": _FP8_TENSOR, "fp8_per_channel": _FP8_TENSOR, "fp8_per_block": _FP8_BLOCK,
    "ptpc_fp8": _FP8_TENSOR, "fbgemm_fp8": _FP8_TENSOR, "mxfp8": _MXFP8, "int8_per_channel_weight_only": 1.0,
    "bitsandbytes": _NF4, "nvfp4_per_token": _NVFP4, "mxfp4": _MXFP4, "experts_int8": 1.0,
}  # fmt: skip
EXPERTS_ONLY = frozenset(("experts_int8", "mxfp4"))


def element(dtype: str, leaf: str, module: str, serving: Serving) -> float:
    """Bytes of one element of a stored tensor once loaded.

    Floats that are weights, biases or GPTQ's and AWQ's scales take the runtime dtype, whatever the file has; other
    scales and packed integers stay as stored; a few are float32 always. An unknown dtype counts two bytes.
    bitsandbytes' scales, stored in one byte, are unpacked to float32 since 0.10.
    """
    name = module.rsplit(".", 1)[-1]
    if leaf == "e_score_correction_bias" or name in _ALWAYS_F32:
        return 4.0
    if dtype in _FLOATS and leaf in _AT_RUNTIME:
        return float(RUNTIME.get(serving.dtype, 2))
    if leaf == "weight.absmax" and serving.version >= _DEQUANTIZED_SCALES:
        return 4.0
    return DTYPE_BITS.get(dtype, 16) / 8


def kept(leaf: str, *, method: str | None, ordered: bool, expert: bool, hopper: bool) -> bool:
    """Whether a stored tensor still stands on the GPU after loading.

    method: quantization of the checkpoint. ordered: GPTQ's `desc_act`. hopper: the card is one, or not known. There the
    Machete kernel is chosen, which leaves `qzeros` and `g_idx` of symmetric GPTQ where they are; Marlin puts empty
    tensors in their place (`kernels/linear/mixed_precision/{machete,marlin}.py`, 0.19.0), but for `g_idx` if ordered.
    bitsandbytes reads its nested scales and maps into one float32 `absmax` for each matrix.
    """
    if leaf in ("g_idx", "weight_g_idx"):
        return (ordered or hopper) and not expert
    if leaf == "qzeros" and method == "gptq":
        return expert or hopper
    return not leaf.startswith(("weight.nested", "weight.quant", "weight.offset"))


def axes(leaf: str) -> tuple[int, int]:
    """(axis of outputs, axis of inputs) of a matrix: GPTQ and AWQ store inputs first."""
    return (1, 0) if leaf in ("qweight", "qzeros", "scales") else (0, 1)
