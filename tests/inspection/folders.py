"""A model's folder in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from lyc.inspection import inspect
from lyc.records.model import Listing, ModelFacts, ModelRef, SourceFile, SourceKind

INDEX = "model.safetensors.index.json"


def facts_of(config: Mapping[str, object], total: int | None = None, names: Iterable[str] = ()) -> ModelFacts:
    """What a folder with config.json, and with an index if `total` is given, is found to be."""
    files = {"config.json": json.dumps(config).encode()}
    if total is not None:
        shards = dict.fromkeys(names, "model-00001-of-00001.safetensors")
        files[INDEX] = json.dumps({"metadata": {"total_size": total}, "weight_map": shards}).encode()
    return look(files)


def look(files: Mapping[str, bytes]) -> ModelFacts:
    listing, read = folder(files)
    return inspect(listing, read, weights_needed=False)


class Reader:
    """Reads ranges, and remembers them."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.bytes_read = 0

    def __call__(self, file: SourceFile, start: int, length: int | None) -> bytes:
        data = self.files[file.path][start : None if length is None else start + length]
        self.bytes_read += len(data)
        return data


def folder(files: Mapping[str, bytes]) -> tuple[Listing, Reader]:
    rows = tuple(SourceFile(name, len(data)) for name, data in files.items())
    return Listing(ModelRef(SourceKind.LOCAL, "/model"), rows), Reader(files)
