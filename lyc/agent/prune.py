"""Makes room on this host: what was left behind, engines of no use, what was compiled for weights of no use, then those
weights, the longest unused first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

from lyc.agent.answer import Refused, read_request
from lyc.agent.blobs import Store
from lyc.agent.folder import folders
from lyc.agent.manifest import is_digest, read_manifest
from lyc.agent.root import Root

PART_SECONDS = 14 * 86400.0
"""After which a part that nobody went on with is thrown away."""
BLOB_SECONDS = 86400.0
"""The same for a complete file that no snapshot has: it may belong to a model that is still arriving."""
_SNAPSHOT = re.compile(r"/snapshots/([0-9a-f]{64})")
_ENGINE = re.compile(r"/engines/([a-z0-9][a-z0-9.+_-]*/[0-9a-f]{16})")
_BUILD = re.compile(r"/compiled/([a-z0-9][a-z0-9.+_-]*)")
"""Of an engine in a container, which runs from no environment."""


@dataclass(frozen=True)
class Candidate:
    """One thing that may go. kind: leftovers | engine | compiled | weights. bytes: what that makes free."""

    kind: str
    name: str
    bytes: int
    remove: Callable[[], None]


def prune(root: Root, _: list[str]) -> dict[str, Any]:
    """`{"keep": [snapshot digests], "engines": [builds, or build/digest], "free": bytes | null, "dry_run": bool}` →
    `{"removed": [{"kind", "name", "bytes"}], "bytes": n}`.

    Goes on until `free` bytes are free; null = all that may go. What a replica on this host names stays too, whoever
    it belongs to.
    """
    asked, store = read_request(), Store.of(root)
    keep, engines, free = asked.get("keep"), asked.get("engines"), asked.get("free")
    if not (isinstance(keep, list) and all(map(is_digest, keep)) and isinstance(engines, list)):
        raise Refused("bad-request", "keep names digests, and engines builds")
    snapshots, running = _in_use(root)
    snapshots |= {digest[7:] for digest in keep}
    removed: list[Candidate] = []
    with store.speaking(), store.locked(alone=True):
        there = store.free()
        for candidate in chain(
            _leftovers(root, store),
            _engines(root, {str(name) for name in engines}, running),
            _uv_cache(root),
            _compiled(root, snapshots, {str(name).partition("/")[0] for name in {*engines, *running}}),
            _weights(store, snapshots),
        ):
            if free is not None and max(store.free(), there + sum(each.bytes for each in removed)) >= int(free):
                break
            if not asked.get("dry_run"):
                candidate.remove()
            removed.append(candidate)
    rows = [{"kind": each.kind, "name": each.name, "bytes": each.bytes} for each in removed]
    return {"removed": rows, "bytes": sum(each.bytes for each in removed)}


def _in_use(root: Root) -> tuple[set[str], set[str]]:
    """Snapshots (hex), and engines (build/digest, and build) that a replica here names."""
    said = "\n".join(json.dumps(spec) for _, spec in folders(root))
    return set(_SNAPSHOT.findall(said)), {*_ENGINE.findall(said), *_BUILD.findall(said)}


def _leftovers(root: Root, store: Store) -> Iterator[Candidate]:
    """What kills left behind, as one."""
    old = [path for path in store.incoming.iterdir() if _is_left(path)]
    for gone in ("engines/*/*.gone", "uv/*.gone", "compiled/*.gone", "compiled/*/for/*.gone"):
        old += root.path.glob(gone)
    with contextlib.suppress(FileNotFoundError):
        old += [path for path in (store.root / "marks").iterdir() if _age(path) > PART_SECONDS]
    wanted = set().union(*(_blobs_of(store, name) for name in _snapshots(store)))
    old += [path for path in store.blobs.iterdir() if path.name not in wanted and _age(path) > BLOB_SECONDS]
    if old:
        yield Candidate("leftovers", "unfinished downloads", _freed(old), lambda: _remove(old))


def _is_left(path: Path) -> bool:
    """Nobody links meanwhile, for the store is locked; a part is left when its time is over and nobody holds it."""
    if path.suffix in (".gone", ".snapshot"):
        return True
    if _age(path) <= PART_SECONDS:
        return False
    return not _is_held(path)


def _engines(root: Root, keep: set[str], running: set[str]) -> Iterator[Candidate]:
    """Environments of other builds than those to keep, unless somebody installs there right now."""
    if not root.engines.is_dir():
        return
    for build in sorted(root.engines.iterdir()):
        if build.name in keep or any(_is_held(build / lock) for lock in (".lock", ".busy")):
            continue
        for folder in sorted(path for path in build.iterdir() if path.is_dir() and path.suffix != ".gone"):
            name = f"{build.name}/{folder.name}"
            if name not in keep | running and str(folder) not in keep:
                yield Candidate("engine", name, _freed([folder]), lambda folder=folder: _remove_engine(folder))  # type: ignore[misc]


def _uv_cache(root: Root) -> Iterator[Candidate]:
    """Packages that uv keeps for the next environment, unless it runs. Environments that stay lose nothing by it."""
    cache = root.path / "uv" / "cache"
    busy = root.engines.is_dir() and any(_is_held(path) for path in root.engines.glob("*/.busy"))
    if cache.is_dir() and not busy:
        yield Candidate("leftovers", "packages that were installed", _freed([cache]), lambda: _remove_tree(cache))


def _compiled(root: Root, snapshots: set[str], builds: set[str]) -> Iterator[Candidate]:
    """All that was compiled by other builds than these, and of these what serves none of the snapshots (hex): see
    `lyc.engines.compiled`.
    """
    for build in sorted(path for path in root.compiled.glob("*") if path.is_dir() and path.suffix != ".gone"):
        if build.name not in builds:
            yield _tree("compiled", build.name, build)
            continue
        for folder in sorted(path for path in build.glob("for/*") if path.suffix != ".gone"):
            start = folder.name.partition("-")[0]
            if not any(snapshot.startswith(start) for snapshot in snapshots):
                yield _tree("compiled", f"{build.name}/{folder.name}", folder)


def _tree(kind: str, name: str, folder: Path) -> Candidate:
    return Candidate(kind, name, _freed([folder]), lambda: _remove_tree(folder))


def _weights(store: Store, keep: set[str]) -> Iterator[Candidate]:
    """Snapshots, the longest unused first, each with the blobs that nothing else needs once it is gone."""
    needs = {name: _blobs_of(store, name) for name in _snapshots(store)}
    users = Counter(blob for blobs in needs.values() for blob in blobs)
    for name in sorted(needs.keys() - keep, key=lambda name: _last_use(store, name)):
        users.subtract(needs[name])
        blobs = [store.blobs / blob for blob in needs[name] if users[blob] == 0]

        def remove(name: str = name, blobs: list[Path] = blobs) -> None:
            digest = f"sha256:{name}"
            _remove_tree(store.snapshot(digest), store.incoming)
            _remove([store.manifest(digest), store.used(digest), *blobs])

        yield Candidate("weights", f"sha256:{name}", _freed(blobs), remove)


def _snapshots(store: Store) -> set[str]:
    """Hex names of all snapshots, whole or not."""
    named = {path.name for path in (store.root / "snapshots").iterdir()}
    return named | {path.stem for path in (store.root / "manifests").iterdir()}


def _blobs_of(store: Store, name: str) -> set[str]:
    """Names of the blobs of a snapshot, by its manifest and by its links."""
    found: set[str] = set()
    with contextlib.suppress(OSError, ValueError):
        found = {file.hex for file in read_manifest(store.manifest(f"sha256:{name}").read_text())}
    for folder, _, files in os.walk(store.snapshot(f"sha256:{name}")):
        found |= {os.readlink(os.path.join(folder, file)).rpartition("/")[2] for file in files}  # noqa: PTH115, PTH118
    return found


def _last_use(store: Store, name: str) -> float:
    digest = f"sha256:{name}"
    for path in (store.used(digest), store.manifest(digest), store.snapshot(digest)):
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime
    return 0.0


def _age(path: Path) -> float:
    """Seconds since it was written; 0 where it is gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_held(path: Path) -> bool:
    """Whether somebody has a lock on this file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _freed(paths: Iterable[Path]) -> int:
    """Bytes that become free when all of these go: a file with another name elsewhere stays."""
    links: Counter[tuple[int, int]] = Counter()
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for file in (file for path in paths for file in _files_of(path)):
        with contextlib.suppress(FileNotFoundError):
            found = file.lstat()
            links[found.st_dev, found.st_ino] += 1
            sizes[found.st_dev, found.st_ino] = (found.st_nlink, min(found.st_size, found.st_blocks * 512))
    return sum(size for file, (count, size) in sizes.items() if links[file] >= count)


def _files_of(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (Path(top, name) for top, _, names in os.walk(path) for name in names)
    else:
        yield path


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            _remove_tree(path)
        elif path.suffix != ".part":
            path.unlink(missing_ok=True)
        else:
            _remove_part(path)


def _remove_part(path: Path) -> None:
    """Under its lock: whoever takes it up again in this moment begins anew, and writes into no file without a name."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as part:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _remove_engine(folder: Path) -> None:
    """No longer complete from the first moment on."""
    (folder / "lyc-complete").unlink(missing_ok=True)
    _remove_tree(folder)


def _remove_tree(folder: Path, by: Path | None = None) -> None:
    """Gone under its name at once, however long the rest takes. by: where it is moved to for that."""
    gone = (by or folder.parent) / f"{uuid4().hex}.gone"
    with contextlib.suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
