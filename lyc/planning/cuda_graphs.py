"""Memory of CUDA graphs: since 0.20 vLLM estimates it and takes it off the KV cache. Fitted, with bands."""

from __future__ import annotations

from lyc.planning.activation.runner import V0, V2, runner
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Term
from lyc.units import GIB

COUNTED_SINCE = (0, 20)
"""VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS is on by default from here (`envs.py`; 0.18 and 0.19 only logged)."""
V2_COUNTED_SINCE = (0, 29)
"""The second runner's `profile_cudagraph_memory` returned 0 until here."""
_LARGE_BATCH = 512


def capture_sizes(serving: Serving) -> tuple[int, ...]:
    """Batch sizes that graphs are captured for (`config/vllm.py` _set_cudagraph_sizes; V0: `config.py`), ascending."""
    most = min(serving.max_num_seqs * 2, 512) if serving.version >= (0, 10) else min(serving.max_num_seqs, 512)
    most = min(most, serving.max_num_batched_tokens)
    sizes = [1, 2, 4, *range(8, 257, 8), *(range(272, 513, 16) if serving.version >= (0, 11) else range(264, 513, 8))]
    return tuple(size for size in sizes if size <= most)


def cuda_graphs(facts: ModelFacts, serving: Serving, card: Card) -> Term:
    """What capture takes. `inside`: whether this version takes it off the KV cache, else it comes on top of it."""
    if serving.enforce_eager or serving.on_cpu:
        return Term("cuda_graph", "CUDA graphs", 0, "0: eager", "enforce_eager: none are captured")
    found = runner(serving, card, facts)
    counted = serving.version >= (V2_COUNTED_SINCE if found == V2 else COUNTED_SINCE)
    architecture = facts.architecture
    layers = -(-len(architecture.layers) // serving.pp) if architecture else facts.num_hidden_layers or 32
    experts = bool(architecture and any(layer.experts for layer in architecture.layers))
    sizes = len(capture_sizes(serving))
    large = serving.max_num_seqs >= _LARGE_BATCH
    if found == V0:
        gib, per, moe, why = 0.05, 0.012, 0.1, "fitted: T4, 0.7 to 0.9 (starts 196 to 203)"
    elif serving.version < COUNTED_SINCE:
        gib, per, moe, why = 0.42, 0.015, 0.36, "fitted: H100, 0.19 (starts 3 to 89)"
    elif large:
        gib, per, moe, why = 0.15, 0.008, 0.2, "between H100 at 0.19 and small cards since 0.21"
    else:
        gib, per, moe, why = 0.12, 0.003, 0.1, "fitted: L4, 3090, 5090 since 0.21 (starts 136, 172, 176, 178)"
    total = gib + per * layers + (moe if experts else 0)
    formula = f"{gib} + {per}·{layers} layers" + (f" + {moe} for experts" if experts else "")
    band = 0.2 + total / 2 if counted else 0.5
    return Term(
        "cuda_graph", "CUDA graphs", int(total * GIB), f"{formula} GiB, {sizes} batch sizes", why, int(band * GIB),
        inside=counted,
    )  # fmt: skip
