"""How a checkpoint stores a linear module: plain, or as its quantization writes it."""

from __future__ import annotations

from lyc.inspection.tensors.parts import Linear
from lyc.records.architecture import TensorGroup


def plain(part: Linear, dtype: str, layers: tuple[int, ...]) -> list[TensorGroup]:
    experts = 0 if part.packed else part.experts
    lead = (part.experts,) if part.packed else ()
    matrix = (part.into, part.out) if part.transposed else (part.out, part.into)
    weight = "" if part.packed else ".weight"
    bias = "_bias" if part.packed else ".bias"
    groups = [TensorGroup(part.name + weight, (*lead, *matrix), dtype, layers, experts)]
    if part.bias:
        groups.append(TensorGroup(part.name + bias, (*lead, part.out), dtype, layers, experts))
    return groups
