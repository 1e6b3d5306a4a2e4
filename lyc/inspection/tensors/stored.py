"""How a checkpoint stores a linear module: plain, or as its quantization writes it."""

from __future__ import annotations

from collections.abc import Iterator

from lyc.inspection.tensors.parts import Linear
from lyc.inspection.tensors.schemes import Scheme
from lyc.records.architecture import TensorGroup

Piece = tuple[str, tuple[int, ...], str]
"""What is put to the module's name, the shape, the dtype."""


def stored(part: Linear, scheme: Scheme | None, dtype: str, layers: tuple[int, ...]) -> list[TensorGroup]:
    """The tensors of one module, with its bias. Quantizations other than MXFP4 keep packed experts one by one."""
    if scheme is None:
        return _plain(part, dtype, layers)
    if part.packed and scheme.style == "blocks":
        return _blocks(part, dtype, layers)
    groups = []
    for name, out in _split(part) if part.packed else ((part.name, part.out),):
        pieces = [*_pieces(scheme, out, part.into, dtype), *([(".bias", (out,), dtype)] if part.bias else [])]
        groups += [TensorGroup(name + end, shape, kind, layers, part.experts) for end, shape, kind in pieces]
    return groups


def _plain(part: Linear, dtype: str, layers: tuple[int, ...]) -> list[TensorGroup]:
    experts = 0 if part.packed else part.experts
    lead = (part.experts,) if part.packed else ()
    matrix = (part.into, part.out) if part.turned else (part.out, part.into)
    weight = "" if part.packed else ".weight"
    bias = "_bias" if part.packed else ".bias"
    groups = [TensorGroup(part.name + weight, (*lead, *matrix), dtype, layers, experts)]
    if part.bias:
        groups.append(TensorGroup(part.name + bias, (*lead, part.out), dtype, layers, experts))
    return groups


def _split(part: Linear) -> Iterator[tuple[str, int]]:
    """The modules that quantizers make of packed experts: one for each, gate and up apart."""
    head, _, last = part.name.rpartition(".")
    if last == "gate_up_proj":
        yield f"{head}.{{expert}}.gate_proj", part.out // 2
        yield f"{head}.{{expert}}.up_proj", part.out // 2
    else:
        yield f"{head}.{{expert}}.{last}", part.out


def _blocks(part: Linear, dtype: str, layers: tuple[int, ...]) -> list[TensorGroup]:
    """MXFP4 as gpt-oss stores it: 32 values in 16 bytes, and their scale in one."""
    lead = (part.experts, part.out, part.into // 32)
    groups = [
        TensorGroup(part.name + "_blocks", (*lead, 16), "U8", layers),
        TensorGroup(part.name + "_scales", lead, "U8", layers),
    ]
    return [*groups, TensorGroup(part.name + "_bias", (part.experts, part.out), dtype, layers)] if part.bias else groups


def _pieces(scheme: Scheme, out: int, into: int, dtype: str) -> list[Piece]:
    match scheme.kind:
        case "fp8" | "int8":
            return _bytes(scheme, out, into, dtype)
        case "awq":
            per, rows = 32 // scheme.bits, _ceil(into, scheme.group or into)
            return [
                (".qweight", (into, out // per), "I32"), (".qzeros", (rows, out // per), "I32"),
                (".scales", (rows, out), "F16"),
            ]  # fmt: skip
        case "gptq":
            rows = _ceil(into, scheme.group or into)
            return [
                (".qweight", (into * scheme.bits // 32, out), "I32"),
                (".qzeros", (rows, out * scheme.bits // 32), "I32"),
                (".scales", (rows, out), "F16"), *([(".g_idx", (into,), "I32")] if scheme.ordered else []),
            ]  # fmt: skip
        case "packed":
            return _packed(scheme, out, into, dtype)
        case "nvfp4":
            return _nvfp4(scheme, out, into)
        case "mxfp4":
            weight = ".weight_packed" if scheme.style == "ct" else ".weight"
            return [(weight, (out, into // 2), "U8"), (".weight_scale", (out, into // 32), "U8")]
        case "mxfp8":
            return [(".weight", (out, into), "F8_E4M3"), (".weight_scale", (out, into // 32), "U8")]
        case "bnb4":
            return _four_bits(scheme, out * into)
        case "bnb8":
            return [(".weight", (out, into), "I8"), (".SCB", (out,), "F32")]
        case _:
            return [(".weight", (out, into), dtype)]


def _bytes(scheme: Scheme, out: int, into: int, dtype: str) -> list[Piece]:
    """Eight bits a value; scales of the whole tensor, of channels, groups or blocks."""
    kind = "F8_E4M3" if scheme.kind == "fp8" else "I8"
    name = ".weight_scale_inv" if scheme.block and scheme.style == "fp8" else ".weight_scale"
    one: tuple[int, ...] = (1,) if scheme.style == "ct" else ()
    scale = dtype if scheme.style == "ct" else "F32"
    if scheme.block:
        shape: tuple[int, ...] = (_ceil(out, scheme.block[0]), _ceil(into, scheme.block[1]))
    elif scheme.group < 0:
        shape = one
    else:
        shape = (out, _ceil(into, scheme.group) if scheme.group else 1)
    pieces: list[Piece] = [(".weight", (out, into), kind), (name, shape, scale)]
    if not scheme.symmetric:
        pieces.append((".weight_zero_point", shape, "I8"))
    return [*pieces, (".input_scale", one, scale)] if scheme.static else pieces


def _packed(scheme: Scheme, out: int, into: int, dtype: str) -> list[Piece]:
    """Compressed-tensors' whole numbers of few bits, packed into 32."""
    columns = _ceil(into, scheme.group) if scheme.group > 0 else 1
    pieces: list[Piece] = [
        (".weight_packed", (out, _ceil(into * scheme.bits, 32)), "I32"), (".weight_scale", (out, columns), dtype),
        (".weight_shape", (2,), "I64"),
    ]  # fmt: skip
    if not scheme.symmetric:
        pieces.append((".weight_zero_point", (_ceil(out * scheme.bits, 32), columns), "I32"))
    return [*pieces, (".weight_g_idx", (into,), "I32")] if scheme.ordered else pieces


def _nvfp4(scheme: Scheme, out: int, into: int) -> list[Piece]:
    own = scheme.style == "modelopt"
    one: tuple[int, ...] = () if own else (1,)
    pieces: list[Piece] = [
        (".weight" if own else ".weight_packed", (out, into // 2), "U8"),
        (".weight_scale", (out, into // 16), "F8_E4M3"),
        (".weight_scale_2" if own else ".weight_global_scale", one, "F32"),
    ]
    if scheme.static:
        pieces.append((".input_scale" if own else ".input_global_scale", one, "F32"))
    return pieces


def _four_bits(scheme: Scheme, values: int) -> list[Piece]:
    """Bitsandbytes: a scale for 64 values; with double quantization these are bytes, and 256 of them share another."""
    blocks = _ceil(values, 64)
    pieces: list[Piece] = [
        (".weight", (values // 2, 1), "U8"), (".weight.absmax", (blocks,), "F32" if scheme.symmetric else "U8"),
        (".weight.quant_map", (16,), "F32"), (".weight.quant_state.bitsandbytes__nf4", (82,), "U8"),
    ]  # fmt: skip
    if scheme.symmetric:
        return pieces
    return [
        *pieces, (".weight.nested_absmax", (_ceil(blocks, 256),), "F32"), (".weight.nested_quant_map", (256,), "F32"),
    ]  # fmt: skip


def _ceil(count: int, size: int) -> int:
    return -(-count // size)
