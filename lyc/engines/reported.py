"""What vLLM says of its memory while it starts: lines of its log and its own metrics → `Reported`."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from lyc.engines.progress import bare
from lyc.records.engine import Reported
from lyc.units import GIB

_GIB = r"([\d.]+) GiB"
_SIZES = (
    ("weights", re.compile(rf"^Model loading took {_GIB}")),
    ("kv_cache", re.compile(rf"^Available KV cache memory: {_GIB}")),
    ("kv_cache", re.compile(r"^Explicitly set \(([\d.]+)/[\d.]+\) GiB for KV cache")),
    ("cuda_graph", re.compile(rf"^Graph capturing finished in \d+ secs, took {_GIB}")),
)
_TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
_CONCURRENCY = re.compile(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x")
_BLOCKS = re.compile(r'^vllm:cache_config_info\{.*\bnum_gpu_blocks="(\d+)"', re.MULTILINE)


def heard(so_far: Reported, line: str) -> Reported:
    """`so_far` with what `line` adds; the first word on each figure holds (the ranks after it say the same)."""
    said = bare(line)
    found: dict[str, Any] = {}
    for name, pattern in _SIZES:
        if match := pattern.search(said):
            found[name] = round(float(match[1]) * GIB)
    if match := _TOKENS.search(said):
        found["kv_tokens"] = int(match[1].replace(",", ""))
    if match := _CONCURRENCY.search(said):
        found["concurrency"] = float(match[1])
    news = {name: value for name, value in found.items() if getattr(so_far, name) is None}
    return dataclasses.replace(so_far, **news) if news else so_far


def blocks(metrics: str) -> int | None:
    """Blocks of the KV cache by the text of its metrics."""
    match = _BLOCKS.search(metrics)
    return int(match[1]) if match else None
