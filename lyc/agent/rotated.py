"""The log that a shim writes, from a mark on, over its rotations.

The mark names a file by a digest of its first line, since both its name and its inode go to other files, and the place
in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from lyc.agent.shim import LOG_FILES

Line = tuple[float, str]
CHUNK = 1 << 16
HEAD = 256
TRIES = 20


class FileTail:
    """mark: of the last line that was taken; None before the first. Close it at the end."""

    def __init__(self, log: Path, mark: str | None) -> None:
        self.mark = mark
        self._log = log
        self._file: BinaryIO | None = None
        self._at = 0.0

    def fileno(self) -> int | None:
        """None: a file cannot be waited for, it is looked at now and then."""
        return None

    def follow(self) -> None:
        """Nothing to do: see `take`."""

    def take(self) -> list[Line]:
        """Some of the lines that have come since; none when there are none. Does not wait."""
        self._file = self._file or self._first()
        while (file := self._file) is not None:
            place = file.tell()
            data = file.read(CHUNK)
            whole = data if len(data) == CHUNK and b"\n" not in data else data[: data.rfind(b"\n") + 1]
            file.seek(place + len(whole))
            if whole:
                self.mark = f"{_head(file)}:{file.tell()}"
                return [self._line(line) for line in whole.removesuffix(b"\n").split(b"\n")]
            if not self._moved(file, place + len(data)):
                break
        return []

    def finish(self) -> Iterator[list[Line]]:
        """All that there is until now."""
        while lines := self.take():
            yield lines

    def close(self) -> None:
        """The mark stays, and `take` would go on from it."""
        if self._file:
            self._file.close()
            self._file = None

    def _first(self) -> BinaryIO | None:
        """The file of the mark, at its place; where that is gone or there is none, the oldest from its beginning."""
        wanted, _, place = (self.mark or "").partition(":")
        oldest: BinaryIO | None = None
        for path, inode in self._files():
            file = _opened(path, inode)
            if file is None:
                return None  # just being rotated: next time
            if wanted and _head(file) == wanted:
                file.seek(int(place) if place.isdigit() else 0)
                if oldest:
                    oldest.close()
                return file
            if oldest:
                file.close()
            else:
                oldest = file
        return oldest

    def _moved(self, file: BinaryIO, end: int) -> bool:
        """Whether there is more to read: it grew meanwhile, or a newer file has taken its place."""
        files = self._files()
        inodes = [inode for _, inode in files]
        inode = os.fstat(file.fileno()).st_ino
        if not files or inode == inodes[-1]:
            return False
        if os.fstat(file.fileno()).st_size > end:
            return True
        later = _opened(*files[inodes.index(inode) + 1 if inode in inodes else 0])
        if later is None:
            return False
        file.close()
        self._file = later
        return True

    def _files(self) -> list[tuple[Path, int]]:
        """What there is now, oldest first, seen twice alike: not in the middle of a rotation."""
        names = [f"{self._log.name}.{number}" for number in range(LOG_FILES, 0, -1)] + [self._log.name]
        before: list[tuple[Path, int]] = []
        for _ in range(TRIES):
            found = []
            for path in (self._log.with_name(name) for name in names):
                try:
                    found.append((path, path.stat().st_ino))
                except OSError:
                    continue
            if found == before:
                return found
            before = found
        return []

    def _line(self, line: bytes) -> Line:
        stamp, _, text = line.decode(errors="replace").partition(" ")
        try:
            self._at = datetime.fromisoformat(stamp).timestamp()
        except ValueError:
            text = f"{stamp} {text}"
        return self._at, text


def _opened(path: Path, inode: int) -> BinaryIO | None:
    """The file, if it is still that one."""
    try:
        file = path.open("rb")
    except OSError:
        return None
    if os.fstat(file.fileno()).st_ino == inode:
        return file
    file.close()
    return None


def _head(file: BinaryIO) -> str:
    """What tells this log from others: its first line begins with the time."""
    return hashlib.sha256(os.pread(file.fileno(), HEAD, 0).partition(b"\n")[0]).hexdigest()[:16]
