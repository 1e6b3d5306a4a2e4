"""safetensors files, read and written with numpy alone. For small models; everything is in memory at once.

Floats come in as float32 whatever the file holds; bf16, which numpy lacks, goes out as its two upper bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_NAMES = {"int8": "I8", "uint8": "U8", "int32": "I32", "int64": "I64", "float16": "F16", "float32": "F32"}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as it stands in a file: dtype by safetensors' name, shape, and its bytes, little-endian."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def bf16(values: NDArray[np.generic]) -> Stored:
    """Rounded to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return Stored("BF16", tuple(values.shape), upper.tobytes())


def plain(values: NDArray[np.generic]) -> Stored:
    """As numpy holds it."""
    return Stored(_NAMES[values.dtype.name], tuple(values.shape), np.ascontiguousarray(values).tobytes())


def f8(values: Floats) -> Stored:
    """Rounded to the nearest float8 e4m3fn; beyond its range to the largest."""
    table = np.array(
        [(i & 7) / 8 * 2.0**-6 if i < 8 else (1 + (i & 7) / 8) * 2.0 ** ((i >> 3) - 7) for i in range(127)],
        dtype=np.float32,
    )
    magnitude = np.searchsorted((table[1:] + table[:-1]) / 2, np.clip(np.abs(values), 0, 448)).astype(np.uint8)
    return Stored("F8_E4M3", tuple(values.shape), np.where(values < 0, magnitude | 0x80, magnitude).tobytes())


def write(path: Path, tensors: Mapping[str, Stored]) -> None:
    """One file with all of `tensors`, in their order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(b"".join([struct.pack("<Q", len(head)), head, *(tensor.data for tensor in tensors.values())]))


def read(folder: Path) -> dict[str, Floats]:
    """All tensors of a model's folder (one file or several), as float32. Knows F32, F16 and BF16."""
    found: dict[str, Floats] = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        start = 8 + int(struct.unpack("<Q", raw[:8])[0])
        header = json.loads(raw[8:start])
        for name, row in header.items():
            if name != "__metadata__":
                first, last = row["data_offsets"]
                found[name] = _floats(row["dtype"], raw[start + first : start + last]).reshape(row["shape"])
    return found


def _floats(dtype: str, raw: bytes) -> Floats:
    if dtype == "BF16":
        return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    if dtype == "F16":
        return np.frombuffer(raw, np.float16).astype(np.float32)
    if dtype == "F32":
        return np.frombuffer(raw, np.float32)
    raise ValueError(f"no way to read {dtype} as float32")
