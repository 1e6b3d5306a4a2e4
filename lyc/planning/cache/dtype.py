"""The type in which keys and values are stored, and the bytes that it takes."""

from __future__ import annotations

from lyc.planning.cache.rules import Rules
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving

BYTES = {
    "float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1,
    "fp8_inc": 1, "fp8_ds_mla": 1, "int8": 1, "fp8_per_token_head": 1, "int8_per_token_head": 1,
}  # fmt: skip
"""Bytes of one element, by vLLM's names (vllm/utils/torch_utils.py STR_DTYPE_TO_TORCH_DTYPE)."""


def resolve(facts: ModelFacts, serving: Serving, rules: Rules) -> str:
    """The name of the type in force: the flag's, the checkpoint's own where the version heeds it, or the model's.

    vllm/utils/torch_utils.py resolve_kv_cache_dtype_string, 0.14.0; layers/attention/attention.py, 0.16.0.
    """
    asked, detail = serving.kv_cache_dtype, facts.quantization_detail
    method = str(detail.get("quant_method") or facts.quantization or "")
    scheme = detail.get("kv_cache_scheme")
    if method == "compressed-tensors" and scheme and rules.scheme_dtype and (asked == "auto" or rules.scheme_wins):
        return "fp8"
    if asked != "auto":
        return asked
    if method.startswith("modelopt") and rules.checkpoint_dtype:
        inner = detail.get("quantization")
        inner = inner if isinstance(inner, dict) else detail
        chosen = inner.get("kv_cache_scheme") or scheme
        chosen = chosen or inner.get("kv_cache_quant_algo") or detail.get("kv_cache_quant_algo")
        if _is_fp8(chosen):
            return "fp8_e4m3"
    return serving.dtype


def _is_fp8(chosen: object) -> bool:
    if isinstance(chosen, dict):
        return chosen.get("dynamic") is False and chosen.get("num_bits") == 8 and chosen.get("type") == "float"
    return isinstance(chosen, str) and chosen.lower() == "fp8"


def vector(dtype: str, size: int) -> int:
    """Bytes of one key or value of `size` elements, with the scales that are stored beside it.

    vllm/v1/kv_cache_interface.py AttentionSpec, 0.25.0: nvfp4 packs two elements a byte and a scale for 16; the
    per-token-head types add one float32. A name that is not known counts two bytes an element.
    """
    if dtype.startswith("nvfp4"):
        return size // 2 + size // 16
    if dtype == "int4_per_token_head":
        return size // 2 + 4
    return size * BYTES.get(dtype, 2) + (4 if dtype.endswith("_per_token_head") else 0)


def known(dtype: str) -> bool:
    """Whether `vector` knows this type for sure."""
    return dtype in BYTES or dtype.startswith("nvfp4") or dtype == "int4_per_token_head"
