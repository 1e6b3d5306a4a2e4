"""What a card can multiply, and which quantization methods run on it under which vLLM.

`data/quantization.json` is derived from vLLM's releases (`get_min_capability` of each method's class;
`RocmPlatform.supported_quantization`) by `tests/planning/regenerate_quantization.py`. A test holds it against the table
of the pinned engine. A method may run without the card having its units: the weights are then widened in the kernel
(Marlin), which saves memory and traffic but no arithmetic. `operand` says which of the two it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lyc.records.card import Card

Detail = Mapping[str, object]
NATIVE_FP8, NATIVE_FP4, BF16 = 89, 100, 80
"""Least compute capabilities: of `cutlass_scaled_mm` for fp8, of nvfp4 GEMMs, and of bf16 (`CudaPlatform`, 0.33.0)."""
NO_INT8 = 100
"""From here on the units for int8 are few (B300: 0.15 of 4.5 POPS), and vLLM has no CUTLASS int8 GEMM for them."""
_FP8 = frozenset({
    "fp8", "fbgemm_fp8", "ptpc_fp8", "deepseek_v4_fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "mxfp8",
    "modelopt_mxfp8",
})  # fmt: skip
_FP4 = frozenset({"modelopt_fp4", "nvfp4", "nvfp4_per_token", "fp_quant"})
_SCHEMES = {"float8": "fp8", "int8": "int8", "float4": "fp4"}
_MODELOPT = ("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed")
_SAME = {"compressed_tensors": "compressed-tensors", "auto_round": "auto-round", "bnb": "bitsandbytes"}


@dataclass(frozen=True, slots=True)
class Operand:
    """What the matrix units multiply. name: bf16, fp16, fp8, int8 or fp4. rate: dense operations/s of one card.

    native: False where narrower weights are widened first.
    """

    name: str
    rate: int
    native: bool


def runs(card: Card, method: str | None, version: tuple[int, ...], detail: Detail | None = None) -> str | None:
    """Why vLLM `version` cannot serve this method on this card, or None if it can.

    method: as vLLM or the checkpoint names it; None = not quantized. detail: the checkpoint's quantization_config; it
    tells the variants of `modelopt` apart, and without it the most tolerant one counts. Between two releases that were
    read, what either allows is allowed.
    """
    if method is None:
        return None
    names = _variants(method, detail)
    least = [_least(card, name, version) for name in names]
    if all(one is None for one in least):
        return _absent(card, method, names, version)
    needed = min(one for one in least if one is not None)
    has = card.compute_capability
    if has is None or has >= needed:
        return None
    least_text = f"{method} needs compute capability {_dotted(needed)} under vLLM {_text(version)}"
    return f"{least_text}, {card.name} has {_dotted(has)}"


def operand(card: Card, method: str | None, dtype: str, detail: Detail | None = None) -> Operand:
    """In what the GEMMs of a model's linear layers run."""
    plain = "bf16" if card.bf16 and dtype != "float16" else "fp16"
    wide = Operand(plain, card.bf16 or card.fp16, native=method is None)
    wanted = activations(method, detail)
    capability = card.compute_capability
    if wanted == "fp8" and card.fp8:
        return Operand("fp8", card.fp8, native=True)
    if wanted == "fp4" and card.fp4 and capability is not None and capability >= NATIVE_FP4:
        return Operand("fp4", card.fp4, native=True)
    if wanted == "int8" and card.int8:
        return Operand("int8", card.int8, native=capability is None or capability < NO_INT8)
    return wide


def activations(method: str | None, detail: Detail | None = None) -> str:
    """In what a method multiplies where the card can: `fp8`, `int8`, `fp4`, or `16` for weights alone."""
    name = "" if method is None else _SAME.get(method.lower(), method.lower())
    if name == "compressed-tensors":
        return _scheme(detail)
    if name in ("modelopt", "modelopt_mixed"):
        algorithm = _algorithm(detail)
        return "fp4" if "FP4" in algorithm else "fp8"
    return "fp8" if name in _FP8 else "fp4" if name in _FP4 else "16"


