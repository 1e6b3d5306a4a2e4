"""How many requests one replica can hold at once: what the autoscaler aims at where its user names no figure."""

from __future__ import annotations

from lyc.records.engine import Reported
from lyc.records.plan import Plan

REQUEST_TOKENS = 2048
"""Prompt and answer of a request of which nothing is known. Chats are shorter, documents longer: where that is wrong,
the engine's own waiting requests and the use of its KV cache correct it.
"""
SEQUENCES = 256
"""vLLM's `max_num_seqs` where nothing else is said (its EngineArgs; more on the largest cards)."""


def capacity(plan: Plan, reported: Reported | None) -> float:
    """Requests, at least 1. What the engine itself has reported of its KV cache counts more than the forecast."""
    given = plan.engine_args.get("max-num-seqs", "")
    sequences = int(given) if given.isdecimal() else SEQUENCES
    tokens = (reported.kv_tokens if reported else None) or (plan.forecast.kv_tokens if plan.forecast else None)
    if tokens is None:
        return float(sequences)
    each = min(plan.max_model_len or REQUEST_TOKENS, REQUEST_TOKENS)
    return float(max(1, min(sequences, tokens // each)))
