"""A folder on this machine as a source."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import IO, BinaryIO

from lyc.errors import NotAuthorised, SpecError
from lyc.ports import ByteProgress
from lyc.records.model import FetchRequest, Listing, ModelRef, SourceFile
from lyc.sources.hashes import CHUNK, FileMark, HashIndex, changed, mark_of, sha256_file
from lyc.sources.manifest import revision
from lyc.sources.select import is_model_folder, select


class LocalSource:
    """Implements `lyc.ports.Source` for an absolute folder.

    `resolve` hashes what it has not seen before (the first time it reads all weights; afterwards it only stats).
    Links are followed to files, never to folders. A file that changes after `resolve` is an error, not a mixture.

    Args:
        index_folder: where digests are remembered between runs; None = nowhere.
        hashing: hears of the bytes hashed by `resolve`.
        digests: False = `resolve` hashes nothing, so that it takes milliseconds for any model; files that were not
            hashed before then have no digest, and the revision is made of their change marks.
    """

    def __init__(
        self, *, index_folder: Path | None = None, hashing: ByteProgress | None = None, digests: bool = True
    ) -> None:
        self._index_folder = index_folder
        self._hashing = hashing
        self._hash_new = digests

    def resolve(self, ref: ModelRef) -> Listing:
        root = Path(ref.location)
        with _Denied(root):
            _require_folder(root)
            choice = select(_names(root))
            marks = {name: _mark(root, name) for name in choice.keep}
        digests = self._digests(root, marks)
        files = tuple(SourceFile(name, mark.size, digests.get(name), str(mark)) for name, mark in marks.items())
        return Listing(ref.pinned(revision(files)), files, choice.refused)

    def read(self, listing: Listing, file: SourceFile, *, start: int = 0, length: int | None = None) -> bytes:
        path = _path(listing, file)
        with _Denied(path), path.open("rb", buffering=0) as source:
            _require_same(path, source, file)
            count = file.size - start if length is None else length
            parts = []
            while count > 0 and (part := os.pread(source.fileno(), min(count, CHUNK), start)):
                parts.append(part)
                start, count = start + len(part), count - len(part)
            _require_same(path, source, file)
        return b"".join(parts)

    def download(
        self, listing: Listing, file: SourceFile, into: BinaryIO, *, start: int, progress: ByteProgress
    ) -> None:
        path = _path(listing, file)
        with _Denied(path), path.open("rb", buffering=0) as source:
            _require_same(path, source, file)
            source.seek(start)
            done = start
            while chunk := source.read(CHUNK):
                into.write(chunk)
                done += len(chunk)
                progress(done, file.size)
            _require_same(path, source, file)

    def fetch_requests(self, listing: Listing, *, seconds: float) -> tuple[FetchRequest, ...] | None:  # noqa: ARG002
        """See the port: the files are on this machine alone."""
        return None

    def local_path(self, listing: Listing, file: SourceFile) -> Path | None:
        """The file, if it still is the one that `resolve` saw."""
        path = _path(listing, file)
        try:
            return path if str(mark_of(path.stat())) == file.etag else None
        except OSError:
            return None

    def _digests(self, root: Path, marks: dict[str, FileMark]) -> dict[str, str]:
        index = HashIndex(self._index_folder and self._index_folder / f"{hashlib.sha256(bytes(root)).hexdigest()}.json")
        known = {name: digest for name, mark in marks.items() if (digest := index.get(root / name, mark))}
        fresh = [name for name in marks if name not in known]
        if not fresh or not self._hash_new:
            return known
        total, done, lock = sum(marks[name].size for name in fresh), 0, Lock()

        def seen(count: int) -> None:
            nonlocal done
            with lock:
                done += count
                if self._hashing:
                    self._hashing(done, total)

        def digest_of(name: str) -> tuple[str, FileMark]:
            with _Denied(root / name):
                return sha256_file(root / name, seen)

        # hashlib lets go of the GIL, so shards are hashed side by side
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for name, (digest, mark) in zip(fresh, pool.map(digest_of, fresh), strict=True):
                if mark != marks[name]:
                    raise changed(root / name)
                known[name] = digest
                index.put(root / name, mark, digest)
        index.save()
        return known


class _Denied:
    """A file or folder that may not be read, in lyc's words."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PermissionError):
            raise NotAuthorised(
                "model-unreadable",
                f"{error.filename or self._path} may not be read",
                why=os.strerror(error.errno or 0),
                where=str(self._path),
                hint=f"chmod -R u+rX {self._path}",
            ) from error
        if isinstance(error, FileNotFoundError):
            raise changed(Path(error.filename or self._path)) from error


def _require_folder(root: Path) -> None:
    what, why = f"there is no folder {root}", "a path was given, and nothing is there"
    try:
        if root.is_dir():
            return
        if root.is_symlink():
            what, why = f"{root} is a link to no folder", f"it points to {root.readlink()}"
        elif root.exists():
            what, why = f"{root} is a file, not a folder", "a model is a folder with config.json, tokenizer and weights"
    except PermissionError:
        raise
    except OSError as error:  # a name that is too long, links in a circle
        why = error.strerror or why
    raise SpecError(
        "no-such-folder", what, why=why, where=str(root), hint=f"ls -la {root.parent}, or name a model: org/name"
    )


def _names(root: Path) -> Iterator[str]:
    """Regular files at the top and one folder down; links to files count, links to folders do not."""
    for entry in os.scandir(root):
        if entry.is_dir(follow_symlinks=False):
            if is_model_folder(entry.name):
                yield from (f"{entry.name}/{below.name}" for below in os.scandir(entry) if _is_file(below))
        elif _is_file(entry):
            yield entry.name


def _is_file(entry: os.DirEntry[str]) -> bool:
    """A file, or a link to one. A link to nothing counts too, so that it is named instead of overlooked."""
    return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())


def _mark(root: Path, name: str) -> FileMark:
    path = root / name
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise SpecError(
            "broken-link",
            f"{name} is a link to nothing",
            why=f"it points to {path.readlink()}" if path.is_symlink() else "it went away",
            where=str(path),
            hint="bring the file back, or fetch the model again",
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise SpecError("not-a-file", f"{name} is not a regular file", where=str(path), hint=f"ls -la {path}")
    return mark_of(found)


def _path(listing: Listing, file: SourceFile) -> Path:
    return Path(listing.ref.location) / file.path


def _require_same(path: Path, source: IO[bytes] | FileIO, file: SourceFile) -> None:
    if str(mark_of(os.fstat(source.fileno()))) != file.etag:
        raise changed(path)
