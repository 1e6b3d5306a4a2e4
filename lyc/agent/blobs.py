"""The content-addressed store of weights of a host, laid out as the cache of the machine that lyc runs on.

    blobs/sha256/<hex>     files by content: complete, verified, synced, read-only; the name is the SHA-256
    snapshots/<hex>/…      a model as its source lays it out: relative links to blobs
    manifests/<hex>.json   path, size and digest of every file; <hex> is the SHA-256 of this text
    listings/<key>         the snapshot that a listing without digests became
    marks/<key>            digest of a finished file whose source knows none
    used/<hex>             touched whenever the snapshot is asked for
    incoming/<key>.part    what has arrived so far; whoever writes it holds a lock on it
    lock                   shared by who links, exclusive for who prunes

A part becomes a blob by one rename, so a kill at any instant leaves a part to resume or a blob, never a half blob.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from lyc.agent.answer import Refused
from lyc.agent.root import Root

RESERVE = 256 << 20
"""Bytes that a fetch leaves free: the host's own logs, and those of its engines, are on the same disk."""
CHUNK = 1 << 20
_FLUSH_BYTES = 32 << 20
_WAIT_SECONDS = 0.2
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Store:
    """The folders. Others than root may read them only where engines run as another account (mode `system`)."""

    root: Path

    @classmethod
    def of(cls, root: Root) -> Store:
        """With its folders, made where they are missing."""
        os.umask(0o022 if os.geteuid() == 0 else 0o077)
        store = cls(root.store)
        with store.speaking():
            for folder in (store.blobs, store.incoming, *(store.root / n for n in ("snapshots", "manifests", "used"))):
                folder.mkdir(parents=True, exist_ok=True)
        return store

    @property
    def blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    def blob(self, digest: str) -> Path:
        return self.blobs / digest[7:]

    def snapshot(self, digest: str) -> Path:
        return self.root / "snapshots" / digest[7:]

    def manifest(self, digest: str) -> Path:
        return self.root / "manifests" / f"{digest[7:]}.json"

    def mark(self, key: str) -> Path:
        return self.root / "marks" / key

    def listing(self, key: str) -> Path:
        return self.root / "listings" / key

    def used(self, digest: str) -> Path:
        return self.root / "used" / digest[7:]

    def part(self, key: str) -> Path:
        return self.incoming / f"{key}.part"

    def has(self, digest: str, size: int) -> bool:
        """Whether the blob is here with its full size: it got its name once it was verified."""
        try:
            return self.blob(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def arrived(self, key: str) -> int:
        """Bytes of a part that are here."""
        try:
            return self.part(key).stat().st_size
        except FileNotFoundError:
            return 0

    def free(self) -> int:
        """Bytes of the disk that are free for this account."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def require_room(self, needed: int) -> None:
        """Refused `no-space` unless `needed` bytes and the reserve fit."""
        if needed and self.free() < needed + RESERVE:
            raise self.no_room(needed)

    def require_reserve(self) -> None:
        """The same while it is written to: others write to this disk too. Half of the reserve is for what the file
        system keeps about the files.
        """
        if self.free() < RESERVE // 2:
            raise self.no_room(None)

    def no_room(self, needed: int | None) -> Refused:
        """The error of a disk that is full, or would be after `needed` more bytes and the reserve."""
        wanted = f"{_mib(needed)} and {_mib(RESERVE)} of reserve needed" if needed is not None else "it filled up"
        return Refused(
            "no-space",
            "the disk of the host has no room for the model",
            why=f"{wanted}, {_mib(self.free())} free; what came is kept and goes on from there",
            where=str(self.root),
            hint="lyc hosts prune NAME, or a larger disk",
        )

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Errors of writing as Refused `no-space` or `store-broken`."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                raise self.no_room(None) from error
            raise Refused(
                "store-broken",
                "the store of weights on the host does not work",
                why=error.strerror or type(error).__name__,
                where=str(error.filename or self.root),
                hint="lyc hosts check NAME",
            ) from error

    @contextlib.contextmanager
    def locked(self, *, alone: bool) -> Iterator[None]:
        """Held while what is stored is linked, or (alone) removed."""
        with (self.root / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield

    def hold(self, key: str, done: Callable[[], bool], waiting: Callable[[int], None]) -> Part | None:
        """The part of `key`, for us alone; None once `done` says that the file is here.

        `waiting` hears how many bytes are here, a few times a second while another run writes it, and may raise.
        """
        path = self.part(key)
        while not done():
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same(handle, path):
                    if not done():
                        return Part(path, handle)
                    path.unlink()
            except BlockingIOError:
                waiting(os.fstat(handle).st_size)
                time.sleep(_WAIT_SECONDS)
            os.close(handle)  # not in a `finally`: a part keeps it
        return None

    def publish(self, parts: Sequence[tuple[Part, str]]) -> None:
        """Make blobs of complete, verified parts, whose digests are given, and let them go."""
        if len(parts) == 1:
            os.fsync(parts[0][0].handle)
        elif parts:
            _sync_all_of(parts[0][0].handle)
        for part, digest in parts:
            os.utime(part.handle)
            os.fchmod(part.handle, 0o444 if os.geteuid() == 0 else 0o400)
            part.path.rename(self.blob(digest))
        sync_folder(self.blobs)
        for part, _ in parts:
            part.close()

    def write(self, path: Path, text: str) -> None:
        """Write a small file so that a reader sees the old or the new one, on disk when this returns."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.incoming / f"{uuid4().hex}.text"
        try:
            with fresh.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
        finally:
            fresh.unlink(missing_ok=True)
        sync_folder(path.parent)


class Part:
    """What has arrived of one file: hashed as it grows. size, hash: of what is there, once `recall` has read it."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.handle = handle
        self.size = 0
        self.hash = hashlib.sha256()
        self._flushed = 0

    def recall(self, heard: Callable[[int], None]) -> None:
        """Hash what is there already. `heard`: bytes so far, for each chunk."""
        buffer = memoryview(bytearray(CHUNK))
        while count := os.preadv(self.handle, [buffer], self.size):
            self.hash.update(buffer[:count])
            self.size += count
            heard(self.size)
        self._flushed = self.size

    def append(self, data: memoryview) -> None:
        """All of `data`, or OSError."""
        self.hash.update(data)
        self.size += len(data)
        while data:
            data = data[os.write(self.handle, data) :]
        if self.size - self._flushed >= _FLUSH_BYTES:
            # starts writing it to the disk, so that the sync at the end has little left to wait for
            os.posix_fadvise(self.handle, self._flushed, self.size - self._flushed, os.POSIX_FADV_DONTNEED)
            self._flushed = self.size

    def clear(self) -> None:
        """Begin anew."""
        os.truncate(self.handle, 0)
        self.size, self.hash, self._flushed = 0, hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        return f"sha256:{self.hash.hexdigest()}"

    def discard(self) -> None:
        """Throw it away."""
        self.path.unlink()
        self.close()

    def close(self) -> None:
        """Let others have it."""
        os.close(self.handle)


def sync_folder(folder: Path) -> None:
    """Make the renames in `folder` outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_all_of(handle: int) -> None:
    """All that was written to the file system of this file: once, instead of once for each of many small files."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(handle) != 0:
        raise OSError(ctypes.get_errno(), "syncfs")


def _is_same(handle: int, path: Path) -> bool:
    """Whether the open file still has that name: whoever held it may have made a blob of it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"
