"""A hub on 127.0.0.1 that speaks what huggingface_hub and our source ask for, with state that tests can change.

    GET  /api/models/ORG/NAME[/revision/REV]   commit, and every file with size, Git blob id and LFS digest
    HEAD, GET /ORG/NAME/resolve/REV/PATH       LFS files by a redirect to /cdn/…, as the real hub does; Range is heeded

Errors carry `X-Error-Code` with the codes and statuses of the real hub: a missing model is 401 RepoNotFound to an
anonymous caller and 404 to a known one, an unknown token is 401 without a code, a gated file is 403 GatedRepo.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LFS_FROM = 100_000


@dataclass
class Repo:
    """One model: commits by name, each a folder's files."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    private: bool = False
    gated: bool = False


@dataclass
class Hub:
    """The state of the hub, and how it behaves."""

    repos: dict[str, Repo] = field(default_factory=dict)
    tokens: dict[str, set[str]] = field(default_factory=dict)
    """token → names of the private or gated models it may read"""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """method, path, Range"""
    leaks: list[str] = field(default_factory=list)
    """paths of the CDN that were asked for with a token"""
    sent: int = 0
    """bytes of LFS files sent"""
    cut_after: int | None = None
    """every LFS answer breaks off after so many bytes"""
    hold_at: int | None = None
    """LFS bytes in all after which every answer waits for `go`"""
    go: threading.Event = field(default_factory=threading.Event)
    ranges: bool = True
    sizes: bool = True
    """whether the listing tells sizes and digests; some mirrors tell names only"""
    damage: bool = False
    failing: int = 0
    """so many answers to come are 503"""
    html: bool = False
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, folder: Path, **options: bool) -> str:
        """Publish the files of `folder` as a new commit on main; its id."""
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        commit = hashlib.sha1(
            repr(sorted((k, hashlib.sha256(v).digest()) for k, v in files.items())).encode()
        ).hexdigest()
        repo = self.repos.setdefault(name, Repo({}, {}))
        repo.commits[commit] = files
        repo.refs["main"] = commit
        for key, value in options.items():
            setattr(repo, key, value)
        return commit

    def fetched(self, path: str) -> int:
        """How often the content of a file was asked for."""
        return sum(
            method == "GET" and ("/resolve/" in asked) and asked.endswith(f"/{path}")
            for method, asked, _ in self.requests
        )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.hub.lock:
            self.hub.requests.append((self.command, path, self.headers.get("Range")))
            if self.hub.failing:
                self.hub.failing -= 1
                return self.answer(503, b"busy")
        if self.hub.html:
            return self.answer(200, b"<html>please log in to the hotel</html>", {"Content-Type": "text/html"})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self.listing(found[1], (found[2] or "main").replace("%2F", "/"))
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.resolve(found[1], found[2].replace("%2F", "/"), found[3])
        if path.startswith("/cdn/"):
            return self.cdn(path.removeprefix("/cdn/"))
        return self.answer(404, b"not found")

    def allowed(self, name: str, *, content: bool) -> Repo | None:
        """The repo if the caller may see it; else the error has been answered."""
        sent = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if sent and sent not in self.hub.tokens:
            self.answer(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
            return None
        repo = self.hub.repos.get(name)
        may = name in self.hub.tokens.get(sent, ())
        if repo is None or (repo.private and not may):
            self.answer(
                404 if sent else 401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            )
            return None
        if repo.gated and content and not may:
            self.answer(
                403 if sent else 401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            )
            return None
        return repo

    def commit(self, repo: Repo, revision: str) -> str | None:
        commit = repo.refs.get(revision, revision)
        if commit in repo.commits:
            return commit
        self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"})
        return None

    def listing(self, name: str, revision: str) -> None:
        repo = self.allowed(name, content=False)
        if repo is None or (commit := self.commit(repo, revision)) is None:
            return
        with_blobs = "blobs=" in self.path and self.hub.sizes
        siblings = [describe(path, data, with_blobs) for path, data in repo.commits[commit].items()]
        document = {"id": name, "modelId": name, "sha": commit, "private": repo.private, "siblings": siblings}
        document |= {"gated": "manual" if repo.gated else False, "tags": [], "downloads": 0, "likes": 0}
        self.answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def resolve(self, name: str, revision: str, path: str) -> None:
        repo = self.allowed(name, content=True)
        if repo is None or (commit := self.commit(repo, revision)) is None:
            return
        data = repo.commits[commit].get(path)
        if data is None:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif len(data) >= LFS_FROM and self.command == "GET":
            host = self.hub.url.replace("127.0.0.1", "localhost")  # another origin, as the real CDN is
            self.answer(302, b"", {"Location": f"{host}/cdn/{name}/{commit}/{path}", "X-Repo-Commit": commit})
        else:
            self.content(data, {"X-Repo-Commit": commit, "ETag": f'"{blob_id(data)}"'})

    def cdn(self, path: str) -> None:
        if self.headers.get("Authorization"):
            self.hub.leaks.append(path)
        org, name, commit, file = path.split("/", 3)
        self.content(self.hub.repos[f"{org}/{name}"].commits[commit][file], {}, lfs=True)

    def content(self, data: bytes, headers: dict[str, str], *, lfs: bool = False) -> None:
        status, asked = 200, re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        whole = len(data)
        if asked and self.hub.ranges:
            start, end = int(asked[1]), min(int(asked[2] or whole - 1), whole - 1)
            data, status = data[start : end + 1], 206
            headers |= {"Content-Range": f"bytes {start}-{end}/{whole}"}
        if self.hub.damage:
            data = bytes(len(data))
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.send(data, lfs=lfs)

    def send(self, data: bytes, *, lfs: bool) -> None:
        """In small pieces, so that counting, cutting and holding are exact to 16 KiB."""
        sent = 0
        for at in range(0, len(data), 16384):
            piece = data[at : at + 16384]
            if lfs:
                if self.hub.cut_after is not None and sent >= self.hub.cut_after:
                    self.close_connection = True
                    self.connection.close()
                    return
                if self.hub.hold_at is not None and self.hub.sent >= self.hub.hold_at:
                    self.hub.go.wait()
                with self.hub.lock:
                    self.hub.sent += len(piece)
            try:
                self.wfile.write(piece)
            except OSError:
                self.close_connection = True
                return
            sent += len(piece)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in ((headers or {}) | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def describe(path: str, data: bytes, with_blobs: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"rfilename": path}
    if with_blobs:
        row |= {"size": len(data), "blobId": blob_id(data)}
        if len(data) >= LFS_FROM:
            digest = hashlib.sha256(data).hexdigest()
            row |= {"blobId": "0" * 40, "lfs": {"size": len(data), "sha256": digest, "pointerSize": 134}}
    return row


class Server:
    """The hub behind a free port; use as a context manager."""

    def __init__(self) -> None:
        self.hub = Hub()
        handler = type("BoundHandler", (Handler,), {"hub": self.hub})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.hub.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self.hub

    def __exit__(self, *_: object) -> None:
        self.hub.go.set()
        self._server.shutdown()
        self._server.server_close()
