"""What vLLM says of its load: the text of its metrics → `EngineLoad`."""

from __future__ import annotations

import re

from lyc.records.engine import EngineLoad

_SAMPLE = re.compile(r"^vllm:([a-z_]+)(?:\{[^\n]*\})? ([0-9.eE+-]+|NaN)$", re.MULTILINE)
_WANTED = frozenset({
    "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "generation_tokens_total",
    "prompt_tokens_total",
})  # fmt: skip


def load(metrics: str) -> EngineLoad | None:
    """Of all engines behind one server: counts added up, KV usage of the fullest. None where they say nothing.

    Names as vLLM has had them since its V1 engine (docs: design/metrics).
    """
    found: dict[str, list[float]] = {}
    for name, value in _SAMPLE.findall(metrics):
        if name in _WANTED and value != "NaN":
            found.setdefault(name, []).append(float(value))
    if "num_requests_running" not in found:
        return None
    return EngineLoad(
        running=round(sum(found["num_requests_running"])),
        waiting=round(sum(found.get("num_requests_waiting", ()))),
        kv_usage=max(found.get("kv_cache_usage_perc", ()), default=None),
        tokens=round(sum(found.get("generation_tokens_total", ())) + sum(found.get("prompt_tokens_total", ()))),
    )
