"""Weights that are sent to this host: what is here, what is missing, what comes, and the model made of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shutil
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from lyc.agent.answer import Refused, read_request, say
from lyc.agent.blobs import CHUNK, Part, Store, sync_folder
from lyc.agent.manifest import File, digest_of, is_digest, manifest_text, read_file, read_manifest
from lyc.agent.root import Root

SAY_SECONDS = 0.25
SILENCE_SECONDS = 10
"""After which a stream that brings nothing is given up: its connection may be dead, and it holds a part."""
_GROUP_BYTES, _GROUP_FILES = 32 << 20, 128
"""Small files are synced together: one by one, 5000 of them would cost as many waits for the disk."""
_LINE_BYTES = 4 << 10
_CHECK_BYTES = 64 << 20
_KEY = re.compile(r"[0-9a-f]{64}")


def have(root: Root, _: list[str]) -> dict[str, Any]:
    """`{"digest"}`, or `{"listing": key}` for one without digests → `{"path", "digest"}`, both null where the snapshot
    is not here and whole. It counts as used now.
    """
    asked, store = read_request(), Store.of(root)
    digest = asked.get("digest") or _of_listing(store, asked.get("listing"))
    if not is_digest(digest):
        return {"path": None, "digest": None}
    with store.speaking(), store.locked(alone=False):
        if not _is_whole(store, digest):
            return {"path": None, "digest": None}
        _use(store, digest)
    return {"path": str(store.snapshot(digest)), "digest": digest}


def missing(root: Root, _: list[str]) -> dict[str, Any]:
    """`{"files": [{path, size, digest}]}` → `{"missing": [{digest, size, offset}], "free": bytes}`: each content once,
    and how much of it is here. Refused `no-space`.
    """
    files, store = _files(read_request().get("files")), Store.of(root)
    wanted = {file.digest: file.size for file in files}
    absent: dict[str, int] = {}
    for digest, size in wanted.items():
        if store.has(digest, size):
            os.utime(store.blob(digest))  # so that it is not pruned before it is linked
        else:
            absent[digest] = min(size, store.arrived(digest[7:]))
    store.require_room(sum(wanted[digest] - offset for digest, offset in absent.items()))
    rows = [{"digest": digest, "size": wanted[digest], "offset": offset} for digest, offset in absent.items()]
    return {"missing": rows, "free": store.free()}


def receive(root: Root, _: list[str]) -> dict[str, Any]:
    """stdin: for each file a line `DIGEST SIZE OFFSET`, then its bytes from OFFSET on; and so on until the end.

    Says `{"t": "progress", "done"}`, the bytes that came, and `{"t": "blob", "digest"}` for each file that is complete,
    verified and on disk. Answers `{"stopped": digest | null}`: the file at which it ended early, because more or less
    of it is here than the sender thought. Refused `checksum-mismatch` (what came is thrown away), `cut-short`,
    `no-space`.
    """
    store = Store.of(root)
    with store.speaking():
        return {"stopped": _Receiving(store).run()}


def link(root: Root, _: list[str]) -> dict[str, Any]:
    """`{"manifest": text, "listing": key | null}` → `{"path"}` of the snapshot. Refused `blobs-missing`."""
    asked, store = read_request(), Store.of(root)
    key = asked.get("listing")
    if key is not None and not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise Refused("bad-request", "that is not the key of a listing")
    try:
        files = read_manifest(asked["manifest"])
    except (KeyError, TypeError, ValueError) as error:
        raise Refused("bad-request", "that is not a manifest", why=str(error)) from error
    digest = digest_of(manifest_text(files))
    with store.speaking(), store.locked(alone=False):
        if absent := [file for file in files if not store.has(file.digest, file.size)]:
            raise Refused("blobs-missing", f"{len(absent)} files of the model are not on the host", kind="Unreachable")
        _place(store, digest, files)
        store.write(store.manifest(digest), manifest_text(files))
        if key is not None:
            store.write(store.listing(key), digest)
        _use(store, digest)
    return {"path": str(store.snapshot(digest))}


class _Receiving:
    """One stream of files. Small ones become blobs in groups, so that the disk is waited for once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stream = _Stream(sys.stdin.fileno())
        self._buffer = memoryview(bytearray(CHUNK))
        self._ready: list[tuple[Part, str]] = []
        self._ready_bytes = 0
        self._done = 0
        self._unchecked = 0
        self._said = 0.0

    def run(self) -> str | None:
        """Until the stream ends, or the file at which it had to stop."""
        try:
            while header := self._header():
                digest, size, offset = header
                if not self._file(digest, size, offset):
                    return digest
            return None
        finally:
            self._publish()

    def _file(self, digest: str, size: int, offset: int) -> bool:
        part = self._store.hold(digest[7:], lambda: self._store.has(digest, size), self._wait)
        if part is None:
            return False
        part.recall(lambda _: self._tell())
        if part.size != offset or offset > size:
            if part.size > size:
                part.clear()
            part.close()
            return False
        self._store.require_room(size - offset)
        self._take(part, size)
        if part.digest != digest:
            part.discard()
            raise _damaged(digest, part.digest)
        self._ready.append((part, digest))
        self._ready_bytes += size
        if self._ready_bytes >= _GROUP_BYTES or len(self._ready) >= _GROUP_FILES:
            self._publish()
        return True

    def _header(self) -> tuple[str, int, int] | None:
        line = self._stream.line()
        if not line:
            return None
        words = line.decode("ascii", "replace").split()
        if len(words) != 3 or not line.endswith(b"\n") or not is_digest(words[0]):
            raise Refused("bad-request", "a file begins with its digest, size and offset")
        return words[0], int(words[1]), int(words[2])

    def _take(self, part: Part, size: int) -> None:
        while part.size < size:
            count = self._stream.into(self._buffer[: size - part.size])
            if not count:
                raise Refused("cut-short", "the stream ended early", kind="Unreachable")
            part.append(self._buffer[:count])
            self._done += count
            self._unchecked += count
            if self._unchecked >= _CHECK_BYTES:
                self._unchecked = 0
                self._store.require_reserve()
            self._tell()

    def _wait(self, _: int) -> None:
        """Another run writes the file. It may wait for one of ours, so they are let go."""
        self._publish()
        self._tell()

    def _publish(self) -> None:
        ready, self._ready, self._ready_bytes = self._ready, [], 0
        self._store.publish(ready)
        for _, digest in ready:
            say({"t": "blob", "digest": digest})

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._said >= SAY_SECONDS:
            self._said = now
            say({"t": "progress", "done": self._done})


