"""A real S3 server (rclone) behind a line that tests can count, cut, hold and close.

rclone has no policies, so the line answers for buckets that deny, with the XML of S3.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY, SECRET = "ACCESSKEYOFTESTS", "secret-of-tests-only"
DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code>'
    b"<Message>Access Denied</Message><RequestId>1</RequestId></Error>"
)


@dataclass
class Line:
    """State of the line. folder: the server's data, one folder a bucket. url: what clients call."""

    folder: Path
    url: str = ""
    sent: int = 0
    """bytes of answers above 100,000 bytes"""
    gets: list[tuple[str, str | None]] = field(default_factory=list)
    cut_after: int | None = None
    hold_at: int | None = None
    go: threading.Event = field(default_factory=threading.Event)
    denied: set[str] = field(default_factory=set)
    """buckets that nobody may read"""
    failing: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    line: Line
    port: int

    def do_GET(self) -> None:
        line = self.line
        with line.lock:
            line.gets.append((self.path, self.headers.get("Range")))
            failing = line.failing > 0
            line.failing -= failing
        bucket = self.path.split("/")[1].partition("?")[0]
        if failing:
            return self.answer(503, b"<Error><Code>SlowDown</Code></Error>")
        if bucket in line.denied:
            return self.answer(403, DENIED)
        server = HTTPConnection("127.0.0.1", self.port)
        server.putrequest("GET", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():  # the host too: it is part of the signature
            server.putheader(name, value)
        server.endheaders()
        answer = server.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() != "transfer-encoding":
                self.send_header(name, value)
        if answer.length is None:
            body = answer.read()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.end_headers()
            self.pass_on(answer, large=answer.length > 100_000)
        server.close()
        return None

    def pass_on(self, answer: Any, *, large: bool) -> None:
        sent, line = 0, self.line
        while piece := answer.read(16384):
            if large:
                if line.cut_after is not None and sent >= line.cut_after:
                    self.close_connection = True
                    self.connection.close()
                    return
                if line.hold_at is not None and line.sent >= line.hold_at:
                    line.go.wait()
                with line.lock:
                    line.sent += len(piece)
            try:
                self.wfile.write(piece)
            except OSError:
                self.close_connection = True
                return
            sent += len(piece)

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server:
    """rclone on a folder and the line before it; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.line = Line(folder)
        self._log = folder.with_suffix(".log")
        rclone = Path(sys.executable).with_name("rclone")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(rclone) if rclone.exists() else shutil.which("rclone") or "rclone", "serve", "s3", str(folder),
                 "--addr", "127.0.0.1:0", "--auth-key", f"{KEY},{SECRET}", "--config", "/dev/null",
                 "--dir-cache-time", "0s"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def __enter__(self) -> Line:
        deadline = time.monotonic() + 20
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", self._log.read_text())):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.01)
        handler = type("BoundHandler", (Handler,), {"line": self.line, "port": int(found[1])})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.line.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self.line

    def __exit__(self, *_: object) -> None:
        self.line.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._process.terminate()
        self._process.wait(10)
