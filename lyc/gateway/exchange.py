"""HTTP/1.1 for one connection of Envoy's, with h11: requests in, one answer each, and the caller's hang-up at once."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import cast

import h11

log = logging.getLogger(__name__)

BACKLOG = 4096


class Exchange:
    """A request, and the way to answer it. header names in lower case.

    size: bytes of the body. body: the body where the server keeps it, else empty: it was thrown away.
    """

    def __init__(self, request: h11.Request, connection: _Connection) -> None:
        self.method = request.method.decode("ascii")
        self.target = request.target.decode("ascii")
        self.headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}
        self.size = 0
        self.body = bytearray()
        self._connection = connection

    async def reply(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """The whole answer."""
        await self.begin(status, (*headers, ("content-length", str(len(body)))))
        await self.piece(body)
        await self.end()

    async def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """The head of an answer; without a length, its pieces go out as they come."""
        await self._connection.send(h11.Response(status_code=status, headers=list(headers)))

    async def piece(self, data: bytes) -> None:
        await self._connection.send(h11.Data(data=data))

    async def end(self) -> None:
        await self._connection.send(h11.EndOfMessage())

    def cut(self) -> None:
        """Drop the connection in the middle of an answer, so that nobody takes it for whole."""
        self._connection.cut()


Handler = Callable[[Exchange], Awaitable[None]]
Keeps = Callable[[Exchange, int], bool]
"""Whether the body of a request shall be kept, by its head and by how many bytes are kept already."""


class _Connection(asyncio.Protocol):
    def __init__(self, handler: Handler, keeps: Keeps, all_open: set[_Connection]) -> None:
        self._handler, self._keeps, self._all_open = handler, keeps, all_open
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=256 * 1024)
        self._exchange: Exchange | None = None
        self._kept = False
        self.task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._all_open.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._all_open.discard(self)
        if self.task:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._next()

    def eof_received(self) -> None:
        """Envoy closes the whole connection when a caller has gone, and never one half of it."""

    def cut(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        """Once what is written has gone out."""
        self._transport.close()

    @property
    def kept_bytes(self) -> int:
        return len(self._exchange.body) if self._exchange else 0

    async def send(self, event: h11.Event) -> None:
        await self._writable.wait()
        if data := self._http.send(event):
            self._transport.write(data)

    def _next(self) -> None:
        try:
            while self.task is None:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    return
                self._take(cast("h11.Event", event))
        except h11.RemoteProtocolError:  # not Envoy
            self._transport.close()

    def _take(self, event: h11.Event) -> None:
        match event:
            case h11.Request():
                self._exchange = Exchange(event, self)
                self._kept = self._keeps(self._exchange, sum(other.kept_bytes for other in self._all_open))
            case h11.Data() if self._exchange:
                self._exchange.size += len(event.data)
                if self._kept:
                    self._exchange.body += event.data
            case h11.EndOfMessage() if self._exchange:
                self.task = asyncio.get_running_loop().create_task(self._run(self._exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        except Exception:
            log.exception("the activator failed on a request")
            self.cut()
            return
        self.task = self._exchange = None
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._next()
        else:
            self._transport.close()


class Server:
    """Serves on a unix socket that is bound already; it listens from `start` on. Lives in one event loop."""

    def __init__(self, handler: Handler, keeps: Keeps) -> None:
        self._handler, self._keeps = handler, keeps
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        factory = partial(_Connection, self._handler, self._keeps, self._open)
        self._server = await loop.create_unix_server(factory, sock=bound, backlog=BACKLOG)

    @property
    def connections(self) -> int:
        return len(self._open)

    def refuse_new(self) -> None:
        """Take no connection any more."""
        if self._server:
            self._server.close()

    async def finish(self, seconds: float) -> None:
        """Let the answers end that have begun, for so long; then cut."""
        tasks = [connection.task for connection in self._open if connection.task]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for connection in list(self._open):
            connection.close()
