"""Where arriving bytes go: appended to a part and hashed on the way, so that nothing is read twice."""

from __future__ import annotations

import hashlib
import io
import os
from typing import BinaryIO, cast

from lyc.sources.hashes import CHUNK


class HashingSink(io.RawIOBase):
    """A write-only stream onto a part, opened for appending and unbuffered; what is there already is hashed first."""

    def __init__(self, part: io.FileIO) -> None:
        self._part = part
        self._hash = hashlib.sha256()
        self.size = 0
        with open(part.name, "rb", buffering=0) as before:  # noqa: PTH123 (the name is a file's, whatever its type)
            while chunk := before.read(CHUNK):
                self._hash.update(chunk)
                self.size += len(chunk)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        """All of `data`, or OSError; what was written before the error counts."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        done = 0
        while done < len(view):
            written = self._part.write(view[done:])
            self._hash.update(view[done : done + written])
            self.size += written
            done += written
        return done

    def clear(self) -> None:
        """Begin anew."""
        os.truncate(self._part.fileno(), 0)
        self._hash, self.size = hashlib.sha256(), 0

    def stream(self) -> BinaryIO:
        """Itself, under the type that `lyc.ports.Source.download` asks for."""
        return cast(BinaryIO, self)

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"
