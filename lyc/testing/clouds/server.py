"""A fake cloud over real sockets: routes to handlers, one at a time, with faults below HTTP and above it.

app = App(cloud, [Route("create", "POST", "/vms", create), Route("get", "GET", "/vms/{id}", get)])
with serve(app) as base: …
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from lyc.testing.clouds.core import Call, Cloud, FakeMachine, SoldOut
from lyc.testing.clouds.faults import Fault, Faults


@dataclass(frozen=True, slots=True)
class Request:
    """One request. params: from the route's `{…}`; query: the last value of each key; body: decoded JSON or form,
    None where there is none; header names in lower case.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered; bytes go out as they are, None as an empty body, everything else as JSON."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Stop(Exception):
    """Raised by a handler for an answer at once, from however deep."""

    def __init__(self, status: int, body: Any = None) -> None:
        super().__init__(status)
        self.reply = Reply(status, body)


Handler = Callable[[Request], "tuple[int, Any] | Reply"]


@dataclass(frozen=True, slots=True)
class Route:
    """op: one of `faults.OPS`, a word of the fake's own, or what tells it of the request (GraphQL has one path)."""

    op: str | Callable[[Request], str]
    method: str
    pattern: str
    handler: Handler

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The parts of the path that stand for `{…}`, each without a slash; None where it is another route's."""
        if method != self.method:
            return None
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.pattern), path)
        return {key: unquote(value) for key, value in found.groupdict().items()} if found else None


def _plain_error(_status: int, message: str) -> Any:
    return {"message": message}


class App:
    """A fake: routes over one cloud. `Cloud.lock` is held while a handler runs, so that no two run at once.

    error: body of a failure as this provider words it. sold_out: the answer where a handler lets SoldOut through, and
    to the fault `no-capacity`. guard: looked at before all else, for credentials; a Reply ends the request. latency:
    seconds before each answer.
    """

    def __init__(
        self,
        cloud: Cloud,
        routes: Sequence[Route],
        *,
        error: Callable[[int, str], Any] = _plain_error,
        sold_out: Callable[[Request], Reply] | None = None,
        guard: Callable[[Request], Reply | None] = lambda _request: None,
        latency: float = 0.0,
    ) -> None:
        self.cloud = cloud
        self.faults = Faults()
        self.bugs: list[str] = []
        self.latency = latency
        self._routes = tuple(routes)
        self._error = error
        self._sold_out = sold_out or (lambda _asked: Reply(503, error(503, "no capacity")))
        self._guard = guard
        self._held: list[tuple[int, float, Callable[[], object]]] = []
        self.ended = threading.Event()

    def answer(self, request: Request) -> Reply | None:
        """What to send, None = close the connection without a word."""
        self.catch_up(steps=1)
        self.cloud.advance()
        for route in self._routes:
            params = route.match(request.method, request.path)
            if params is not None:
                break
        else:
            self._record("", request)
            return Reply(404, self._error(404, "not found"))
        asked = Request(request.method, request.path, request.query, request.headers, request.body, params)
        op = route.op if isinstance(route.op, str) else route.op(asked)
        self._record(op, asked)
        if self.latency:
            self.ended.wait(self.latency)
        fault = self.faults.take(op)
        if fault is None:
            return self._act(route.handler, asked)
        return self._amiss(fault, route.handler, asked)

    def catch_up(self, steps: int | None = None) -> None:
        """Do what was delayed and is due; without `steps` all of it, due or not."""
        with self.cloud.lock:
            now, held = self.cloud.clock(), self._held
            self._held = []
            for left, due, act in held:
                # By the clock where a time was given, else by requests.
                ready = steps is None or (now >= due if due else left <= 0)
                if ready:
                    act()
                else:
                    self._held.append((left - (steps or 0), due, act))

    @property
    def held(self) -> int:
        """Delayed requests that have not been done yet."""
        return len(self._held)

    def _record(self, op: str, asked: Request) -> None:
        with self.cloud.lock:
            self.cloud.calls.append(Call(op, asked.method, asked.path, asked.query, asked.body, asked.headers))

    def _act(self, handler: Handler, asked: Request) -> Reply:
        try:
            refusal = self._guard(asked)
            if refusal is not None:
                return refusal
            with self.cloud.lock:
                answer = handler(asked)
        except Stop as stop:
            return stop.reply
        except SoldOut:
            return self._sold_out(asked)
        except Exception as error:  # noqa: BLE001  (a bug of the fake: told by `serve`, never taken for the provider's)
            self.bugs.append(f"{asked.method} {asked.path}: {error!r}")
            return Reply(500, self._error(500, "the fake is broken"))
        return answer if isinstance(answer, Reply) else Reply(*answer)

    def _amiss(self, fault: Fault, handler: Handler, asked: Request) -> Reply | None:
        match fault.kind:
            case "refuse":
                return None
            case "lose":
                self._act(handler, asked)
                return None
            case "delay":
                due = self.cloud.clock() + fault.seconds if fault.seconds else 0.0
                with self.cloud.lock:
                    self._held.append((fault.steps, due, lambda: self._act(handler, asked)))
                return None
            case "double":
                first = self._act(handler, asked)
                self._act(handler, asked)
                return first
            case "status":
                body = self._error(fault.code, "on purpose") if fault.body is None else fault.body
                return Reply(fault.code, body, fault.headers)
            case "malformed":
                self._act(handler, asked)
                return Reply(200, b'{"half": ', {"content-type": "application/json"})
            case "slow":
                answer = self._act(handler, asked)
                self.ended.wait(fault.seconds)
                return answer
            case "late-failure":
                return self._fated(handler, asked, lambda machine: setattr(machine, "doom", fault.problem))
            case "odd-state":
                for machine in self.cloud.alive():
                    machine.word = fault.word
                return self._fated(handler, asked, lambda machine: setattr(machine, "word", fault.word))
            case "no-capacity":
                return self._sold_out(asked)

    def _fated(self, handler: Handler, asked: Request, fate: Callable[[FakeMachine], None]) -> Reply:
        with self.cloud.lock:
            self.cloud.fates.insert(0, fate)
            try:
                return self._act(handler, asked)
            finally:
                if fate in self.cloud.fates:
                    self.cloud.fates.remove(fate)


class _Exchange(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        # A client that gave up is what many tests are about, and nothing to print.
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()
            return
        self.close_connection = True

    def _serve(self) -> None:
        app = self.server.app
        reply = app.answer(self._request())
        if reply is None or app.ended.is_set():
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        raw = isinstance(reply.body, bytes)
        body = reply.body if raw else b"" if reply.body is None else json.dumps(reply.body).encode()
        headers = {"content-type": "text/plain" if raw else "application/json", **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} x", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        data = self.rfile.read(int(headers.get("content-length", "0")))
        query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return Request(self.command, parts.path, query, headers, _decoded(headers.get("content-type", ""), data))

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _decoded(kind: str, data: bytes) -> Any:
    if not data:
        return None
    if "x-www-form-urlencoded" in kind:
        return dict(parse_qsl(data.decode()))
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, app: App) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.app = app
        self.open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)


@contextlib.contextmanager
def serve(app: App) -> Iterator[str]:
    """The app on a free port of 127.0.0.1: its base URL, without a slash at the end.

    Raises AssertionError at the end when a handler broke, for what it then answered was no provider's doing.
    """
    server = _Server(app)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        app.ended.set()
        server.shutdown()
        thread.join()
        for connection in list(server.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
    if app.bugs:
        raise AssertionError("the fake cloud broke: " + "; ".join(app.bugs))
