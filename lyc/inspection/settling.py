"""What config.json leaves open, settled by what the weights weigh.

A file may lack sizes (abridged ones do), or count parts that a checkpoint was saved without: layers for multi-token
prediction, the table of a tied output, an encoder. Where the expected tensors do not weigh what the index says, these
are tried; what fits best is taken. Names of numbers found in this way stay among the unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from lyc.inspection.architecture import described
from lyc.inspection.sections import Sections, sections
from lyc.inspection.tensors.expected import expected, total
from lyc.inspection.tensors.schemes import Quantization
from lyc.records.architecture import Architecture, TensorGroup

CLOSE = 0.01
"""Relative difference of bytes up to which expected tensors count as explained."""
_GOOD = 0.001
_WIDTHS = ("intermediate_size", "moe_intermediate_size")
_RATIOS = (1.5, 8.0)  # of an MLP's width to the hidden size
_USUAL = 3.5
_STRAINS = (0.0, 0.0003, 0.001, 0.002, 0.004, 0.008)  # of widths that are multiples of 256, 128, 64, 32, 8, 1


@dataclass(frozen=True, slots=True)
class Settled:
    """The architecture with the tensors that it lets expect. gap: relative to the known size, 0 where none is known.

    strain: how unusual a number is that was solved for.
    """

    found: Sections
    built: Architecture
    groups: tuple[TensorGroup, ...]
    gap: float = 0.0
    strain: float = 0.0

    @property
    def score(self) -> float:
        return self.gap + self.strain


def settle(config: Mapping[str, object], quantized: Quantization | None, size: int | None) -> Settled | None:
    """The reading of `config` that explains `size` bytes best; None where it describes no layers."""
    first = _build(config, quantized, size)
    if first is None or size is None or first.gap < _GOOD:
        return first
    best = first
    for changes in _alternatives(first):
        tried = _solved(_patched(config, first.found.path, changes), quantized, size)
        if tried is not None and tried.score < best.score / 2:
            best = tried
    doubts = tuple(dict.fromkeys((*best.built.unknown, *first.built.unknown)))
    return replace(best, built=replace(best.built, unknown=doubts, positions=first.built.positions))


def _build(config: Mapping[str, object], quantized: Quantization | None, size: int | None) -> Settled | None:
    found = sections(config)
    built = described(found)
    if built is None:
        return None
    groups = expected(found, built, quantized)
    return Settled(found, built, groups, abs(total(groups) / size - 1) if size else 0.0)


def _alternatives(first: Settled) -> Iterator[dict[str, object]]:
    """Changes to the language model's section, the empty one first; `/name` is in the outermost one."""
    built = first.built
    doubts: list[list[dict[str, object]]] = []
    if not any(part.mentions("tie_word_embeddings") for part in first.found.chain):
        doubts.append([{}, {"tie_word_embeddings": not built.tied}])
    if built.mtp:
        doubts.append([{}, {"num_nextn_predict_layers": 0}])
    absent: dict[str, object] = {f"/{key}": None for key in ("vision_config", "audio_config") if key in built.unknown}
    if absent:
        doubts.append([{}, absent])
    for combination in product(*doubts):
        yield {key: value for part in combination for key, value in part.items()}


def _solved(config: Mapping[str, object], quantized: Quantization | None, size: int) -> Settled | None:
    """With the one width that is missing solved for, or the vocabulary, or the hidden size and the width."""
    plain = _build(config, quantized, size)
    if plain is None:
        return None
    missing = plain.built.unknown
    widths = [name for name in _WIDTHS if name in missing]
    path = plain.found.path
    if "hidden_size" in missing and "num_attention_heads" in missing:
        return _scanned(config, quantized, size, plain) or plain
    if not widths and "vocab_size" in missing:
        widths = ["vocab_size"]
    if len(widths) == 1:
        return _linear(config, path, widths[0], quantized, size) or plain
    return plain


def _linear(
    config: Mapping[str, object], path: tuple[str, ...], name: str, quantized: Quantization | None, size: int
) -> Settled | None:
    """Bytes grow evenly with a width: two points give the third."""
    low, high = (_build(_patched(config, path, {name: width}), quantized, size) for width in (1024, 2048))
    if low is None or high is None:
        return None
    first, step = total(low.groups), (total(high.groups) - total(low.groups)) / 1024
    if step <= 0:
        return None
    width = 1024 + (size - first) / step
    if not 64 <= width < 1 << 20:
        return None
    near = [round(width / unit) * unit for unit in (256, 128, 64, 32, 8, 1)]
    tried = (_build(_patched(config, path, {name: one}), quantized, size) for one in near)
    good = [one for one in tried if one is not None]
    rounder = (replace(one, strain=strain) for one, strain in zip(good, _STRAINS, strict=False) if one.gap < 1e-4)
    return next(rounder, None) or min(good, key=lambda one: one.gap, default=None)


def _scanned(config: Mapping[str, object], quantized: Quantization | None, size: int, plain: Settled) -> Settled | None:
    """The hidden size whose MLP would have the usual proportions; heads × their size make it up."""
    layer = next((one for one in plain.built.layers if one.heads and one.latent is None), None)
    text = plain.found.text
    if layer is None or not text.writes("head_dim") or any(one.experts for one in plain.built.layers):
        return None
    unit, best, worst = layer.head_size * max(layer.kv_heads, 1), None, math.inf
    for hidden in range(unit, 20_480, unit):
        changes = {"hidden_size": hidden, "num_attention_heads": hidden // layer.head_size}
        tried = _linear(_patched(config, plain.found.path, changes), plain.found.path, _WIDTHS[0], quantized, size)
        if tried is None or tried.gap > _GOOD:
            continue
        ratio = next((one.intermediate for one in tried.built.layers if one.intermediate), 0) / hidden
        if _RATIOS[0] <= ratio <= _RATIOS[1] and abs(math.log(ratio / _USUAL)) < worst:
            best, worst = tried, abs(math.log(ratio / _USUAL))
    return best


def _patched(config: Mapping[str, object], path: tuple[str, ...], changes: Mapping[str, object]) -> dict[str, object]:
    """A copy with `changes` in the section at `path`."""
    outer = {**config, **{key[1:]: value for key, value in changes.items() if key.startswith("/")}}
    inner = {key: value for key, value in changes.items() if not key.startswith("/")}
    if not path:
        return {**outer, **inner}
    section = outer.get(path[0])
    nested = section if isinstance(section, Mapping) else {}
    return {**outer, path[0]: _patched(nested, path[1:], inner)}
