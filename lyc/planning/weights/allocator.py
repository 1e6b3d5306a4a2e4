"""How many bytes torch's caching allocator counts as allocated for tensors that stay.

vLLM logs `torch.cuda.max_memory_allocated` after loading minus before, and torch counts a block whole where it does not
split it. So a model takes more than the sum of its tensors: up to 1 MiB for each tensor above 1 MiB.

Rules, of `c10/cuda/CUDACachingAllocator.cpp` (`round_size`, `get_allocation_size`, `should_split`, best fit over
free blocks) and `c10/core/AllocatorConfig.h` (the sizes), torch 2.4 to 2.13, without `expandable_segments`, which
vLLM does not set:

* every request is rounded up to 512 bytes;
* up to 1 MiB: cut from segments of 2 MiB, the rest stays free if 512 bytes remain, so nothing is lost;
* above: the smallest free block that holds it, else a new segment of 20 MiB (below 10 MiB) or of the size rounded up to
  2 MiB; the rest is split off only where more than 1 MiB remains, else the request keeps it.

Sizes are bytes. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from lyc.units import MIB

_SMALLEST = 512
_SMALL = MIB
_BELOW_OWN_SEGMENT = 10 * MIB
_SHARED_SEGMENT = 20 * MIB
_SEGMENT_STEP = 2 * MIB
_SPLIT_ABOVE = MIB


def rounded(size: int) -> int:
    """The request as the allocator takes it: a multiple of 512 bytes, at least one; 0 for no tensor."""
    return -(-size // _SMALLEST) * _SMALLEST


def _segment(request: int) -> int:
    if request < _BELOW_OWN_SEGMENT:
        return _SHARED_SEGMENT
    return -(-request // _SEGMENT_STEP) * _SEGMENT_STEP


class _LargePool:
    """Free blocks above the smallest request that can still come; others can never be used again."""

    def __init__(self, least: int) -> None:
        self.free: list[int] = []
        self._least = least

    def take(self, request: int) -> int:
        """Bytes of the block that the request gets: the request, or more where the rest is too small to split."""
        place = bisect_left(self.free, request)
        block = self.free.pop(place) if place < len(self.free) else _segment(request)
        rest = block - request
        if rest <= _SPLIT_ABOVE:
            return block
        if rest >= self._least:
            insort(self.free, rest)
        return request


def allocated(runs: Iterable[tuple[Sequence[int], int]]) -> int:
    """Bytes counted for tensors allocated in this order and never freed. Runs may share one list of sizes.

    runs: (sizes of the tensors of one repeat, repeats), as a model has equal layers. Repeats are not walked one by one
    once the free blocks come back to a state seen before.
    """
    walked = list(runs)
    known: dict[int, tuple[list[int], int]] = {}
    for sizes, _ in walked:
        if id(sizes) not in known:
            requests = list(map(rounded, sizes))
            small = sum(request for request in requests if request <= _SMALL)
            known[id(sizes)] = [request for request in requests if request > _SMALL], small
    pool = _LargePool(min((min(large) for large, _ in known.values() if large), default=0))
    total = 0
    for sizes, repeats in walked:
        large, small = known[id(sizes)]
        total += small * repeats + _repeated(pool, large, repeats)
    return total


def _repeated(pool: _LargePool, requests: list[int], repeats: int) -> int:
    if not requests:
        return 0
    seen: dict[tuple[int, ...], tuple[int, int]] = {}
    total = done = 0
    while done < repeats:
        state = tuple(pool.free)
        if state in seen:
            before, then = seen[state]
            cycle, gain = done - before, total - then
            whole = (repeats - done) // cycle
            total += whole * gain
            done += whole * cycle
            seen.clear()
            if done == repeats:
                break
        seen[state] = (done, total)
        total += sum(map(pool.take, requests))
        done += 1
    return total
