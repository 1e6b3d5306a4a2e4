"""A streaming caller that wants to hear something while it waits: SSE comments, then the replica's own stream.

The one case in which tokens pass through Python: a stream that has begun cannot be handed back to Envoy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx

from lyc.gateway.callers import document
from lyc.gateway.exchange import Exchange
from lyc.gateway.front import KEEPALIVE, RESERVED
from lyc.gateway.verdict import Refuse
from lyc.gateway.waiting import Waiting
from lyc.units import MIB

KEEPALIVE_SECONDS = 5.0
LONGEST_BODY = 8 * MIB
MOST_KEPT = 256 * MIB
"""Bytes of all that wait together; beyond it, a caller is held as any other, without comments."""
_SSE = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
_OWN_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"})
_LONGEST_ERROR = 64 * 1024


class Lost(Exception):
    """The replica gave nothing; another may be asked."""


def keeps(exchange: Exchange, kept: int) -> bool:
    """Whether the body is kept until a replica can have it: only for a caller that wished, and only so much."""
    length = exchange.headers.get("content-length", "")
    size = int(length) if length.isdecimal() else LONGEST_BODY + 1
    return exchange.headers.get(KEEPALIVE) == "1" and size <= LONGEST_BODY and kept + size <= MOST_KEPT


def streams(exchange: Exchange) -> bool:
    """Whether it wished (so that its body was kept) and asks for a stream."""
    try:
        body = json.loads(exchange.body)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("stream") is True


async def begin(exchange: Exchange) -> None:
    await exchange.begin(200, _SSE)


async def comment_until_ended(exchange: Exchange, waiting: Waiting, every: float) -> None:
    """Says something at once and every so many seconds until `waiting` has ended."""
    while not waiting.ended.done():
        about = "" if waiting.expected is None else f", expected in about {math.ceil(waiting.expected)} s"
        await exchange.piece(f": waiting for a replica{about}\n\n".encode())
        await asyncio.wait([waiting.ended], timeout=every)


async def refuse(exchange: Exchange, refusal: Refuse) -> None:
    """The error as an event, as engines tell one in a stream."""
    await _end_with(exchange, document(refusal))


async def pass_through(exchange: Exchange, socket: Path) -> None:
    """The replica's stream, byte by byte. Raises `Lost` while nothing has come; later the caller's stream is cut."""
    begun = False
    try:
        async with _asked(exchange, socket) as answer:
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                raise Lost
            if answer.status_code != httpx.codes.OK:
                return await _end_with(exchange, await _error_of(answer))
            async for piece in answer.aiter_raw():
                begun = True
                await exchange.piece(piece)
        await exchange.end()
    except httpx.HTTPError as error:
        if not begun:
            raise Lost from error
        exchange.cut()
    return None


@contextlib.asynccontextmanager
async def _asked(exchange: Exchange, socket: Path) -> AsyncIterator[httpx.Response]:
    """The engine's key came with the request: the gateway had put it in."""
    headers = {
        name: value
        for name, value in exchange.headers.items()
        if name not in _OWN_HEADERS and not name.startswith(RESERVED)
    }
    transport = httpx.AsyncHTTPTransport(uds=str(socket))
    async with (
        httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(None, connect=5.0), trust_env=False) as client,
        client.stream(
            exchange.method, f"http://engine{exchange.target}", headers=headers, content=bytes(exchange.body)
        ) as answer,
    ):
        yield answer


async def _error_of(answer: httpx.Response) -> Mapping[str, object]:
    text = b""
    async for piece in answer.aiter_bytes():
        text += piece[: _LONGEST_ERROR - len(text)]
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        return said
    message = f"The engine answered {answer.status_code}."
    return {"error": {"message": message, "type": "server_error", "param": None, "code": "engine_error"}}


async def _end_with(exchange: Exchange, error: Mapping[str, object]) -> None:
    await exchange.piece(f"data: {json.dumps(error)}\n\ndata: [DONE]\n\n".encode())
    await exchange.end()
