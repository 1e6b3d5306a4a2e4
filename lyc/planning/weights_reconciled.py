"""Tensors that were made up from config.json, beside the checkpoint's own total: what to add, scale or doubt. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from lyc.planning.parameters_formats import RUNTIME, STORED
from lyc.planning.parameters_roles import Kind, Region, role
from lyc.records.architecture import Architecture, TensorsFrom, Tower
from lyc.records.model import ModelFacts

_PACKED = Fraction(1, 200)  # kernels repack quantized weights in ways that only some have been measured of
_PACKED_UNSURE = {"compressed-tensors": Fraction(1, 500), "fp8": Fraction(1, 500), "mxfp4": Fraction(1, 100)}
_SAME = Fraction(1, 2000)
_TABLE = Fraction(1, 100)
_PLAUSIBLE = (Fraction(7, 10), Fraction(13, 10))


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What to make of the difference. factor: applies to all parameters. towers: bytes of towers whose tensors are not
    known. tied: the total leaves no room for a head of its own. unsure, towers_unsure: relative, for bands.
    """

    factor: Fraction = Fraction(1)
    towers: int = 0
    tied: bool = False
    unsure: Fraction = Fraction(0)
    towers_unsure: Fraction = Fraction(0)


def stored_bytes(facts: ModelFacts) -> int:
    """Bytes of all tensors of the checkpoint as `facts.tensors` has them."""
    total = sum(group.count * prod(group.shape) * STORED.get(group.dtype, 2.0) for group in facts.tensors)
    return int(total)


def reconciled(facts: ModelFacts) -> Reconciled:
    """Headers are exact. Else what the total has beyond the tensors is towers where they are missing, a second copy of
    a tied table (which vLLM does not load), or spread over all; far from it, the total is not believed.
    """
    architecture = facts.architecture
    packed = _PACKED_UNSURE.get(facts.quantization or "", Fraction(0) if facts.quantization is None else _PACKED)
    if facts.tensors_from is TensorsFrom.HEADERS or architecture is None:
        return Reconciled(unsure=packed, towers_unsure=packed)
    unsure = packed + (Fraction(1, 1000) if facts.weights_bytes is not None else Fraction(1, 100))
    if not architecture.known:
        unsure += Fraction(1, 20)
    without_towers = architecture.towers and not any(role(g.name).region is Region.TOWER for g in facts.tensors)
    stored = stored_bytes(facts)
    guess = _towers(architecture) if without_towers else 0
    if facts.weights_bytes is None or not stored:
        return Reconciled(towers=guess, unsure=unsure, towers_unsure=Fraction(1, 4))
    ratio = Fraction(facts.weights_bytes, stored)
    missing = facts.weights_bytes - stored
    table = _table(facts)
    if abs(ratio - 1) < _SAME or abs(ratio - 2) < Fraction(1, 50):
        return Reconciled(unsure=unsure)  # twice: a float32 checkpoint, which loads at the run-time dtype
    if architecture.tied and table and abs(missing - table) < table * _TABLE:
        return Reconciled(unsure=unsure)
    if not architecture.tied and table and abs(missing + table) < table * _TABLE:
        return Reconciled(tied=True, unsure=unsure)
    if without_towers and missing > 0:
        return Reconciled(towers=missing, unsure=unsure, towers_unsure=Fraction(1, 20))
    if not _PLAUSIBLE[0] < ratio < _PLAUSIBLE[1]:
        return Reconciled(towers=guess, unsure=Fraction(1, 10), towers_unsure=Fraction(1, 4))
    return Reconciled(factor=ratio, unsure=unsure + abs(ratio - 1))


def _table(facts: ModelFacts) -> int:
    """Bytes of one embedding or head, as stored."""
    sizes = [
        int(prod(group.shape) * STORED.get(group.dtype, 2.0))
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
