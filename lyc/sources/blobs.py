"""One file on its way into the cache: lock, resume, verify, rename.

    incoming/<key>.part   what has arrived so far; `key` changes whenever the bytes could
    marks/<key>           digest of a finished file whose source knows none
    blobs/sha256/<hex>    complete, verified, synced, read-only; the name is the SHA-256

A part becomes a blob by one rename, so a kill at any instant leaves a part to resume or a blob, never a half blob.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from lyc.errors import Failed, Unreachable
from lyc.ports import Source
from lyc.records.model import Listing, SourceFile
from lyc.sources.disk import boot_id, clone, sync_folder, write_atomic
from lyc.sources.hashes import changed, mark_of, sha256_file
from lyc.sources.manifest import file_key
from lyc.sources.meter import Meter
from lyc.sources.sink import HashingSink

_RETRIES = 5
_ABANDONED = 14 * 86400.0


class BlobStore:
    """Files by content below `root`. Safe for several processes and threads.

    Args:
        pause: waits that many seconds between two tries after a connection broke.
    """

    def __init__(self, root: Path, pause: Callable[[float], None] = time.sleep) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._incoming = root / "incoming"
        self._marks = root / "marks"
        self._locks = root / "locks"
        self._pause = pause
        self._boot = boot_id()

    def prepare(self) -> None:
        """Make the folders; throw away what nobody has touched for two weeks."""
        for folder in (self._blobs, self._incoming, self._marks, self._locks):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        oldest = time.time() - _ABANDONED
        for left in self._incoming.iterdir():
            with suppress(OSError, Timeout):
                if left.stat().st_mtime < oldest:
                    with FileLock(self._locks / f"{left.stem}.lock", timeout=0):
                        shutil.rmtree(left) if left.is_dir() else left.unlink()

    def path(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def has(self, digest: str, size: int) -> bool:
        """Whether the blob is here with its full size. A stat; see `damaged` for the full check."""
        try:
            return self.path(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def damaged(self, digest: str, size: int) -> bool:
        """Read the whole blob; throw it away and return True if it is not what its name says. A missing one is not."""
        path = self.path(digest)
        try:
            found, mark = sha256_file(path, _unheard)
        except FileNotFoundError:
            return False
        if found == digest and mark.size == size:
            return False
        path.unlink(missing_ok=True)
        return True

    def adopt(self, path: Path, file: SourceFile) -> None:
        """Take a finished file of ours into the store by a rename. Failed `checksum-mismatch` if it is another one.

        Takes no lock: whoever asked for the file may hold it already.
        """
        found, _ = sha256_file(path, _unheard)
        if found != file.digest:
            raise Failed(
                "checksum-mismatch",
                f"{file.path} was not made as it should have been",
                why=f"its SHA-256 is {found[7:19]}…, expected is {str(file.digest)[7:19]}…",
                hint="deploy again; if it stays, please report it",
            )
        with path.open("rb") as handle:
            self._publish(path, handle, found)

    def missing(self, listing: Listing, file: SourceFile) -> int:
        """Bytes of `file` that are neither a blob nor a part here."""
        if self._known(listing, file):
            return 0
        part = self._part(self._key(listing, file))
        return max(0, file.size - (part.stat().st_size if part.exists() else 0))

    def clone(self, source: Source, listing: Listing, file: SourceFile) -> bool:
        """Take a local file by sharing its extents; False where the file system cannot.

        Its digest is the one that `resolve` computed; device, inode, size and times are compared again after the clone,
        so that it is the same file in the same state.
        """
        local = source.local_path(listing, file)
        if local is None or file.digest is None or self._known(listing, file):
            return False
        key = self._key(listing, file)
        with self._locked(key), ExitStack() as stack:
            if self._known(listing, file):
                return True
            origin = stack.enter_context(local.open("rb"))
            fresh = self._incoming / f"{key}.clone"
            target = stack.enter_context(fresh.open("wb"))
            try:
                if not clone(origin.fileno(), target.fileno()):
                    return False
                if str(mark_of(os.fstat(origin.fileno()))) != file.etag:
                    raise changed(local)
                self._publish(fresh, target, file.digest)
            finally:
                fresh.unlink(missing_ok=True)
        return True

    def fetch(self, source: Source, listing: Listing, file: SourceFile, meter: Meter) -> str:
        """The file as a blob; its digest. Fetches what is missing, resumes a part, or waits for whoever fetches it."""
        if known := self._known(listing, file):
            meter.finish(file)
            return known
        key = self._key(listing, file)
        with self._locked(key, file, meter):
            if known := self._known(listing, file):
                meter.finish(file)
                return known
            resumed = self._size(key) > 0
            digest = self._arrive(source, listing, file, meter)
            if file.digest not in (None, digest) and resumed:
                # the part may be what a power cut left: once more, from nothing
                self._part(key).unlink()
                digest = self._arrive(source, listing, file, meter)
            if file.digest not in (None, digest):
                self._part(key).unlink()
                raise Failed(
                    "checksum-mismatch",
                    f"{file.path} arrived damaged",
                    why=f"its SHA-256 is {digest[7:19]}…, the source says {str(file.digest)[7:19]}…",
                    where=str(listing.ref),
                    hint="deploy again; if it stays, the copy at the source is damaged",
                )
            if file.digest is None:
                write_atomic(self._marks / key, digest)
            with self._part(key).open("rb") as part:
                self._publish(self._part(key), part, digest)
            return digest

    def _arrive(self, source: Source, listing: Listing, file: SourceFile, meter: Meter) -> str:
        """Fill the part to the file's size; its digest. Tries again as long as each try brings bytes."""
        failures = 0
        with self._part(self._key(listing, file)).open("ab", buffering=0) as part:
            sink = HashingSink(part)
            while True:
                if sink.size > file.size:
                    sink.clear()
                start, error = sink.size, None
                meter.at(file, start)
                try:
                    if start < file.size:
                        source.download(listing, file, sink.stream(), start=start, progress=meter.of(file))
                except Unreachable as broken:
                    error = broken
                if sink.size == file.size:
                    return sink.digest()
                failures = 1 if sink.size > start else failures + 1
                if failures >= _RETRIES:
                    raise error or _cut_short(listing, file, sink.size)
                self._pause(min(8.0, 0.5 * 2**failures))

    def _publish(self, path: Path, handle: io.IOBase | BinaryIO, digest: str) -> None:
        handle.flush()
        os.fsync(handle.fileno())
        path.chmod(0o444)
        path.rename(self.path(digest))
        sync_folder(self._blobs)

    def _known(self, listing: Listing, file: SourceFile) -> str | None:
        """The digest, if the complete blob is here. One of a wrong size does not count; a rename will replace it."""
        digest = file.digest
        if digest is None:
            with suppress(FileNotFoundError):
                digest = (self._marks / self._key(listing, file)).read_text()
        return digest if digest and self.has(digest, file.size) else None

    def _key(self, listing: Listing, file: SourceFile) -> str:
        return file_key(listing, file, self._boot)

    def _part(self, key: str) -> Path:
        return self._incoming / f"{key}.part"

    def _size(self, key: str) -> int:
        part = self._part(key)
        return part.stat().st_size if part.exists() else 0

    @contextmanager
    def _locked(self, key: str, file: SourceFile | None = None, meter: Meter | None = None) -> Iterator[None]:
        """Hold `key` alone. While another run holds it, `meter` hears so, and how far that run is with `file`."""
        lock = FileLock(self._locks / f"{key}.lock")
        told = False
        while not lock.is_locked:
            with suppress(Timeout):
                lock.acquire(timeout=0.5, poll_interval=0.05)
                break
            if file is not None and meter is not None:
                if not told:
                    meter.waiting(file)
                meter.at(file, self._size(key))
                told = True
        try:
            yield
        finally:
            lock.release()


def _unheard(count: int) -> None:
    """Progress that nobody wants."""


def _cut_short(listing: Listing, file: SourceFile, arrived: int) -> Unreachable:
    return Unreachable(
        "cut-short",
        f"{file.path} ended early",
        why=f"{arrived} of {file.size} bytes came",
        where=str(listing.ref),
        hint="deploy again: what was fetched is kept",
    )
