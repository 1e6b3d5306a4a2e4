"""The identity of a model on disk: the canonical text over path, size and digest of every file. Pure.

The cache of the machine that lyc runs on writes the same text, so a model has one digest wherever it lies.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeGuard

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class File:
    """path: relative, with forward slashes. size: bytes. digest: `sha256:<hex>`."""

    path: str
    size: int
    digest: str

    @property
    def hex(self) -> str:
        return self.digest[7:]


def manifest_text(files: Iterable[File]) -> str:
    """The canonical JSON, sorted by path."""
    ordered = sorted(files, key=lambda file: file.path)
    rows = [{"path": file.path, "size": file.size, "digest": file.digest} for file in ordered]
    return json.dumps({"version": 1, "files": rows}, sort_keys=True, separators=(",", ":"))


def digest_of(text: str) -> str:
    """`sha256:<hex>` of a manifest's text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read_manifest(text: str) -> tuple[File, ...]:
    """The files of a manifest. Raises ValueError if this is not exactly what `manifest_text` writes."""
    try:
        files = tuple(read_file(row) for row in json.loads(text)["files"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a manifest: {error}") from error
    if manifest_text(files) != text or len({file.path for file in files}) != len(files):
        raise ValueError("not a manifest in its canonical form")
    return files


def read_file(row: dict[str, Any]) -> File:
    """One file, fit to be written below a folder. Raises ValueError, KeyError or TypeError."""
    path, size, digest = row["path"], row["size"], row["digest"]
    if not isinstance(path, str) or not isinstance(size, int) or size < 0:
        raise ValueError("a file has a path and a size")
    if not is_digest(digest):
        raise ValueError("not a SHA-256")
    parts = PurePosixPath(path).parts
    if not parts or "\0" in path or path != "/".join(parts) or path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} does not lie below a folder")
    return File(path, size, digest)


def is_digest(value: object) -> TypeGuard[str]:
    """Whether it is a `sha256:<hex>`."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
