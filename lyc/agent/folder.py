"""The folder of one replica: what it is to run, which process it is, how that ended. Read and written with care.

    spec.json      what `start` was asked for, and the port that was chosen       by the agent
    process.json   the process: pid, start, boot; how often it was started        by `launch`, or the shim
    exit.json      how that process ended                                         by `ended`, or the shim

Under systemd the engine, whose account may write here, is not trusted by the agent, which is root: what belongs to root
cannot be renamed or removed by it (sticky folder), root never follows a link in here, and believes nothing that it
reads here to be a process to signal.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lyc.agent.answer import Refused
from lyc.agent.root import Root
from lyc.agent.shim import boot_id, start_ticks

Document = dict[str, Any]
LONGEST = 1 << 20
_IDENTITY = re.compile(r"[a-z0-9][a-z0-9.-]{0,127}")
_HALF = re.compile(r"\.(?!process\.json|exit\.json).+\.([0-9a-f]{16}|[0-9]+)")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
OWN = {"spec.json", "process.json", "exit.json", "lock", "shim.log"}


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a replica lives on the host. Nothing is read before it is asked for."""

    path: Path

    @property
    def identity(self) -> str:
        return self.path.name

    def spec(self) -> Document | None:
        return read(self.path / "spec.json")

    def process(self) -> Document | None:
        return read(self.path / "process.json")

    def end(self) -> Document | None:
        return read(self.path / "exit.json")

    def signature(self) -> tuple[int, ...]:
        """Another one whenever a document has been written anew."""
        found = []
        for name in ("spec.json", "process.json", "exit.json"):
            try:
                seen = os.lstat(self.path / name)
                found += [seen.st_ino, seen.st_mtime_ns]
            except OSError:
                found += [0, 0]
        return tuple(found)


def named(root: Root, identity: str) -> Folder:
    """Raises Refused `bad-request` for what is no identity (and might be a path)."""
    if not _IDENTITY.fullmatch(identity) or ".." in identity:
        raise Refused("bad-request", f"{identity!r} is no id of a process", why="it is made of a-z, 0-9, '.' and '-'")
    return Folder(root.replica(identity))


def file_name(name: str) -> str:
    """The same name. Raises Refused `bad-request` for one that a private file cannot have."""
    if not _FILE.fullmatch(name) or name in OWN or name.startswith("output.log"):
        raise Refused("bad-request", f"a private file cannot be called {name!r}")
    return name


def folders(root: Root, owner: str | None = None) -> Iterator[tuple[Folder, Document]]:
    """Every replica here, or those of one owner, with its spec."""
    with contextlib.suppress(OSError):
        for place in sorted(root.replicas.iterdir()):
            folder = Folder(place)
            if not place.name.startswith(".") and (spec := folder.spec()) and owner in (None, spec.get("owner")):
                yield folder, spec


def read(path: Path) -> Document | None:
    """A document; None where there is none, or something else stands in its place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        try:
            document = json.loads(file.read(LONGEST))
        except ValueError:
            return None
    return document if isinstance(document, dict) else None


def write(path: Path, content: str, *, mode: int = 0o600, user: int = -1, group: int = -1) -> None:
    """Whole or not at all, with its rights from its first byte on, on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchown(descriptor, user, group)
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def forget_halves(directory: Path) -> None:
    """Remove what writers that were killed have left half written: it may be secret. For whoever alone writes there;
    what others note of a process is left out.
    """
    with contextlib.suppress(FileNotFoundError):
        for entry in directory.iterdir():
            if _HALF.fullmatch(entry.name):
                entry.unlink(missing_ok=True)


def lives(record: Document) -> bool:
    """Whether the process of a record is alive: the same number in another boot, or started later, is a stranger."""
    return bool(record.get("boot_id") == boot_id() and start_ticks(int(record["pid"])) == record.get("start_ticks"))


def number(document: Document | None, name: str) -> int:
    """A field that should be a whole number; 0 if it is not."""
    value = (document or {}).get(name)
    return value if isinstance(value, int) else 0
