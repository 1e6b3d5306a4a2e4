"""The bytes that inspection asks for, as fast as the source allows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lyc.ports import Source
from lyc.records.model import Listing, Snapshot, SourceFile

_AHEAD = 64 << 10
_STREAMS = 8


def reader(
    source: Source, listing: Listing, snapshot: Snapshot | None = None
) -> Callable[[SourceFile, int, int | None], bytes]:
    """A reader of (file, start, length or None for the rest) for `lyc.inspection.inspect`.

    With the snapshot of this listing it reads there and asks the source for nothing. Otherwise the beginnings of all
    weights, where their headers stand, are fetched side by side at the first question for one of them: a model of sixty
    shards would else cost sixty round trips in a row. Errors: those of `Source.read`.
    """
    if snapshot is not None:
        return _in_snapshot(snapshot)
    beginnings: dict[str, bytes] = {}

    def read(file: SourceFile, start: int, length: int | None) -> bytes:
        weights = _weights(listing)
        if file in weights and not beginnings:
            with ThreadPoolExecutor(_STREAMS, thread_name_prefix="headers") as pool:
                heads = pool.map(lambda each: source.read(listing, each, length=min(_AHEAD, each.size)), weights)
                beginnings.update(zip((each.path for each in weights), heads, strict=True))
        found = beginnings.get(file.path, b"")
        if length is not None and start + length <= len(found):
            return found[start : start + length]
        return source.read(listing, file, start=start, length=length)

    return read


def _in_snapshot(snapshot: Snapshot) -> Callable[[SourceFile, int, int | None], bytes]:
    def read(file: SourceFile, start: int, length: int | None) -> bytes:
        with (snapshot.path / file.path).open("rb") as blob:
            blob.seek(start)
            return blob.read() if length is None else blob.read(length)

    return read


def _weights(listing: Listing) -> list[SourceFile]:
    return [file for file in listing.files if file.path.endswith(".safetensors") and "/" not in file.path]
