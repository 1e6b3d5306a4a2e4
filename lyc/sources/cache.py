"""The content-addressed store of weights.

    <root>/blobs/sha256/<hex>     files by content (lyc.sources.blobs)
    <root>/snapshots/<hex>/…      a model as its source lays it out: relative links to blobs
    <root>/manifests/<hex>.json   path, size and digest of every file; <hex> is the SHA-256 of this text
    <root>/listings/<hex>         the snapshot that a listing without digests became
    <root>/index/<hex>.json       digests of the files of local folders (lyc.sources.hashes)
    <root>/{incoming,marks,locks} work in progress

A snapshot is linked only once all its blobs are complete, and appears by one rename: a partial one is never served.
Links are relative, so the whole cache may be moved, and a blob that is fetched again heals every snapshot of it.

A local file is cloned (shared extents, where the file system can) or copied, never hard-linked: its owner may write
into it in place, as training scripts do, and would then change the weights under a running engine and under a digest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from lyc.errors import Interrupted
from lyc.ports import ByteProgress, Source
from lyc.records.model import Listing, ModelRef, Snapshot, SourceFile, SourceKind
from lyc.sources.blobs import BlobStore
from lyc.sources.disk import require_space, speaking, sync_folder, write_atomic
from lyc.sources.manifest import Manifest, manifest, read_manifest
from lyc.sources.meter import Meter

_STREAMS = 4


class ContentCache:
    """Implements `lyc.ports.ModelCache`. Safe for several processes; a killed fetch resumes.

    A cache on a read-only disk serves what it has (`have`, and `snapshot` of what is there).

    Args:
        pause: how to wait between two tries after a connection broke.

    Errors of `snapshot`: `no-space`, `cache-read-only`, `cache-broken`, `checksum-mismatch`, and those of the source.
    """

    def __init__(
        self,
        root: Path,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.root = root
        self._blobs = BlobStore(root, pause)

    @property
    def index_folder(self) -> Path:
        """Where `LocalSource` may remember digests."""
        return self.root / "index"

    def snapshot(
        self, source: Source, listing: Listing, progress: ByteProgress, say: Callable[[str], None] | None = None
    ) -> Snapshot:
        """The model, complete and verified, on this machine. Fetches only what is missing."""
        if found := self.have(listing):
            progress(listing.size, listing.size)
            return found
        with speaking(self.root):
            self._blobs.prepare()
            meter = Meter(listing, progress, say)
            for file in listing.files:
                self._blobs.clone(source, listing, file)
            require_space(self.root, sum(self._blobs.missing(listing, file) for file in listing.files))
            return self._link(listing, manifest(self._fetch(source, listing, meter)))

    def have(self, listing: Listing) -> Snapshot | None:
        """The snapshot of exactly this listing if it is here, with every file at its full size. Touches no network."""
        try:
            return self._open(listing.ref, self._digest_of(listing))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def use(self, digest: str) -> Path | None:
        """See the port."""
        try:
            found = self._open(ModelRef(SourceKind.LOCAL, ""), digest)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if found is None:
            return None
        with contextlib.suppress(OSError):  # a cache on a read-only disk
            os.utime(self._manifest_path(digest))
        return found.path

    def verify(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Read every file again and compare its SHA-256. Damaged blobs are thrown away; their paths are returned.

        After that, `have` finds the snapshot no more, and `snapshot` fetches what was damaged.
        """
        with speaking(self.root):
            files = read_manifest(self._manifest_path(snapshot.digest).read_text()).files
            return tuple(file.path for file in files if self._blobs.damaged(str(file.digest), file.size))

    def _digest_of(self, listing: Listing) -> str:
        if all(file.digest for file in listing.files):
            return manifest(listing.files).digest
        return (self.root / "listings" / listing.key).read_text().strip()

    def _open(self, ref: ModelRef, digest: str) -> Snapshot | None:
        found = read_manifest(self._manifest_path(digest).read_text())
        folder = self._folder(digest)
        whole = found.digest == digest and all(_is_whole(folder, file) for file in found.files)
        return Snapshot(ref, digest, folder, found.size, found.files) if whole else None

    def _fetch(self, source: Source, listing: Listing, meter: Meter) -> list[SourceFile]:
        """All files as blobs, the largest first, a few side by side. The first failure stops the others."""
        order = sorted(listing.files, key=lambda file: -file.size)
        with ThreadPoolExecutor(_STREAMS, thread_name_prefix="fetch") as pool:
            jobs = [pool.submit(self._blobs.fetch, source, listing, file, meter) for file in order]
            try:
                wait(jobs, return_when="FIRST_EXCEPTION")
            finally:
                if any(not job.done() or job.exception() for job in jobs):
                    meter.stop()
                for job in jobs:
                    job.cancel()
        failed = [error for job in jobs if not job.cancelled() and (error := job.exception())]
        for error in sorted(failed, key=lambda error: isinstance(error, Interrupted)):
            raise error
        return [replace(file, digest=job.result()) for file, job in zip(order, jobs, strict=True)]

    def _link(self, listing: Listing, found: Manifest) -> Snapshot:
        folder, fresh = self._folder(found.digest), self.root / "incoming" / f"{uuid4().hex}.snapshot"
        try:
            for file in found.files:
                link = fresh / file.path
                link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                up = os.path.relpath(self._blobs.path(str(file.digest)), folder / Path(file.path).parent)
                link.symlink_to(up)
            self._replace(fresh, folder, found)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        write_atomic(self._manifest_path(found.digest), found.text)
        if not all(file.digest for file in listing.files):
            write_atomic(self.root / "listings" / listing.key, found.digest)
        return Snapshot(listing.ref, found.digest, folder, found.size, found.files)

    def _replace(self, fresh: Path, folder: Path, found: Manifest) -> None:
        """Put `fresh` in the place of `folder`, unless a whole one lies there already (another run was faster)."""
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.exists() and not all(_is_whole(folder, file) for file in found.files):
            with contextlib.suppress(FileNotFoundError):
                folder.rename(fresh.with_suffix(".damaged"))
        try:
            fresh.rename(folder)
        except OSError:
            if not all(_is_whole(folder, file) for file in found.files):
                raise
        finally:
            shutil.rmtree(fresh.with_suffix(".damaged"), ignore_errors=True)
        sync_folder(folder.parent)

    def _manifest_path(self, digest: str) -> Path:
        return self.root / "manifests" / f"{digest.removeprefix('sha256:')}.json"

    def _folder(self, digest: str) -> Path:
        return self.root / "snapshots" / digest.removeprefix("sha256:")


def _is_whole(folder: Path, file: SourceFile) -> bool:
    try:
        return (folder / file.path).stat().st_size == file.size
    except FileNotFoundError:
        return False
