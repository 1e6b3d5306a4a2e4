"""A real Envoy, real engine stand-ins on unix sockets, and what the tests ask of them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from lyc.gateway.admin import Admin
from lyc.gateway.envoy import EnvoyGateway
from lyc.records.gateway import Endpoint, GatewayConfig, KeyEntry, Route
from lyc.records.secret import Secret

DEADLINE = 20.0
T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = DEADLINE) -> T:
    """Ask until the answer is true; fail with `what` after the deadline."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.005)
    return answer


async def until_async(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """`until`, beside running streams."""
    end = time.monotonic() + seconds
    while not (answer := await asyncio.to_thread(condition)):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.005)
    return answer


@dataclass
class StandIn:
    """One engine stand-in process."""

    replica: str
    socket: Path
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.replica, str(self.socket))

    @property
    def draining(self) -> Endpoint:
        return Endpoint(self.replica, str(self.socket), draining=True)

    def direct(self) -> httpx.Client:
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://engine", timeout=10)

    def seen(self) -> dict[str, Any]:
        with self.direct() as client:
            return dict(client.get("/stand-in").json())

    def tell(self, **behaviour: object) -> None:
        with self.direct() as client:
            assert client.post("/stand-in", json=behaviour).status_code == 200

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(DEADLINE)


@dataclass
class Outcome:
    """What a client saw of one stream. gaps: the longest silence between two pieces, seconds."""

    status: int
    text: str
    first_byte: float
    gap: float

    @property
    def complete(self) -> bool:
        return self.status == 200 and self.text.rstrip().endswith("data: [DONE]")


