"""Tensors that were made up from config.json, beside the checkpoint's own total: what to add, scale or doubt. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from lyc.planning.weights.formats import RUNTIME
from lyc.planning.weights.roles import Kind, Region, role
from lyc.records.architecture import Architecture, TensorGroup, TensorsFrom, Tower
from lyc.records.model import ModelFacts

_PACKED = Fraction(1, 200)  # kernels repack quantized weights in ways that only some have been measured of
_PACKED_UNSURE = {"compressed-tensors": Fraction(1, 500), "fp8": Fraction(1, 500), "mxfp4": Fraction(1, 100)}
_SAME = Fraction(1, 2000)
_TABLE = Fraction(1, 100)
_NEAR = Fraction(1, 50)
_LEAST, _MOST = Fraction(7, 10), Fraction(13, 10)
_TALKERS = ("Omni",)
"""In names of classes whose checkpoints hold a voice that vLLM does not load."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What to make of the difference. factor: applies to all parameters of the decoder, or, where `linear`, to those of
    its linear layers and experts alone. towers: bytes of towers whose tensors are not known; of_towers: factor of those
    that are. tied: the total leaves no room for a head of its own. unsure, towers_unsure: relative, for bands.
    """

    factor: Fraction = Fraction(1)
    linear: bool = False
    towers: int = 0
    of_towers: Fraction = Fraction(1)
    tied: bool = False
    unsure: Fraction = Fraction(0)
    towers_unsure: Fraction = Fraction(0)


def reconciled(facts: ModelFacts) -> Reconciled:
    """Headers are exact. Else what the total has beyond the tensors is towers where they are missing, a second copy of
    a tied table (which vLLM does not load), or spread over all: over linear layers alone where the checkpoint is
    quantized, be it that only its size tells. A total far above the tensors is not believed.
    """
    architecture = facts.architecture
    packed = _PACKED_UNSURE.get(facts.quantization or "", Fraction(0) if facts.quantization is None else _PACKED)
    if facts.tensors_from is TensorsFrom.HEADERS or architecture is None:
        return Reconciled(unsure=packed, towers_unsure=packed)
    unsure = packed + (Fraction(1, 1000) if facts.weights_bytes is not None else Fraction(1, 100))
    if not architecture.known:
        unsure += Fraction(1, 20)
    without_towers = architecture.towers and not any(role(g.name).region is Region.TOWER for g in facts.tensors)
    stored = facts.stored_bytes
    guess = _towers(architecture) if without_towers else 0
    if not facts.weights_bytes or not stored:
        return Reconciled(towers=guess, unsure=unsure, towers_unsure=Fraction(1, 4))
    missing = facts.weights_bytes - stored
    if _as_it_is(facts, architecture, stored, missing):
        return Reconciled(unsure=unsure)
    table = _table(facts)
    if not architecture.tied and table and abs(missing + table) < table * _TABLE:
        return Reconciled(tied=True, unsure=unsure)
    if without_towers and missing > 0:
        return Reconciled(towers=missing, unsure=unsure, towers_unsure=Fraction(1, 20))
    return _spread(facts, facts.weights_bytes - guess, stored, Reconciled(towers=guess, unsure=unsure))


def _as_it_is(facts: ModelFacts, architecture: Architecture, stored: int, missing: int) -> bool:
    """The difference is nothing, or something that vLLM does not load."""
    ratio = 1 + Fraction(missing, stored)
    if abs(ratio - 1) < _SAME or (missing > 0 and any(word in architecture.name for word in _TALKERS)):
        return True
    wide = all(group.dtype == "F32" for group in facts.tensors)
    if facts.quantization is None and abs(ratio - (Fraction(1, 2) if wide else 2)) < _NEAR:
        return True  # one is float32 and the other is not: it loads at the run-time dtype
    table = _table(facts)
    return bool(architecture.tied and table and abs(missing - table) < table * _TABLE)


def _spread(facts: ModelFacts, total: int, stored: int, base: Reconciled) -> Reconciled:
    ratio = Fraction(total, stored)
    quarter = Fraction(1, 4)
    if ratio > _MOST:
        return replace(base, unsure=Fraction(1, 10), towers_unsure=quarter)
    if facts.quantization is None and ratio >= _LEAST:
        towers = sum(group.size for group in facts.tensors if role(group.name).kind is Kind.TOWER)
        if abs(total - stored) < towers / 2:  # their projectors differ most from what configurations tell
            return replace(base, of_towers=1 + Fraction(int(total - stored), int(towers)), towers_unsure=quarter)
        return replace(base, factor=ratio, of_towers=ratio, unsure=base.unsure + abs(ratio - 1), towers_unsure=quarter)
    fixed = sum(group.size for group in facts.tensors if _is_fixed(group))
    if total <= fixed or stored <= fixed:
        return replace(base, unsure=Fraction(1, 10), towers_unsure=quarter)
    linear = Fraction(int(total - fixed), int(stored - fixed))
    doubt = min(abs(linear - 1), Fraction(1, 10))
    return replace(base, factor=linear, linear=True, unsure=base.unsure + doubt, towers_unsure=quarter)


def _is_fixed(group: TensorGroup) -> bool:
    """What a quantized checkpoint leaves in 16 bit: embedding, head, towers, norms."""
    return role(group.name).kind in (Kind.EMBEDDING, Kind.TOWER, Kind.REST)


def _table(facts: ModelFacts) -> int:
    """Bytes of one embedding or head, as stored."""
    sizes = [
        group.size // group.count
        for group in facts.tensors
        if role(group.name).kind is Kind.EMBEDDING and "per_layer" not in group.name
    ]
    return max(sizes, default=0)


def _towers(architecture: Architecture) -> int:
    elements = sum(_tower(tower, architecture.hidden) for tower in architecture.towers)
    return elements * RUNTIME.get(architecture.dtype, 2)


def _tower(tower: Tower, hidden: int) -> int:
    """Elements of a transformer: four square matrices, two of the MLP (three where it is narrow and so gated), and a
    projector of two matrices, the first of four patches together where there are images.
    """
    matrices = 3 if tower.intermediate <= 3 * tower.hidden else 2
    layers = tower.layers * (4 * tower.hidden**2 + matrices * tower.hidden * tower.intermediate)
    return layers + (4 if tower.kind == "vision" else 1) * tower.hidden * hidden + hidden**2
