"""SHA-256 of local files, remembered, so that deploying an unchanged folder again costs a stat per file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lyc.errors import Failed
from lyc.sources.disk import write_atomic

CHUNK = 4 << 20
_SETTLED = 2_000_000_000
"""ns. A file touched less than this ago may change again within its time stamp's grain (2 s on FAT): not remembered."""


@dataclass(frozen=True, slots=True)
class FileMark:
    """What changes when a file's bytes do: device, inode, size, mtime and ctime in ns."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    def __str__(self) -> str:
        return f"{self.dev:x}-{self.ino:x}-{self.size}-{self.mtime_ns}-{self.ctime_ns}"


def mark_of(stat: os.stat_result) -> FileMark:
    """The mark of a file from its stat."""
    return FileMark(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def sha256_file(path: Path, seen: Callable[[int], None]) -> tuple[str, FileMark]:
    """`sha256:<hex>` of a file and the mark it had. `seen` hears of every chunk's bytes.

    Raises Failed `source-changed` if the file changed while it was read.
    """
    hasher = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        before = mark_of(os.fstat(file.fileno()))
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
            seen(len(chunk))
        if mark_of(os.fstat(file.fileno())) != before:
            raise changed(path)
    return f"sha256:{hasher.hexdigest()}", before


def changed(path: Path) -> Failed:
    """The error of a file that is no longer what was listed."""
    return Failed(
        "source-changed",
        f"{path.name} changed while it was read",
        why="something still writes there",
        where=str(path),
        hint="deploy again once it is complete",
    )


class HashIndex:
    """path, device, inode, size, mtime and ctime → digest, for the files of one folder; a JSON file in the cache.

    Only a shortcut: a missing, damaged or unwritable index costs time, never truth. Two writers: the last one wins.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._rows: dict[str, tuple[str, str]] = {}
        if file is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
                rows = json.loads(file.read_text()).items()
                self._rows = {str(path): (str(mark), str(digest)) for path, (mark, digest) in rows}

    def get(self, path: Path, mark: FileMark) -> str | None:
        found = self._rows.get(str(path))
        return found[1] if found and found[0] == str(mark) else None

    def put(self, path: Path, mark: FileMark, digest: str) -> None:
        if time.time_ns() - max(mark.mtime_ns, mark.ctime_ns) > _SETTLED:
            self._rows[str(path)] = (str(mark), digest)

    def save(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                write_atomic(self._file, json.dumps(self._rows))
