"""The header of one safetensors file: which tensors lie where. Reads a few kilobytes, never the weights.

The format (huggingface/safetensors, README): 8 bytes little-endian length N, then N bytes of JSON
`{name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {…}}`, then the data, without gaps.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from lyc.errors import SpecError
from lyc.records.architecture import DTYPE_BITS
from lyc.records.model import SourceFile

Read = Callable[[SourceFile, int, int | None], bytes]
"""(file, start, length or None for all) → bytes. Does the I/O, so that inspection does none."""

LONGEST = 100_000_000
"""Bytes. The limit of the format's own implementation for N."""

_INT, _SPAN = frozenset({int}), [int, int]
_FIRST = 64 << 10  # one request reads most headers whole


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """rows: name, dtype and shape of each tensor. bytes_by_dtype: data bytes per dtype, as the format names dtypes
    (`BF16`).
    """

    rows: tuple[tuple[str, str, tuple[int, ...]], ...]
    bytes_by_dtype: dict[str, int]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(row[0] for row in self.rows)

    @property
    def data_bytes(self) -> int:
        return sum(self.bytes_by_dtype.values())


def read_header(file: SourceFile, read: Read) -> TensorHeader:
    """The header of `file`, checked against its size. SpecError `truncated-weights` or `invalid-weights`."""
    first = read(file, 0, min(_FIRST, file.size))
    if len(first) < 8:
        raise _truncated(file, f"it has {file.size} bytes, and the header alone needs more")
    length = int.from_bytes(first[:8], "little")
    if length > LONGEST:
        why = f"its header would have {length} bytes, and {LONGEST} is the most"
        raise _invalid(file, f"{why}; it is probably no safetensors file")
    if 8 + length > file.size:
        raise _truncated(file, f"its header ends at byte {8 + length}, the file at {file.size}")
    text = first[8 : 8 + length]
    if len(text) < length:
        text += read(file, 8 + len(text), length - len(text))
    if len(text) < length:
        raise _truncated(file, f"only {8 + len(text)} bytes could be read")
    return parse_header(file, text)


def parse_header(file: SourceFile, text: bytes) -> TensorHeader:
    """The header from its JSON. `file.size` must be exactly 8 + len(text) + the tensors' bytes."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(file, f"its header is not JSON ({_position(error)})") from error
    if not isinstance(rows, dict):
        raise _invalid(file, "its header is not a JSON object")
    rows.pop("__metadata__", None)
    spans, sizes, tensors = [], Counter[str](), []
    seen: dict[tuple[str, tuple[int, ...]], int] = {}
    for name, row in rows.items():
        begin, end, dtype, shape = _tensor(file, name, row, seen)
        tensors.append((name, dtype, shape))
        spans.append((begin, end))
        sizes[dtype] += end - begin
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise _invalid(file, f"its tensors leave a gap or overlap at byte {at} of the data")
        at = end
    expected = 8 + len(text) + at
    if expected > file.size:
        raise _truncated(file, f"its header promises {expected} bytes, the file has {file.size}")
    if expected < file.size:
        raise _invalid(file, f"its header accounts for {expected} bytes, the file has {file.size}")
    return TensorHeader(tuple(tensors), dict(sizes))


def _tensor(
    file: SourceFile, name: str, row: object, sizes: dict[tuple[str, tuple[int, ...]], int]
) -> tuple[int, int, str, tuple[int, ...]]:
    """begin, end, dtype and shape of one tensor, which must agree. sizes: bytes of shapes that were seen before."""
    entry = row if type(row) is dict else {}  # a `match` would be prettier, and a third slower over all
    dtype, sides, span = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if type(dtype) is not str or type(sides) is not list or type(span) is not list or list(map(type, span)) != _SPAN:
        raise _invalid(file, f"the entry of tensor {name[:80]!r} is incomplete")
    shape, (begin, end) = tuple(sides), span
    key = dtype, shape
    size = sizes.get(key) if _INT.issuperset(map(type, shape)) else -1
    if size is None:
        size = _size(dtype, shape)
        sizes[key] = size
    if size == -1 or not 0 <= begin <= end:
        raise _invalid(file, f"the entry of tensor {name[:80]!r} has impossible numbers")
    if size >= 0 and size != (end - begin) * 8:
        raise _invalid(file, f"shape and bytes of tensor {name[:80]!r} do not agree")
    return begin, end, dtype, shape


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    """Bits; -1 for an impossible shape, -2 for a dtype whose width is not known."""
    if any(side < 0 for side in shape):
        return -1
    bits = DTYPE_BITS.get(dtype)
    return -2 if bits is None else math.prod(shape) * bits


def _position(error: Exception) -> str:
    return f"column {error.colno}" if isinstance(error, json.JSONDecodeError) else type(error).__name__


def _truncated(file: SourceFile, why: str) -> SpecError:
    return SpecError(
        "truncated-weights",
        f"{file.path} is cut short",
        why=why,
        where=file.path,
        hint="copy or download this file again; a full disk or a broken upload leaves such files",
    )


def _invalid(file: SourceFile, why: str) -> SpecError:
    return SpecError(
        "invalid-weights",
        f"{file.path} is not a valid safetensors file",
        why=why,
        where=file.path,
        hint="save the model again with save_pretrained(…, safe_serialization=True)",
    )
