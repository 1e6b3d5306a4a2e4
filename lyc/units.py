"""Bytes, durations and token counts: parse what a user wrote, show what a person reads.

Sizes are binary (GiB), as vLLM and nvidia-smi print them. Nothing here knows the clock.
"""

from __future__ import annotations

import re

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
_SIZES = {
    "": 1, "b": 1, "k": KIB, "kib": KIB, "kb": 1000, "m": MIB, "mib": MIB, "mb": 1000**2,
    "g": GIB, "gib": GIB, "gb": 1000**3, "t": TIB, "tib": TIB, "tb": 1000**4,
}  # fmt: skip
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER_UNIT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*$")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def parse_bytes(text: str) -> int:
    """`"1.5GiB"` → 1610612736. Raises ValueError with the accepted forms."""
    match = _NUMBER_UNIT.match(text)
    if not match or match[2].lower() not in _SIZES:
        raise ValueError(f"{text!r} is not a size: write it like 500MB, 8GiB or 1048576")
    return int(float(match[1]) * _SIZES[match[2].lower()])


def show_bytes(count: int) -> str:
    """1610612736 → `"1.5 GiB"`; below 1 KiB the plain number of bytes."""
    for size, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count} B"


def parse_duration(text: str) -> float:
    """`"1h30m"` or `"90"` (seconds) → seconds. Raises ValueError with the accepted forms."""
    stripped = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", stripped):
        return float(stripped)
    if stripped and re.fullmatch(rf"(?:{_DURATION.pattern})+", stripped):
        return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(stripped))
    raise ValueError(f"{text!r} is not a duration: write it like 90s, 15m, 1h30m or 7d")


def show_duration(seconds: float) -> str:
    """0.84 → `"0.8s"`, 75 → `"1m15s"`, 93784 → `"1d2h"`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def parse_tokens(text: str) -> int:
    """`"8k"` → 8192, `"32768"` → 32768. `k` is 1024, as in the names of context lengths."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmM]?)\s*", text)
    if not match:
        raise ValueError(f"{text!r} is not a number of tokens: write it like 8192 or 8k")
    return int(float(match[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[match[2].lower()])
