"""The identity of a snapshot: path, size and digest of every file. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lyc.agent.manifest import File, digest_of, manifest_text
from lyc.records.model import Listing, SourceFile


@dataclass(frozen=True, slots=True)
class Manifest:
    """files: sorted by path, each with its digest. text: the canonical JSON. digest: `sha256:<hex>` of that text."""

    files: tuple[SourceFile, ...]
    text: str
    digest: str

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def manifest(files: Iterable[SourceFile]) -> Manifest:
    """The manifest of files whose digests are all known (ValueError otherwise). Where they came from plays no part."""
    ordered = tuple(sorted((SourceFile(file.path, file.size, file.digest) for file in files), key=lambda f: f.path))
    if missing := [file.path for file in ordered if not file.digest]:
        raise ValueError(f"no digest for {missing}")
    text = manifest_text(File(file.path, file.size, str(file.digest)) for file in ordered)
    return Manifest(ordered, text, digest_of(text))


def read_manifest(text: str) -> Manifest:
    """The manifest that `Manifest.text` holds. ValueError, KeyError or TypeError if it is damaged."""
    rows = json.loads(text)["files"]
    return manifest(SourceFile(str(row["path"]), int(row["size"]), str(row["digest"])) for row in rows)


def revision(files: Sequence[SourceFile]) -> str:
    """An immutable revision for sources that have none: over names, sizes and digests or else change marks."""
    rows = sorted([file.path, str(file.size), file.digest or file.etag] for file in files)
    return _sha256(json.dumps(rows, separators=(",", ":")))


def file_key(listing: Listing, file: SourceFile, boot: str) -> str:
    """A name (hex) for the bytes of one file: its digest if known; else source, size, change mark and `boot`.

    `boot` names the kernel's run: what an unverifiable part on disk holds is trusted only as long as no power cut can
    have come between.
    """
    if file.digest:
        return file.digest.removeprefix("sha256:")
    ref = listing.ref
    mark = [ref.kind, ref.location, ref.revision, file.path, file.size, file.etag, boot]
    return _sha256(json.dumps(mark, separators=(",", ":")))[7:]


def _sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