@dataclass
class Rig:
    """One gateway in its own short folder, with the deployments `alpha` and `beta` as the tests wish them."""

    home: Path
    port: int
    engine_key: str = field(default_factory=lambda: "engine-" + secrets.token_urlsafe(24))
    keys: dict[str, str] = field(default_factory=dict)
    engines: list[StandIn] = field(default_factory=list)
    envoy: subprocess.Popen[bytes] | None = None
    activator: str | None = None
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gateway = EnvoyGateway(self.home / "config", self.home / "run")
        self.entries: list[KeyEntry] = []
        for deployment in ("alpha", "beta"):
            self.keys[deployment] = self.new_key(deployment)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def access_log(self) -> Path:
        return self.gateway.layout.access_log

    def new_key(self, deployment: str, key_id: str | None = None) -> str:
        key = "lyc-" + secrets.token_urlsafe(32)
        digest = hashlib.sha256(key.encode()).hexdigest()
        self.entries.append(KeyEntry(digest, key_id or f"key-{deployment}-{len(self.entries)}", deployment))
        return key

    def stand_in(self, replica: str, *arguments: str, **behaviour: object) -> StandIn:
        """Start a stand-in and wait until it answers (or, with `--load-delay`/`--accept-only`, until it is bound)."""
        key_file = self.home / "engine.key"
        key_file.write_text(self.engine_key)
        path = self.home / f"{replica}.sock"
        argv = [sys.executable, "-m", "lyc.testing.engine", "--uds", str(path), "--api-key-file", str(key_file)]
        argv += ["--name", replica, "--behaviour", json.dumps(behaviour), *arguments]
        process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        started = StandIn(replica, path, process)
        self.engines.append(started)
        until(path.exists, f"{replica} binds")
        if not arguments:
            until(lambda: _connects(path), f"{replica} listens")
        return started

    def config(self, **deployments: list[Endpoint]) -> GatewayConfig:
        routes = tuple(
            Route(name.replace("_", "-"), Secret(self.engine_key), tuple(endpoints), self.activator)
            for name, endpoints in deployments.items()
        )
        return GatewayConfig("127.0.0.1", self.port, routes, tuple(self.entries))

    def apply(self, **deployments: list[Endpoint]) -> None:
        self.gateway.apply(self.config(**deployments))

    def start(self, **deployments: list[Endpoint]) -> None:
        """Apply, start Envoy, and wait until every replica that is not draining gets requests."""
        config = self.config(**deployments)
        self.gateway.apply(config)
        self.launch(config)
        until(lambda: self.gateway.status().state == "running", "the gateway runs")
        expected = {end.replica for ends in deployments.values() for end in ends if not end.draining}
        self.wait_healthy(*expected)

    def launch(self, config: GatewayConfig) -> subprocess.Popen[bytes]:
        spec = self.gateway.process(config)
        with (self.home / "envoy.log").open("ab") as log:
            self.envoy = subprocess.Popen(spec.argv, stdout=log, stderr=log, env=spec.env, start_new_session=True)
        return self.envoy

    def envoy_log(self) -> list[str]:
        return (self.home / "envoy.log").read_text().splitlines()

    def wait_healthy(self, *replicas: str) -> None:
        until(lambda: set(replicas) <= (self.gateway.status().healthy or frozenset()), f"{replicas} are in rotation")

    def headers(self, key: str | None = "alpha") -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys.get(key, key)}"} if key else {}

    def call(self, method: str, path: str, key: str | None = "alpha", **options: Any) -> httpx.Response:
        """One request on a connection of its own; `key` is a deployment's name or the key itself."""
        headers = {**self.headers(key), **options.pop("headers", {})}
        return httpx.request(method, self.url + path, headers=headers, timeout=DEADLINE, **options)

    def chat(self, key: str = "alpha", deployment: str = "alpha", **body: Any) -> httpx.Response:
        wish = {"model": "m", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 4, **body}
        return self.call("POST", f"/{deployment}/v1/chat/completions", key, json=wish)

    def chat_with(self, headers: dict[str, str], deployment: str = "alpha", **body: Any) -> httpx.Response:
        wish = {"model": "m", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 4, **body}
        path = f"/{deployment}/v1/chat/completions"
        return self.call("POST", path, deployment, json=wish, headers=headers)

    def at_activator(self) -> int:
        """Requests that Envoy has there."""
        said = Admin(self.gateway.layout.admin_socket).call("/stats?filter=activator-.*upstream_rq_active$").decode()
        return sum(int(line.rpartition(": ")[2]) for line in said.splitlines())

    def raw(self, request: bytes, seconds: float = 5.0) -> bytes:
        """The first answer to these bytes, or what has come when the gateway closes or is silent for `seconds`."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(request)
            answer = b""
            with contextlib.suppress(TimeoutError):
                while not _whole(answer) and (piece := connection.recv(65536)):
                    answer += piece
            return answer

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=self.url, timeout=60, limits=limits) as client:
            yield client

    async def stream(self, client: httpx.AsyncClient, tokens: int, deployment: str = "alpha", key: str = "") -> Outcome:
        """One streamed chat, read to its end."""
        begun = last = time.monotonic()
        first, gap, text = 0.0, 0.0, ""
        body = {"model": "m", "messages": [{"role": "user", "content": "go"}], "max_tokens": tokens, "stream": True}
        path, headers = f"/{deployment}/v1/chat/completions", self.headers(key or deployment)
        try:
            async with client.stream("POST", path, json=body, headers=headers) as answer:
                async for piece in answer.aiter_text():
                    now = time.monotonic()
                    first, gap, last = first or now - begun, max(gap, now - last), now
                    text += piece
                return Outcome(answer.status_code, text, first, gap)
        except httpx.HTTPError as error:
            return Outcome(0, f"{text}\n{error!r}", first, gap)

    def logged(self, **fields: object) -> list[dict[str, Any]]:
        """Access log lines in which these fields have these values."""
        lines = [json.loads(line) for line in self.access_log.read_text().splitlines()]
        return [line for line in lines if all(line[name] == value for name, value in fields.items())]

    def close(self) -> None:
        for process in (self.envoy, *self.others, *(engine.process for engine in self.engines)):
            if process and process.poll() is None:
                process.kill()
                process.wait(DEADLINE)


def _whole(answer: bytes) -> bool:
    head, found, rest = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
    return bool(found) and length is not None and len(rest) >= int(length[1])


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
