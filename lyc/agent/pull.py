"""Weights that this host fetches by itself, from the hub or bucket, with what the request lends it."""

from __future__ import annotations

import hashlib
import http.client
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lyc.agent.answer import Refused, read_request, say
from lyc.agent.blobs import CHUNK, Part, Store
from lyc.agent.fetch import Broken, Origin, is_web, source_of, unreachable
from lyc.agent.manifest import File, is_digest, read_file
from lyc.agent.root import Root

STREAMS = 8
SAY_SECONDS = 0.25
_TRIES, _TRIES_UNHEARD = 5, 2
"""Tries in a row that bring nothing before a file is given up; fewer where the source has never said a word."""
_CHECK_BYTES = 64 << 20
_NO_DIGEST = "sha256:" + "0" * 64


def pull(root: Root, _: list[str]) -> dict[str, Any]:
    """`{"files": [{path, size, digest | null, url, headers, key, git_blob | null}], "ca": PEM | null, "proxy": URL |
    null}` → `{"files": [{path, size, digest}]}`, each a blob here.

    key: 64 hex digits that name the bytes of a file without a digest. Says `{"t": "progress", "done", "total"}` four
    times a second. Refused `source-unreachable` (kind Unreachable), `source-denied` (NotAuthorised), `fetch-expired`,
    `source-changed`, `checksum-mismatch`, `no-space`. What came is kept.
    """
    asked, store = read_request(), Store.of(root)
    wanted = _wanted(asked.get("files"))
    with store.speaking():
        digests = _Pull(store, Origin(ca=asked.get("ca"), proxy=asked.get("proxy")), wanted).run()
    return {"files": [{"path": w.path, "size": w.size, "digest": digests[w.path]} for w in wanted]}


