"""The header of a safetensors file, whole and damaged."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import SpecError
from lyc.inspection.safetensors_header import LONGEST, read_header
from lyc.records.model import SourceFile


def header_of(data: bytes, size: int | None = None) -> tuple[frozenset[str], int]:
    file = SourceFile("w.safetensors", len(data) if size is None else size)
    found = read_header(file, lambda _, start, length: data[start : start + (len(data) if length is None else length)])
    return found.names, found.data_bytes


def pack(document: object, data: int = 0) -> bytes:
    text = json.dumps(document).encode() if not isinstance(document, bytes) else document
    return struct.pack("<Q", len(text)) + text + bytes(data)


def entry(begin: int, end: int, shape: list[int], dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


names = st.dictionaries(st.text(max_size=12).filter(lambda n: n != "__metadata__"), st.integers(0, 40), max_size=8)


@given(names, st.integers(0, 7))
def test_whole_files_are_read_and_every_cut_is_found(sizes: dict[str, int], padding: int) -> None:
    rows, at = {}, 0
    for name, size in sizes.items():
        rows[name] = entry(at, at + size, [size])
        at += size
    text = json.dumps(rows).encode() + b" " * padding
    whole = pack(text, at)
    assert header_of(whole) == (frozenset(sizes), at)
    for cut in {0, 7, 8, len(whole) // 2, len(whole) - 1}:
        with pytest.raises(SpecError):
            header_of(whole[:cut])


@given(st.binary(max_size=300))
def test_any_bytes_give_a_header_or_a_spec_error(data: bytes) -> None:
    with suppress(SpecError):
        header_of(data)


def test_a_header_longer_than_the_first_read() -> None:
    rows = {f"layers.{at}.weight": entry(at, at + 1, [1]) for at in range(3000)}
    assert header_of(pack(rows, 3000))[1] == 3000


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"[" * 50_000,
        [],
        {"a": 3},
        {"a": {"dtype": "U8", "shape": [1]}},
        {"a": entry(0, 2, [1])},
        {"a": entry(1, 2, [1])},
        {"a": entry(0, 1, [1]), "b": entry(2, 3, [1])},
        {"a": entry(0, 2, [2]), "b": entry(1, 3, [2])},
        {"a": entry(2, 0, [2])},
        {"a": entry(0, 1, [-1])},
        {"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}},
        {"a": {"dtype": "U8", "shape": [1.0], "data_offsets": [0, 1]}},
    ],
)
def test_headers_that_contradict_themselves(document: object) -> None:
    with pytest.raises(SpecError) as caught:
        header_of(pack(document, 3))
    assert caught.value.ref == "invalid-weights"


def test_a_file_of_another_kind_is_not_read_into_memory() -> None:
    with pytest.raises(SpecError) as caught:
        header_of(struct.pack("<Q", LONGEST + 1) + b"x" * 64, size=1 << 50)
    assert caught.value.ref == "invalid-weights"


def test_bytes_after_the_last_tensor_are_refused_as_the_engine_would() -> None:
    with pytest.raises(SpecError):
        header_of(pack({"a": entry(0, 1, [1])}, 2))


def test_a_file_as_numpy_tensors_are_saved(tmp_path: Path) -> None:
    weight = numpy.arange(6, dtype=numpy.float32).reshape(2, 3).tobytes()
    (tmp_path / "w").write_bytes(pack({"w": entry(0, len(weight), [2, 3], "F32")}) + weight)
    assert header_of((tmp_path / "w").read_bytes()) == (frozenset({"w"}), 24)
