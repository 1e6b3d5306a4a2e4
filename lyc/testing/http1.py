"""A small HTTP/1.1 server on asyncio that cancels a handler the instant its client is gone.

Made for test servers that must say exactly when they were left, and be told to misbehave; not for the open network.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

MAX_HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has arrived whole. target: path and query as sent; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class Exchange:
    """One request and the way to answer it. Sending to a client that has gone does nothing."""

    def __init__(self, request: Request, transport: asyncio.Transport) -> None:
        self.request = request
        self._transport = transport
        self._writable = asyncio.Event()
        self._writable.set()
        self.started = False

    def hold(self) -> None:
        self._writable.clear()

    def release(self) -> None:
        self._writable.set()

    async def reply(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        """The whole answer at once."""
        self._head(status, {"content-type": content_type, "content-length": str(len(body))})
        await self._write(body)

    async def reply_json(self, status: int, value: object) -> None:
        await self.reply(status, json.dumps(value, separators=(",", ":")).encode())

    def begin(self, status: int, content_type: str) -> None:
        """The head of an answer that comes in pieces."""
        self._head(status, {"content-type": content_type, "transfer-encoding": "chunked"})

    async def piece(self, data: bytes) -> None:
        await self._write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self._write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Drop the connection in the middle of things."""
        self._transport.abort()

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "server: uvicorn"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def _write(self, data: bytes) -> None:
        await self._writable.wait()
        self._transport.write(data)


Handler = Callable[[Exchange], Awaitable[None]]


class _Connection(asyncio.Protocol):
    """Reads one request after the other; the handler of the running one is cancelled when the client goes."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._task:
            self._task.cancel()

    def pause_writing(self) -> None:
        if self._exchange:
            self._exchange.hold()

    def resume_writing(self) -> None:
        if self._exchange:
            self._exchange.release()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        if self._task or self._transport.is_closing():
            return
        try:
            request = _take(self._buffer)
        except ValueError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self._transport.close()
            return
        if request:
            self._exchange = Exchange(request, self._transport)
            self._task = asyncio.get_running_loop().create_task(self._run(self._exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        finally:
            self._task = self._exchange = None
        self._next()


def _take(buffer: bytearray) -> Request | None:
    """The first whole request in `buffer`, taken out of it, or None. Raises ValueError where it is not HTTP."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        if len(buffer) > MAX_HEAD:
            raise ValueError("head too large")
        return None
    first, *lines = bytes(buffer[:head_end]).decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    at = head_end + 4
    if "chunked" in headers.get("transfer-encoding", ""):
        found = _dechunk(buffer, at)
        if found is None:
            return None
        body, end = found
    else:
        end = at + int(headers.get("content-length", "0"))
        if len(buffer) < end:
            return None
        body = bytes(buffer[at:end])
    del buffer[:end]
    return Request(method, target, headers, body)


def _dechunk(buffer: bytearray, at: int) -> tuple[bytes, int] | None:
    body = bytearray()
    while (line := buffer.find(b"\r\n", at)) >= 0:
        size = int(bytes(buffer[at:line]).partition(b";")[0], 16)
        at = line + 2 + size + 2
        if len(buffer) < at:
            return None
        if size == 0:
            return bytes(body), at
        body += buffer[line + 2 : at - 2]
    return None


async def serve(handler: Handler, listening: socket.socket) -> asyncio.Server:
    """Serve on a bound socket; it starts to listen here."""
    loop = asyncio.get_running_loop()
    if listening.family == socket.AF_UNIX:
        return await loop.create_unix_server(lambda: _Connection(handler), sock=listening, backlog=2048)
    return await loop.create_server(lambda: _Connection(handler), sock=listening, backlog=2048)
