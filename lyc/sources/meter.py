"""Many files' progress as one number, not told more often than a person can read."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from lyc.errors import Interrupted
from lyc.ports import ByteProgress
from lyc.records.model import Listing, SourceFile

_PAUSE = 0.2


class Meter:
    """Adds up where each file of a listing is. Safe for several threads.

    After `stop` every further step raises Interrupted: so the other streams end when one has failed.
    """

    def __init__(self, listing: Listing, progress: ByteProgress, say: Callable[[str], None] | None = None) -> None:
        self._total = listing.size
        self._progress = progress
        self._say = say
        self._at: dict[str, int] = {}
        self._sum = 0
        self._last = 0.0
        self._lock = Lock()
        self._stopped = False

    def at(self, file: SourceFile, done: int) -> None:
        """`file` is at byte `done`."""
        with self._lock:
            if self._stopped:
                raise Interrupted("fetch-stopped", "the fetch was stopped", hint="deploy again: what came is kept")
            self._sum += done - self._at.get(file.path, 0)
            self._at[file.path] = done
            now = time.monotonic()
            if now - self._last >= _PAUSE or self._sum == self._total:
                self._last = now
                self._progress(self._sum, self._total)

    def waiting(self, file: SourceFile) -> None:
        """Another run is fetching `file`."""
        if self._say is not None:
            self._say(f"another run is fetching {file.path}; waiting for it")

    def of(self, file: SourceFile) -> ByteProgress:
        return lambda done, _: self.at(file, done)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True

    def finish(self, file: SourceFile) -> None:
        self.at(file, file.size)