class _Stream:
    """What comes at a descriptor. Refused `cut-short` when nothing does for a while."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._rest = b""
        with contextlib.suppress(OSError):  # a socket, or another system
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CHUNK)

    def line(self) -> bytes:
        """One line with its end; what is left, without one, at the end of the stream or where it is too long."""
        while b"\n" not in self._rest and len(self._rest) < _LINE_BYTES:
            self._await()
            data = os.read(self._descriptor, _LINE_BYTES)
            if not data:
                break
            self._rest += data
        line, end, self._rest = self._rest.partition(b"\n")
        return line + end

    def into(self, view: memoryview) -> int:
        """Fill the beginning of `view`; how many bytes came, 0 at the end."""
        if self._rest:
            count = min(len(self._rest), len(view))
            view[:count], self._rest = self._rest[:count], self._rest[count:]
            return count
        self._await()
        return os.readv(self._descriptor, [view])

    def _await(self) -> None:
        if not self._poll.poll(SILENCE_SECONDS * 1000):
            raise Refused("cut-short", f"nothing came for {SILENCE_SECONDS} s", kind="Unreachable")


def _damaged(expected: str, found: str) -> Refused:
    return Refused(
        "checksum-mismatch",
        "a file of the model arrived damaged on the host",
        why=f"its SHA-256 is {found[7:19]}…, expected is {expected[7:19]}…; it was thrown away",
        hint="deploy again; if it stays, the copy that is sent is damaged",
    )


def _files(rows: object) -> tuple[File, ...]:
    if not isinstance(rows, list):
        raise Refused("bad-request", "files are a list")
    try:
        return tuple(read_file(row) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise Refused("bad-request", "that is not a file", why=str(error)) from error


def _of_listing(store: Store, key: object) -> str | None:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return None
    try:
        return store.listing(key).read_text()
    except FileNotFoundError:
        return None


def _use(store: Store, digest: str) -> None:
    with contextlib.suppress(OSError):  # a full disk is no reason not to serve what is on it
        store.used(digest).touch()


def _is_whole(store: Store, digest: str) -> bool:
    """Whether manifest, links and all files at their full sizes are here."""
    try:
        text = store.manifest(digest).read_text()
        return digest_of(text) == digest and _links_hold(store.snapshot(digest), read_manifest(text))
    except (OSError, ValueError):
        return False


def _links_hold(folder: Path, files: tuple[File, ...]) -> bool:
    try:
        return all((folder / file.path).stat().st_size == file.size for file in files)
    except OSError:
        return False


def _place(store: Store, digest: str, files: tuple[File, ...]) -> None:
    """Make the snapshot's folder; it appears by one rename. A whole one that is there stays."""
    folder, fresh = store.snapshot(digest), store.incoming / f"{uuid4().hex}.snapshot"
    if _links_hold(folder, files):
        return
    try:
        fresh.mkdir()
        for file in files:
            place = fresh / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(os.path.relpath(store.blob(file.digest), folder / Path(file.path).parent))
        if folder.exists():
            folder.rename(store.incoming / f"{uuid4().hex}.gone")
        fresh.rename(folder)
    except OSError:
        if not _links_hold(folder, files):  # else another run was faster
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        for gone in store.incoming.glob("*.gone"):
            shutil.rmtree(gone, ignore_errors=True)
    sync_folder(folder.parent)
