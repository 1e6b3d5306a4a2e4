"""What is left for the KV cache: vLLM's part of the card less everything else. Exact integers, pure.

`gpu_worker.determine_available_memory`: `requested` − weights − non-torch − activation − CUDA graphs, with
`requested` = ceil(total × utilization) (`v1/worker/utils.py` request_memory; V0 and V1 before 0.11 did not round up,
which is below one byte).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from lyc.planning.non_torch import before_start
from lyc.records.card import Card
from lyc.records.serving import Serving, Term
from lyc.units import GIB, show_bytes

WARM_UP_ROOM = GIB // 2
"""What must be free beside CUDA graphs and activations when the sampler warms up. Fitted: no start with more failed."""
WARM_UP_ROOM_MXFP4 = int(2.4 * GIB)
"""The same for MXFP4 on Hopper, whose kernels and graphs keep more. Fitted: starts 43, 44 (failed), 45 (did not)."""


def requested(total: int, serving: Serving) -> int:
    """Bytes of a card of `total` bytes that vLLM may use."""
    return math.ceil(total * serving.utilization)


def available(total: int, serving: Serving, terms: Iterable[Term]) -> int:
    """Bytes left for the KV cache of one GPU, negative when there is no room.

    total: as CUDA reports it. Terms that are not `inside` (CUDA graphs before 0.20) are not subtracted. With
    `kv_cache_bytes` that figure, whatever else there is (`--kv-cache-memory-bytes`: no measuring).
    """
    if serving.kv_cache_bytes is not None:
        return serving.kv_cache_bytes
    return requested(total, serving) - sum(term.size for term in terms if term.inside)


def free_at_start(card: Card, serving: Serving) -> int:
    """Bytes free when vLLM looks first, on a card that nobody else uses: CUDA's context, with tp > 1 also NCCL, is
    there already.
    """
    return card.cuda_total - before_start(serving, card)


def start_refusal(card: Card, serving: Serving) -> str | None:
    """Why vLLM ends at once, less being free than it was given; None where it starts (request_memory, since 0.9)."""
    if serving.on_cpu or serving.kv_cache_bytes is not None or serving.version < (0, 9):
        return None
    free, wants = free_at_start(card, serving), requested(card.cuda_total, serving)
    if free >= wants:
        return None
    return (
        f"vLLM takes {show_bytes(wants)} ({float(serving.utilization):.0%} of the card), and {show_bytes(free)} are "
        f"free on an empty card: give it less with --util {math.floor(100 * free / card.cuda_total) / 100}"
    )


def warm_up_doubt(card: Card, serving: Serving, terms: Iterable[Term]) -> str | None:
    """A warning where memory may run out after the KV cache is there: CUDA graphs (not counted before 0.20) and one
    more pass through the sampler must fit into what vLLM left of the card.
    """
    if serving.on_cpu:
        return None
    found = tuple(terms)
    if available(card.cuda_total, serving, found) <= 0:
        return None
    outside = sum(term.size for term in found if not term.inside)
    left = free_at_start(card, serving) - requested(card.cuda_total, serving) - outside
    room = WARM_UP_ROOM_MXFP4 if serving.quantization == "mxfp4" and card.compute_capability == 90 else WARM_UP_ROOM
    if left >= room:
        return None
    return (
        f"it may run out of memory while it warms up: {show_bytes(max(left, 0))} of the card are left then; "
        f"a lower --util leaves more"
    )
