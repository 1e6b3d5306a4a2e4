"""config.json → the tensors that its checkpoint should hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from lyc.inspection.families import Family, family
from lyc.inspection.sections import Sections
from lyc.inspection.tensors.decoder import decoder
from lyc.inspection.tensors.encoders import encoders, prefixes
from lyc.inspection.tensors.parts import Bare, Linear
from lyc.inspection.tensors.schemes import Quantization, Scheme
from lyc.inspection.tensors.stored import stored
from lyc.records.architecture import Architecture, TensorGroup

_SAFETENSORS = {"bfloat16": "BF16", "float16": "F16", "half": "F16", "float32": "F32", "float": "F32"}


def expected(found: Sections, built: Architecture, quantized: Quantization | None = None) -> tuple[TensorGroup, ...]:
    """Groups by config.json alone, in Hugging Face's names and the stored form."""
    dtype = _SAFETENSORS.get(built.dtype, "BF16")
    row = family(found.text.model_type) or Family()
    groups: list[TensorGroup] = []
    prefix, head = prefixes(found) or (row.model, row.head)
    for part, layers in chain(decoder(found.text, row, built, prefix, head), encoders(found)):
        if isinstance(part, Bare):
            groups.append(TensorGroup(part.name, part.shape, part.dtype or dtype, layers))
        elif part.name == head and quantized is not None and not quantized.heads:
            groups += stored(part, None, dtype, layers)
        else:
            for scheme, numbers in _schemes(part, layers, quantized):
                groups += stored(part, scheme, dtype, numbers)
    return tuple(groups)


def _schemes(
    part: Linear, layers: tuple[int, ...], quantized: Quantization | None
) -> Iterator[tuple[Scheme | None, tuple[int, ...]]]:
    """How it is stored, and in which layers; more than one where a quantization names single layers."""
    if quantized is None or (quantized.only_experts and not part.experts):
        yield None, layers
        return
    name = part.name.replace("{expert}", "0")
    if not quantized.numbered or not layers:
        yield quantized.scheme(name.replace("{layer}", str(layers[0]) if layers else "0")), layers
        return
    found: dict[Scheme | None, list[int]] = {}
    for at in layers:
        found.setdefault(quantized.scheme(name.replace("{layer}", str(at))), []).append(at)
    for scheme, numbers in found.items():
        yield scheme, tuple(numbers)


def total(groups: Iterable[TensorGroup]) -> int:
    """Bytes of all tensors."""
    return sum(one.size for one in groups)