@dataclass(frozen=True)
class Wanted:
    """One file of the request. url and headers never show themselves."""

    path: str
    size: int
    digest: str | None
    git_blob: str | None
    key: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class _Pull:
    """Threads that share one queue; the first failure ends them all. They are daemons: a kill needs no goodbye."""

    def __init__(self, store: Store, origin: Origin, wanted: list[Wanted]) -> None:
        self._store = store
        self._origin = origin
        self._total = sum(each.size for each in wanted)
        self._queue = deque(sorted(wanted, key=lambda each: -each.size))
        self._at = {w.path: w.size if self._known(w) else min(w.size, store.arrived(w.key)) for w in wanted}
        self._digests: dict[str, str] = {}
        self._failed: list[BaseException] = []
        self._stop = threading.Event()
        self._heard = False

    def run(self) -> dict[str, str]:
        """Path → digest."""
        keys = {each.key: each for each in self._queue if self._known(each) is None}
        self._store.require_room(sum(max(0, each.size - self._store.arrived(key)) for key, each in keys.items()))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(STREAMS, len(self._queue)))]
        for thread in threads:
            thread.start()
        try:
            while not self._stop.is_set() and (busy := [thread for thread in threads if thread.is_alive()]):
                say({"t": "progress", "done": sum(self._at.values()), "total": self._total})
                busy[0].join(SAY_SECONDS)
        finally:
            self._stop.set()
        if self._failed:
            raise self._failed[0]
        say({"t": "progress", "done": self._total, "total": self._total})
        return self._digests

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    each = self._queue.popleft()
                except IndexError:
                    return
                self._digests[each.path] = self._fetch(each)
                self._at[each.path] = each.size
        except BaseException as error:  # noqa: BLE001 (raised by the thread that waits)
            self._failed.append(error)
            self._stop.set()

    def _fetch(self, each: Wanted) -> str:
        """The file as a blob; its digest."""

        def waiting(size: int) -> None:
            self._at[each.path] = size
            self._require_go()

        part = self._store.hold(each.key, lambda: self._known(each) is not None, waiting)
        if part is None:
            return self._known(each) or _NO_DIGEST
        try:
            part.recall(lambda size: self._tell(each, size))
            resumed = part.size > 0
            self._arrive(each, part)
            if resumed and not _is_right(each, part):  # the part may be what a power cut left: once more, from nothing
                part.clear()
                self._arrive(each, part)
        except BaseException:
            part.close()
            raise
        if not _is_right(each, part):
            part.discard()
            raise Refused(
                "checksum-mismatch",
                f"{each.path} arrived damaged on the host",
                why=f"its SHA-256 is {part.digest[7:19]}…, the source says otherwise; it was thrown away",
                where=source_of(each.url),
                hint="deploy again; if it stays, the copy at the source is damaged",
            )
        if each.digest is None:
            self._store.write(self._store.mark(each.key), part.digest)
        self._store.publish([(part, part.digest)])
        return part.digest

    def _arrive(self, each: Wanted, part: Part) -> None:
        """Fill the part to the file's size. Tries again as long as tries bring bytes."""
        failures = 0
        while part.size != each.size or not each.size:
            if part.size >= each.size:
                part.clear()
                if not each.size:
                    return
            before = part.size
            try:
                self._once(each, part)
            except Broken as broken:
                failures = 1 if part.size > before else failures + 1
                if failures >= (_TRIES if self._heard or broken.answered else _TRIES_UNHEARD):
                    raise unreachable(source_of(each.url), broken.why) from None
                if self._stop.wait(min(8.0, 0.25 * 2**failures)):
                    self._require_go()

    def _once(self, each: Wanted, part: Part) -> None:
        unchecked = 0
        with self._origin.open(each.url, each.headers, part.size, each.size) as (answer, begins):
            self._heard = True
            skip = part.size - begins
            while part.size < each.size:
                try:  # what is there already, so that a kill loses little
                    data = answer.read1(min(CHUNK, each.size - part.size + skip))
                except (OSError, http.client.HTTPException) as error:
                    raise Broken("the connection broke") from error
                if not data:
                    raise Broken("the answer ended early")
                part.append(memoryview(data)[skip:])
                skip = max(0, skip - len(data))
                self._tell(each, part.size)
                unchecked += len(data)
                if unchecked >= _CHECK_BYTES:
                    unchecked = 0
                    self._store.require_reserve()

    def _tell(self, each: Wanted, size: int) -> None:
        self._at[each.path] = size
        self._require_go()

    def _require_go(self) -> None:
        if self._stop.is_set():
            raise Refused("fetch-stopped", "the fetch was stopped")

    def _known(self, each: Wanted) -> str | None:
        """The digest, if the complete blob is here."""
        digest = each.digest
        if digest is None:
            try:
                digest = self._store.mark(each.key).read_text()
            except FileNotFoundError:
                return None
        return digest if is_digest(digest) and self._store.has(digest, each.size) else None


def _is_right(each: Wanted, part: Part) -> bool:
    """Whether it is the file, as far as its source says what it is."""
    if each.digest is not None:
        return part.digest == each.digest
    return each.git_blob is None or _git_blob(part) == each.git_blob


def _git_blob(part: Part) -> str:
    found = hashlib.sha1(b"blob %d\0" % part.size, usedforsecurity=False)
    with part.path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _wanted(rows: object) -> list[Wanted]:
    if not isinstance(rows, list) or not rows:
        raise Refused("bad-request", "files are a list")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        return [_one(row, boot) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise Refused("bad-request", "that is not a file to fetch", why=str(error)) from None


def _one(row: dict[str, Any], boot: str) -> Wanted:
    """`boot`: what an unverifiable part holds is trusted as long as no power cut can have come between."""
    file: File = read_file(row | {"digest": row["digest"] or _NO_DIGEST})
    url, headers, key = row["url"], row["headers"], str(row["key"])
    if not is_web(url):
        raise ValueError("a URL is http or https")
    key = file.hex if row["digest"] else hashlib.sha256(f"{key} {file.size} {boot}".encode()).hexdigest()
    return Wanted(file.path, file.size, row["digest"], row.get("git_blob"), key, url, headers)