def formats(card: Card, version: tuple[int, ...]) -> dict[str, str]:
    """Format of weights → `native`, `weights` (widened before they are multiplied), or `no`, in a fixed order."""
    rows = {"bf16": "native" if card.bf16 else "no", "fp16": "native"}
    for name, methods in _FORMATS.items():
        held = [method for method in methods if runs(card, method, version) is None]
        native = any(operand(card, method, "bfloat16").native for method in held)
        rows[name] = "no" if not held else "native" if native else "weights"
    capability = card.compute_capability
    if card.int8:  # a scheme of compressed-tensors, `CompressedTensorsW8A8Int8`: 7.5 in every release
        rows["int8"] = "native" if capability is None or 75 <= capability < NO_INT8 else "weights"
    return rows


_FORMATS = {
    "fp8": ("fp8",),
    "int8": ("compressed-tensors",),
    "awq": ("awq", "auto_awq"),
    "gptq": ("gptq", "auto_gptq"),
    "mxfp4": ("mxfp4",),
    "nvfp4": ("modelopt_fp4",),
}


def _scheme(detail: Detail | None) -> str:
    """Of the first group of a compressed-tensors config that says how activations are quantized."""
    groups = (detail or {}).get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        inputs = group.get("input_activations") if isinstance(group, Mapping) else None
        if isinstance(inputs, Mapping):
            return _SCHEMES.get(f"{inputs.get('type')}{inputs.get('num_bits')}", "16")
    return "16"


def _algorithm(detail: Detail | None) -> str:
    """`quant_algo`, which stands at the top or under `quantization`."""
    nested = (detail or {}).get("quantization")
    found = (detail or {}).get("quant_algo") or (nested.get("quant_algo") if isinstance(nested, Mapping) else None)
    return str(found or "").upper()


def _variants(method: str, detail: Detail | None) -> tuple[str, ...]:
    name = _SAME.get(method.lower(), method.lower())
    if name == "auto-round":  # `INCConfig.override_quantization_method` takes these checkpoints over
        return ("auto-round", "inc")
    if name != "modelopt":
        return (name,)
    algorithm = _algorithm(detail)
    if not algorithm:
        return _MODELOPT
    kinds = (("MIXED", "modelopt_mixed"), ("MXFP8", "modelopt_mxfp8"), ("FP4", "modelopt_fp4"))
    return (next((variant for word, variant in kinds if word in algorithm), name),)


def _least(card: Card, name: str, version: tuple[int, ...]) -> int | None:
    """Least capability, 0 on a vendor that has none; None = this vLLM has it not."""
    table = _table()
    history = (table.rocm if card.vendor == "amd" else table.cuda).get(name, ())
    around = {max((v for v in table.versions if v <= version), default=table.versions[0])}
    around.add(min((v for v in table.versions if v >= version), default=table.versions[-1]))
    known = [least for v in around if (least := _at(history, v)) is not None]
    return min(known) if known else None


def _at(history: tuple[tuple[tuple[int, ...], int | None], ...], version: tuple[int, ...]) -> int | None:
    return next((least for since, least in reversed(history) if since <= version), None)


def _absent(card: Card, method: str, names: tuple[str, ...], version: tuple[int, ...]) -> str:
    if card.vendor == "amd" and any(name in _table().cuda for name in names):
        return f"vLLM {_text(version)} has no {method} for AMD GPUs"
    dates = [since for name in names for since, least in _table().cuda.get(name, ()) if least is not None]
    if dates and min(dates) > version:
        return f"vLLM {_text(version)} has no {method} yet; {_text(min(dates))} has"
    return f"vLLM {_text(version)} has no quantization method {method}" + (" any more" if dates else "")


@dataclass(frozen=True, slots=True)
class _Table:
    versions: tuple[tuple[int, ...], ...]
    cuda: dict[str, tuple[tuple[tuple[int, ...], int | None], ...]]
    rocm: dict[str, tuple[tuple[tuple[int, ...], int | None], ...]]


@cache
def _table() -> _Table:
    loaded = json.loads((Path(__file__).parent / "data" / "quantization.json").read_text(encoding="utf-8"))
    cuda = {name: tuple((_numbers(v), least) for v, least in rows) for name, rows in loaded["cuda"].items()}
    rocm = {name: tuple((_numbers(v), 0 if has else None) for v, has in rows) for name, rows in loaded["rocm"].items()}
    return _Table(tuple(_numbers(version) for version in loaded["versions"]), cuda, rocm)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _dotted(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"
