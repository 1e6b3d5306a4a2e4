"""Names, dtypes and shapes → `TensorGroup`s. Made for checkpoints of hundreds of thousands of tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lyc.records.architecture import TensorGroup

Row = tuple[str, str, tuple[int, ...]]
"""Name, dtype as safetensors writes it, shape."""

_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h|layer|block|resblocks|layers_list)\.(\d+)(?=\.)")
_EXPERT = re.compile(r"\.(?:experts|local_experts)\.(\d+)(?=\.)")


def template(name: str) -> tuple[str, int, int]:
    """(name with `{layer}` and `{expert}`, layer, expert); -1 where there is no such number."""
    expert = layer = -1
    if "experts." in name and (found := _EXPERT.search(name)):
        expert = int(found[1])
        name = f"{name[: found.start(1)]}{{expert}}{name[found.end(1) :]}"
    if found := _LAYER.search(name):
        layer = int(found[1])
        name = f"{name[: found.start(1)]}{{layer}}{name[found.end(1) :]}"
    return name, layer, expert


def collapse(rows: Iterable[Row]) -> tuple[TensorGroup, ...]:
    """Groups in the order in which their first tensors come. Each tensor is in exactly one."""
    found: dict[tuple[str, tuple[int, ...], str], dict[int, int]] = {}
    lone: dict[tuple[str, tuple[int, ...], str], None] = {}
    for name, dtype, shape in rows:
        pattern, layer, expert = template(name)
        key = (pattern, shape, dtype)
        layers = found.setdefault(key, {})
        layers[layer] = layers.get(layer, 0) + 1
        if expert < 0:
            lone[key] = None
    groups = []
    for key, layers in found.items():
        pattern, shape, dtype = key
        by_experts: dict[int, list[int]] = {}
        for layer, times in layers.items():
            by_experts.setdefault(0 if key in lone else times, []).append(layer)
        for experts, numbers in by_experts.items():
            groups.append(TensorGroup(pattern, shape, dtype, tuple(sorted(n for n in numbers if n >= 0)), experts))
    return tuple(groups)
