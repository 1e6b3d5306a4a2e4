"""config.json → the tensors that its checkpoint should hold."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lyc.inspection.families import Family, family
from lyc.inspection.safetensors_header import BITS
from lyc.inspection.sections import Sections
from lyc.inspection.tensors.decoder import decoder
from lyc.inspection.tensors.parts import Bare
from lyc.inspection.tensors.stored import plain
from lyc.records.architecture import Architecture, TensorGroup

_SAFETENSORS = {"bfloat16": "BF16", "float16": "F16", "half": "F16", "float32": "F32", "float": "F32"}


def expected(found: Sections, built: Architecture) -> tuple[TensorGroup, ...]:
    """Groups by config.json alone, in Hugging Face's names and the stored form."""
    dtype = _SAFETENSORS.get(built.dtype, "BF16")
    row = family(found.text.model_type) or Family()
    groups: list[TensorGroup] = []
    for part, layers in decoder(found.text, row, built, "model.", "lm_head"):
        if isinstance(part, Bare):
            groups.append(TensorGroup(part.name, part.shape, part.dtype or dtype, layers))
        else:
            groups += plain(part, dtype, layers)
    return tuple(groups)


def total(groups: Iterable[TensorGroup]) -> int:
    """Bytes of all tensors."""
    return sum(math.prod(one.shape) * one.count * BITS.get(one.dtype, 8) // 8 for one in groups)
