"""The names of an index, with the shapes that config.json lets expect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lyc.inspection.tensors.collapse import template
from lyc.inspection.tensors.expected import total
from lyc.records.architecture import TensorGroup

_WRAPPERS = frozenset({"model", "language_model", "vision_model", "text_model", "thinker", "transformer", "base_model"})
"""Parts of names that come and go between versions of one model class."""
_ENOUGH = 0.02
"""Relative. An index whose names explain the total less well than this is taken for a part of one."""


def named(
    names: Iterable[str], groups: Sequence[TensorGroup], size: int | None
) -> tuple[tuple[TensorGroup, ...], bool]:
    """The groups that `names` are; those of no known shape have the shape ().

    size: bytes in all, if known. An empty or abridged index names less than the model has: then all of `groups` is
    returned. The second value says whether the names were used.
    """
    found = _grouped(names, groups)
    if not found:
        return tuple(groups), False
    whole, some = total(groups), total(found)
    if size is None:
        return (found, True) if some > whole / 2 else (tuple(groups), False)
    if abs(some - size) <= max(abs(whole - size), size * _ENOUGH):
        return found, True
    return tuple(groups), False


def _grouped(names: Iterable[str], groups: Sequence[TensorGroup]) -> tuple[TensorGroup, ...]:
    exact: dict[str, list[TensorGroup]] = {}
    loose: dict[str, list[TensorGroup]] = {}
    for group in groups:
        exact.setdefault(group.name, []).append(group)
        loose.setdefault(_bare(group.name), []).append(group)
    tally: dict[str, dict[int, int]] = {}
    experts: set[str] = set()
    for name in names:
        pattern, layer, expert = template(name)
        layers = tally.setdefault(pattern, {})
        layers[layer] = layers.get(layer, 0) + 1
        if expert >= 0:
            experts.add(pattern)
    made: list[TensorGroup] = []
    for pattern, layers in tally.items():
        like = exact.get(pattern) or loose.get(_bare(pattern)) or []
        parted: dict[tuple[tuple[int, ...], str, int], list[int]] = {}
        for layer, times in layers.items():
            known = [one for one in like if layer in one.layers] or like
            shape, dtype = (known[0].shape, known[0].dtype) if known else ((), "U8")
            parted.setdefault((shape, dtype, times if pattern in experts else 0), []).append(layer)
        for (shape, dtype, times), numbers in parted.items():
            made.append(TensorGroup(pattern, shape, dtype, tuple(sorted(n for n in numbers if n >= 0)), times))
    return tuple(made)


def _bare(name: str) -> str:
    return ".".join(word for word in name.split(".") if word not in _WRAPPERS)
