"""What was reckoned already of one model for one wish: a survey of forty cards does not reckon it forty times."""

from __future__ import annotations

from dataclasses import dataclass, field

from lyc.planning import parallelism
from lyc.planning.cache import kv_layout
from lyc.planning.weights import active_bytes, likeness, weights
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import CacheLayout, Serving, Stage, Term


@dataclass(frozen=True, slots=True)
class Known:
    """What was reckoned already of one model for one wish: weights are the same on cards of one generation.

    many: of many candidates; one whose weights alone have no room is not reckoned further.
    """

    many: bool = False
    weights: dict[tuple[object, ...], tuple[Term, ...]] = field(default_factory=dict)
    active: dict[tuple[object, ...], int] = field(default_factory=dict)
    layouts: dict[tuple[object, ...], CacheLayout] = field(default_factory=dict)
    splits: dict[tuple[int, int], str | None] = field(default_factory=dict)

    def impossible(self, facts: ModelFacts, version: tuple[int, ...], tp: int, pp: int) -> str | None:
        """`parallelism.impossible` of a model with an architecture."""
        if facts.architecture is not None and (tp, pp) not in self.splits:
            self.splits[tp, pp] = parallelism.impossible(facts.architecture, facts.quantization_detail, tp, pp, version)
        return self.splits.get((tp, pp))

    def weights_of(self, facts: ModelFacts, serving: Serving, stage: Stage, card: Card) -> tuple[Term, ...]:
        key = (likeness(facts, serving, card), stage)
        if key not in self.weights:
            self.weights[key] = weights(facts, serving, stage, card)
        return self.weights[key]

    def layout_of(self, facts: ModelFacts, serving: Serving, stage: Stage) -> CacheLayout:
        """Of one stage, for a wish with one version, draft and adapter."""
        one = serving
        sizes = (one.max_model_len, one.max_num_seqs, one.max_num_batched_tokens, one.block_size)
        key = (one.tp, one.pp, one.dtype, one.quantization, one.kv_cache_dtype, one.capability, *sizes, stage)
        if key not in self.layouts:
            self.layouts[key] = kv_layout.layout(facts, serving, stage)
        return self.layouts[key]

    def active_of(self, facts: ModelFacts, serving: Serving, batch: int) -> int:
        key = (serving.tp, serving.pp, serving.dtype, serving.quantization, batch)
        if key not in self.active:
            self.active[key] = active_bytes(facts, serving, batch)
        return self.active[key]
