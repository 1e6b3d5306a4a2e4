"""How many bytes of weights one decoding step reads, over all GPUs of a replica. Pure."""

from __future__ import annotations

from fractions import Fraction

from lyc.planning.weights.parameters import runs
from lyc.planning.weights.roles import HEADS, Kind, Region
from lyc.records.architecture import Experts
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Stage


def distinct(experts: Experts, batch: int) -> Fraction:
    """Experts of a layer that `batch` tokens touch, expected: count · (1 − (1 − k/count)^batch), tokens independent."""
    if experts.count <= 0:
        return Fraction(0)
    missed = (1 - min(experts.per_token / experts.count, 1.0)) ** max(batch, 1)
    return Fraction(experts.count * (1 - missed)).limit_denominator(1 << 20)


def active_bytes(facts: ModelFacts, serving: Serving, batch: int = 1) -> int:
    """Bytes read for one step of `batch` requests, each with one token: all but the embedding, of whose table a step
    reads a few rows, and of the experts those that the tokens pick. Towers and MTP layers are not read.

    What every rank keeps whole is read on every rank, so it counts tp times. Without an architecture: the files' size.
    """
    architecture = facts.architecture
    if architecture is None or not facts.tensors:
        return facts.weights_bytes or 0
    whole = Stage(0, 1, 0, len(architecture.layers))
    mixture = next((layer.experts for layer in architecture.layers if layer.experts), None)
    part = distinct(mixture, batch) / mixture.count if mixture and mixture.count else Fraction(1)
    dense = picked = table = head = 0
    for run in runs(facts, serving, whole):
        if run.region is not Region.TEXT:
            continue
        for parameter in run.parameters:
            size = parameter.size * run.layers
            if parameter.kind is Kind.EXPERTS:
                picked += size
            elif parameter.kind is not Kind.EMBEDDING:
                dense += size
            elif parameter.name.split(".")[0] in HEADS:
                head += size
            elif "per_layer" not in parameter.name:
                table = max(table, size)
    if not head and architecture.tied:
        head = table
    return int((dense + head + part * picked) * serving.tp)
