#!/usr/bin/env python3
"""One part of the planner beside what vLLM logged, row by row, worst last.

    .venv/bin/python -m tests.planning.measured.parts weights [ID ...]
    .venv/bin/python -m tests.planning.measured.parts layout [ID ...]       KV tokens out of the logged KV GiB
    .venv/bin/python -m tests.planning.measured.parts activation [ID ...]
    .venv/bin/python -m tests.planning.measured.parts outside [ID ...]      non-torch memory
    .venv/bin/python -m tests.planning.measured.parts whole [ID ...]        KV tokens, end to end

With ids it also prints the terms and their formulas.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from lyc.planning import activation, defaults, parallelism, weights
from lyc.planning.cache import kv_layout
from lyc.planning.catalogue.cards import find
from lyc.planning.non_torch import non_torch
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import CacheSize, Serving, Stage, Term
from lyc.units import GIB
from tests.planning.measured.replay import Start, facts_of, folder, replayed, starts, wish_of

ASSUMED_VERSION, ASSUMED_CARD = (0, 19, 0), "h100"
"""For parts that hardly depend on them, where a row does not say."""


class Context:
    """All that the parts need of one row."""

    def __init__(self, start: Start, facts: ModelFacts) -> None:
        assert facts.architecture is not None, start.model
        self.start = start
        self.facts = facts
        self.card: Card = find(start.gpu or ASSUMED_CARD)
        wish = replace(wish_of(start), version=start.version or ASSUMED_VERSION)
        self.serving: Serving = defaults.serving(
            facts, self.card, wish, tp=start.tp, pp=start.pp, quantization=start.quantization
        )
        self.stages: tuple[Stage, ...] = tuple(parallelism.stages(facts.architecture, start.pp, self.serving.version))

    def weights(self) -> Iterable[Term]:
        """Of the first rank, whose figure is the one that logs show; with pp the fullest."""
        return max((weights.weights(self.facts, self.serving, stage, self.card) for stage in self.stages), key=total)

    def activation(self) -> Iterable[Term]:
        return activation.activation(self.facts, self.serving, self.card, self.stages[0])

    def outside(self) -> Iterable[Term]:
        return (non_torch(self.serving, self.card),)

    def cache(self, available: int) -> CacheSize:
        """Out of so many bytes on each GPU; the fewest of all stages."""
        sizes = [
            kv_layout.size(kv_layout.layout(self.facts, self.serving, stage), available, self.serving)
            for stage in self.stages
        ]
        return min(sizes, key=lambda size: size.blocks)


def total(terms: Iterable[Term]) -> int:
    return sum(term.size for term in terms)


def contexts(wanted: Iterable[int] = ()) -> Iterable[Context]:
    chosen, known = set(wanted), {}
    with tempfile.TemporaryDirectory() as place:
        for start in starts():
            if start.left_out or (chosen and start.id not in chosen):
                continue
            if start.model not in known:
                known[start.model] = facts_of(folder(start.model, Path(place) / start.model.replace("/", "--")))
            yield Context(start, known[start.model])


def compared(part: str, context: Context) -> tuple[float, float] | None:
    """(foretold, logged), or None where the row has no such figure."""
    start = context.start
    if part == "layout":
        if start.kv_gib is None or start.kv_tokens is None:
            return None
        return context.cache(int(start.kv_gib * GIB)).tokens, start.kv_tokens
    if part == "whole":
        if not start.whole or start.kv_tokens is None:
            return None
        made = replayed(start, context.facts)
        return (made.cache.tokens if made.cache else 0), start.kv_tokens
    logged = {"weights": start.weights_gib, "activation": start.activation_gib, "outside": start.non_torch_gib}[part]
    terms: Callable[[], Iterable[Term]] = getattr(context, part)
    return None if logged is None else (total(terms()) / GIB, logged)


def main(part: str, ids: list[int]) -> None:
    found = []
    for context in contexts(ids):
        if pair := compared(part, context):
            found.append((abs(pair[0] / pair[1] - 1) if pair[1] else abs(pair[0]), pair, context))
    for error, (foretold, logged), context in sorted(found, key=lambda one: one[0]):
        start = context.start
        version = ".".join(map(str, start.version)) or "?"
        print(f"{error:8.2%} {foretold:13.2f} {logged:13.2f}  #{start.id:<4} {version:7} {start.gpu or '?':13}"
              f" tp{start.tp} pp{start.pp}  {start.model}")  # fmt: skip
        if ids and part in ("weights", "activation", "outside"):
            for term in getattr(context, part)():
                print(f"      {term.size / GIB:9.4f} GiB  {term.name}: {term.formula}   [{term.source}]")
        elif ids:
            for stage in context.stages:
                print(f"      {kv_layout.layout(context.facts, context.serving, stage)}")


if __name__ == "__main__":
    main(sys.argv[1], [int(word) for word in sys.argv[2:]])
