"""The store of weights of a host: `lyc.ports.ModelCache` for another machine.

The host fetches by itself where it can, with credentials lent for the purpose; else this machine fetches into its own
cache and pushes. Either goes on where it was after a lost connection or a kill, on either side.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lyc.agent.manifest import File, digest_of, manifest_text
from lyc.errors import Failed, LycError, Unreachable
from lyc.hosts.remote.calls import Agent
from lyc.hosts.remote.push import Missing, Push
from lyc.ports import ByteProgress, ModelCache, Source
from lyc.records.model import FetchRequest, Listing, Snapshot, SourceFile
from lyc.records.secret import Secret
from lyc.units import show_bytes

LEND_SECONDS = 3600.0
"""How long a lent URL is good: for the start of a request, not for its end. New ones are made when they run out."""
TRIES = 6
"""In a row that bring nothing."""
_TICK_SECONDS = 0.25
_PASSING = {"host-unreachable", "cut-short", "fetch-expired", "agent-failed"}
"""After these the next try goes on where it was. The last: somebody killed it there, as the kernel does for memory."""
T = TypeVar("T")


class RemoteCache:
    """Implements `lyc.ports.ModelCache` for a host. Paths of its snapshots are paths on the host.

    Args:
        agent: of the host.
        local: the cache of this machine, for what has to be pushed.
        ca: authorities that the host shall trust besides its own, in PEM. proxy: URL of one that it shall use.
        reaches: whether the host gets an answer from a server (`https://name`), None where that is not known; where
            it does not, it is not asked to try.
        pause: how to wait between two tries after a connection broke.

    Errors: `no-space`, `source-denied`, `source-changed`, `checksum-mismatch`, Unreachable `host-unreachable`, and
    those of `local` and of the source.
    """

    def __init__(
        self,
        agent: Callable[[], Agent],
        local: ModelCache,
        *,
        ca: str | None = None,
        proxy: Secret | None = None,
        reaches: Callable[[str], bool | None] = lambda _: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._agent = agent
        self._local = local
        self._ca = ca
        self._proxy = proxy
        self._reaches = reaches
        self._pause = pause

    def snapshot(
        self, source: Source, listing: Listing, progress: ByteProgress, say: Callable[[str], None] | None = None
    ) -> Snapshot:
        """See the port."""
        tell = say or _unheard
        if found := self.have(listing):
            progress(listing.size, listing.size)
            return found

        def once() -> Snapshot:
            files = self._pulled(source, listing, progress, tell) or self._pushed(source, listing, progress, tell)
            return self._link(listing, files, progress, tell)

        try:
            return once()
        except Unreachable as error:
            if error.ref != "blobs-missing":
                raise
            return once()  # somebody made room there meanwhile

    def have(self, listing: Listing) -> Snapshot | None:
        """See the port. One round trip to the host."""
        known = _known(listing)
        digest = {"digest": digest_of(manifest_text(map(_file, listing.files)))} if known else {"listing": listing.key}
        found = self._agent().call("have", request=digest)
        if not found["path"]:
            return None
        files = _plain(listing.files) if known else ()
        return Snapshot(listing.ref, str(found["digest"]), Path(found["path"]), listing.size, files)

    def use(self, digest: str) -> Path | None:
        """See the port."""
        found = self._agent().call("have", request={"digest": digest})["path"]
        return Path(found) if found else None

    def _pulled(
        self, source: Source, listing: Listing, progress: ByteProgress, say: Callable[[str], None]
    ) -> tuple[SourceFile, ...] | None:
        """The files, fetched by the host; None where it cannot, which was said."""
        done = 0

        def heard(document: dict[str, Any]) -> None:
            nonlocal done
            if document.get("t") == "progress":
                done = max(done, int(document["done"]))
                progress(done, int(document["total"]))

        def once() -> tuple[SourceFile, ...] | None:
            lent = source.fetch_requests(listing, seconds=LEND_SECONDS)
            if lent is None:
                say("pushing from here: the model is nowhere that the host could fetch it from")
                return None
            if self._reaches(origin := _origin(lent[0])) is False:
                say(f"pushing from here: the host does not reach {origin}")
                return None
            answer = self._agent().follow("pull", request=self._request(listing, lent), said=heard)
            return tuple(SourceFile(str(r["path"]), int(r["size"]), str(r["digest"])) for r in answer["files"])

        try:
            return self._again(once, lambda: done, lambda: progress(done, listing.size), say)
        except Unreachable as error:
            if error.ref != "source-unreachable":
                raise
            say(f"pushing from here: {error}")
            return None

    def _request(self, listing: Listing, lent: Sequence[FetchRequest]) -> dict[str, Any]:
        files = {file.path: file for file in listing.files}
        rows = [
            {
                "path": each.path,
                "size": files[each.path].size,
                "digest": files[each.path].digest,
                "key": hashlib.sha256(f"{listing.key} {each.path}".encode()).hexdigest(),
                "git_blob": each.git_blob,
                "url": each.url.reveal(),
                "headers": {name: value.reveal() for name, value in each.headers.items()},
            }
            for each in lent
        ]
        return {"files": rows, "ca": self._ca, "proxy": self._proxy.reveal() if self._proxy else None}

    def _pushed(
        self, source: Source, listing: Listing, progress: ByteProgress, say: Callable[[str], None]
    ) -> tuple[SourceFile, ...]:
        """The files, sent from here: out of the folder that they lie in, or fetched into the cache of this machine."""
        files, place = self._here(source, listing, progress, say)
        rows = [{"path": file.path, "size": file.size, "digest": file.digest} for file in files]
        total, done = sum({file.digest: file.size for file in files}.values()), 0
        say(f"pushing {show_bytes(total)} to the host")

        def once() -> None:
            nonlocal done
            found = self._agent().call("missing", request={"files": rows})["missing"]
            absent = [Missing(row["digest"], row["size"], row["offset"], place(row["digest"])) for row in found]
            before = total - sum(each.size - each.offset for each in absent)

            def heard(count: int) -> None:
                nonlocal done
                done = max(done, min(total, before + count))
                progress(done, total)

            heard(0)
            if absent and not Push(self._agent(), absent, heard).run():
                raise Unreachable("cut-short", "not every file arrived whole", hint="deploy again: what came is kept")
            heard(total)

        self._again(once, lambda: done, lambda: progress(done, total), say)
        return files

    def _here(
        self, source: Source, listing: Listing, progress: ByteProgress, say: Callable[[str], None]
    ) -> tuple[tuple[SourceFile, ...], Callable[[str], Path]]:
        """The files with their digests, and where each content lies on this machine, by its digest."""
        if _known(listing) and all(source.local_path(listing, file) for file in listing.files):
            listed = {str(file.digest): file for file in listing.files}

            def place(digest: str) -> Path:
                path = source.local_path(listing, listed[digest])
                if path is None:
                    raise _changed(listing, listed[digest])
                return path

            return listing.files, place
        here = self._local.snapshot(source, listing, progress, say)
        paths = {str(file.digest): here.path / file.path for file in here.files}
        return here.files, lambda digest: paths[digest]

    def _link(
        self, listing: Listing, files: Sequence[SourceFile], progress: ByteProgress, say: Callable[[str], None]
    ) -> Snapshot:
        text = manifest_text(map(_file, files))
        request = {"manifest": text, "listing": None if _known(listing) else listing.key}
        path: str = self._again(
            lambda: self._agent().call("link", request=request)["path"],
            lambda: 0,
            lambda: progress(listing.size, listing.size),
            say,
        )
        return Snapshot(listing.ref, digest_of(text), Path(path), listing.size, _plain(files))

    def _again(
        self, attempt: Callable[[], T], mark: Callable[[], int], tick: Callable[[], None], say: Callable[[str], None]
    ) -> T:
        """What `attempt` returns. After an error that may pass it goes on, as long as tries get further by `mark`.

        tick: called while it waits; it may raise.
        """
        failures, damaged = 0, False
        while True:
            before = mark()
            try:
                return attempt()
            except LycError as error:
                if error.ref == "checksum-mismatch" and not damaged:
                    damaged = True  # what had come before may be what a power cut left; it was thrown away
                elif error.ref not in _PASSING:
                    raise
                failures = 1 if mark() > before else failures + 1
                if failures >= TRIES:
                    raise
                seconds = min(8.0, 0.25 * 2**failures)
                say(f"{error.what}; going on in {seconds:.1f} s")
            for _ in range(round(seconds / _TICK_SECONDS)):
                tick()
                self._pause(_TICK_SECONDS)


def _known(listing: Listing) -> bool:
    """Whether its digest is known before anything is fetched."""
    return all(file.digest for file in listing.files)


def _plain(files: Sequence[SourceFile]) -> tuple[SourceFile, ...]:
    """As a manifest names them."""
    return tuple(SourceFile(file.path, file.size, file.digest) for file in sorted(files, key=lambda file: file.path))


def _changed(listing: Listing, file: SourceFile) -> Failed:
    return Failed(
        "source-changed",
        f"{file.path} changed while it was sent",
        why="something still writes there",
        where=str(listing.ref),
        hint="deploy again once it is complete",
    )


def _file(file: SourceFile) -> File:
    return File(file.path, file.size, str(file.digest))


def _origin(lent: FetchRequest) -> str:
    """The server, without what may be secret."""
    parts = urlsplit(lent.url.reveal())
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _unheard(_: str) -> None:
    """Nobody wants to know."""
