"""Buffers that vLLM reserves for LoRA adapters while it loads the model. Sizes in bytes. Pure.

Every linear layer gets A (slots × rank × inputs) and B (slots × outputs × rank) in the run-time dtype, whatever an
adapter targets (`vllm/lora/layers/base_linear.py`, `column_parallel_linear.py` create_lora_weights, 0.19.0): A of a
column-parallel layer is whole on every rank, its B divided; of a row-parallel one A is divided and B whole. Merged
layers hold one pair for each of the matrices they merge. Experts have one for each expert (`fused_moe.py`, from 0.11.2;
before, they had none). Families with `embedding_modules` have a pair for embedding and head too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from lyc.planning.weights.formats import RUNTIME
from lyc.planning.weights.parameters import vocabulary_rows
from lyc.planning.weights.roles import HEADS, Kind, Region, Role, Rule, role
from lyc.records.architecture import Architecture, TensorGroup
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Stage

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that `--max-lora-rank` takes; an adapter's own is rounded up to one."""

_COUNTED_SINCE = (0, 8)
_EXPERTS_SINCE = (0, 11, 2)
_EXTRA_VOCABULARY_UNTIL = (0, 12)
_EXTRA_VOCABULARY = 256  # `lora_extra_vocab_size`, dropped with 0.12
_EMBEDDING_FAMILIES = frozenset((
    "ApertusForCausalLM", "BambaForCausalLM", "CohereForCausalLM", "Cohere2ForCausalLM", "ExaoneForCausalLM",
    "Exaone4ForCausalLM", "FalconH1ForCausalLM", "GraniteForCausalLM", "GraniteMoeForCausalLM",
    "GraniteMoeHybridForCausalLM", "GraniteMoeSharedForCausalLM", "JambaForCausalLM", "Lfm2ForCausalLM",
    "Lfm2MoeForCausalLM", "LlamaForCausalLM", "MistralForCausalLM", "MiniCPMForCausalLM", "MixtralForCausalLM",
    "NemotronForCausalLM", "NemotronHForCausalLM", "DeciLMForCausalLM", "PhiMoEForCausalLM", "SolarForCausalLM",
))  # fmt: skip
_EMBEDDING_FAMILIES_LATER = frozenset(("Qwen3ForCausalLM", "Qwen3MoeForCausalLM"))  # 0.19


@dataclass(frozen=True, slots=True)
class Buffer:
    """`count` equal tensors of `size` bytes."""

    size: int
    count: int


def rank_of(rank: int) -> int:
    """The rank that vLLM reserves for an adapter of this rank; above the largest, the adapter's own."""
    return next((known for known in RANKS if known >= rank), rank)


def buffers(facts: ModelFacts, serving: Serving, stage: Stage) -> tuple[Buffer, ...]:
    """Stacked A and B of every layer on this rank of `stage`; empty without an adapter.

    Before 0.8 they were made after the figure was taken, and nothing counted them (`worker/model_runner.py` 0.7.3).
    """
    if serving.adapter is None or facts.architecture is None or serving.version < _COUNTED_SINCE:
        return ()
    rank = _Rank(facts, facts.architecture, serving, stage)
    return tuple(buffer for group in facts.tensors for buffer in rank.of(group))


class _Rank:
    """One rank's buffers, tensor by tensor. `_unit`: bytes of one row or column of all slots."""

    def __init__(self, facts: ModelFacts, architecture: Architecture, serving: Serving, stage: Stage) -> None:
        self._detail = facts.quantization_detail
        self._architecture = architecture
        self._serving = serving
        self._stage = stage
        rank = rank_of(serving.adapter.rank) if serving.adapter else 0
        self._unit = rank * RUNTIME.get(serving.dtype, 2) * serving.max_loras

    def of(self, group: TensorGroup) -> Iterator[Buffer]:
        place = role(group.name)
        if place.region is not Region.TEXT:
            return
        if place.kind is Kind.EMBEDDING:
            yield from self._end(group, place)
        elif place.linear and len(group.shape) >= 2:
            layers = sum(self._stage.first <= number < self._stage.last for number in group.layers)
            if layers:
                yield from self._linear(group, place, layers)

    def _linear(self, group: TensorGroup, place: Role, layers: int) -> Iterator[Buffer]:
        experts = 1
        if place.kind is Kind.EXPERTS:
            if self._serving.version < _EXPERTS_SINCE:
                return
            experts = group.shape[0] if place.packed else max(group.experts, 1)
        outputs, inputs = self._matrix(group, place)
        if place.rule is Rule.ROW:
            inputs = -(-inputs // self._serving.tp)
        elif place.rule is not Rule.WHOLE:
            outputs = -(-outputs // self._serving.tp)
        yield Buffer(self._unit * inputs * experts, layers)
        yield Buffer(self._unit * outputs * experts, layers)

    def _matrix(self, group: TensorGroup, place: Role) -> tuple[int, int]:
        """(outputs, inputs) of the matrix that a tensor stands for, unpacked."""
        shape = group.shape[1:] if place.packed else group.shape
        if place.leaf == "weight" and group.dtype not in ("U8", "I32") and len(shape) == 2 and not place.packed:
            return shape[0], shape[1]
        bits = self._detail.get("bits")
        a_byte = 8 // (bits if isinstance(bits, int) and bits in (2, 4, 8) else 4)
        elements = prod(shape) * {"I32": 4 * a_byte, "U8": 2}.get(group.dtype, 1)
        hidden = self._architecture.hidden
        return (hidden, elements // hidden) if place.rule is Rule.ROW else (elements // hidden, hidden)

    def _end(self, group: TensorGroup, place: Role) -> Iterator[Buffer]:
        """Embedding: A has a row for each token of the vocabulary, not divided; head: B has."""
        version, name = self._serving.version, self._architecture.name
        fits = name in _EMBEDDING_FAMILIES or (name in _EMBEDDING_FAMILIES_LATER and version >= (0, 19))
        if not fits or len(group.shape) != 2 or "per_layer" in place.module:
            return
        vocabulary, width = group.shape
        extra = _EXTRA_VOCABULARY if version < _EXTRA_VOCABULARY_UNTIL else 0
        head = place.module in HEADS
        if self._stage.embeds and not head:
            yield Buffer(self._unit * (vocabulary + extra), 1)
            yield Buffer(self._unit * width, 1)
        if self._stage.samples and (head or self._architecture.tied):
            yield Buffer(self._unit * width, 1)
            yield Buffer(self._unit * (vocabulary_rows(vocabulary) + extra), 1)
