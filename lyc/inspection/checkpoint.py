"""What is known of the weights before they are read: their headers, or an index of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lyc.inspection.documents import read_object
from lyc.inspection.safetensors_header import Read, TensorHeader, read_header
from lyc.inspection.unservable import missing_shard
from lyc.records.model import Listing

_INDEX = ".safetensors.index.json"
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """headers: of all files, or none. names: of an index, empty where there is none or it is empty.

    size: bytes of all tensors: exact by headers, by the index else, None where neither says. indexed: there is one.
    """

    headers: tuple[TensorHeader, ...] = ()
    names: tuple[str, ...] = ()
    size: int | None = None
    indexed: bool = False

    @property
    def dtype(self) -> str | None:
        """In which most bytes are stored, if that is a dtype in which models compute."""
        sizes = Counter[str]()
        for header in self.headers:
            sizes.update(header.bytes_by_dtype)
        return _DTYPES.get(max(sizes, key=sizes.__getitem__, default=""))


def checkpoint(listing: Listing, read: Read, *, needed: bool) -> Checkpoint:
    """The shards that an index names, else every safetensors file that is no adapter.

    needed: a missing shard is an error; else all headers are read, or none.
    """
    there = {file.path for file in listing.files if file.path.endswith(".safetensors") and "/" not in file.path}
    wanted = {path for path in there if not path.startswith("adapter_")}
    path, index = _index(listing, read)
    shards = index.get("weight_map")
    names: tuple[str, ...] = ()
    if isinstance(shards, Mapping) and shards:
        named = {str(shard) for shard in shards.values()}
        names = tuple(map(str, shards))
        if absent := sorted(named - wanted):
            if needed:
                raise missing_shard(path, absent)
            return Checkpoint(names=names, size=_total_size(index), indexed=True)
        wanted = named
    headers = tuple(read_header(file, read) for file in listing.files if file.path in wanted)
    size = sum(header.data_bytes for header in headers) if headers else _total_size(index)
    return Checkpoint(headers, names, size, bool(path))


def _index(listing: Listing, read: Read) -> tuple[str, Mapping[str, object]]:
    for file in listing.files:
        if file.path.endswith(_INDEX) and "/" not in file.path and not file.path.startswith("adapter_"):
            return file.path, read_object(file, read)
    return "", {}


def _total_size(index: Mapping[str, object]) -> int | None:
    metadata = index.get("metadata")
    size = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    return int(size) if isinstance(size, (int, float)) and not isinstance(size, bool) and 0 < size < 1 << 60 else None
