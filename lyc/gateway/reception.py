"""How the activator deals with one request. Lives in one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from lyc.gateway import keepalive
from lyc.gateway.callers import answer, asked_by, attempt_of, request_of
from lyc.gateway.exchange import Exchange
from lyc.gateway.front import DEPLOYMENT
from lyc.gateway.tries import Tries
from lyc.gateway.verdict import Asked, Refuse, Replay
from lyc.gateway.waiting import Waiting, WaitingRoom
from lyc.records.wake import Waking

_NO_SOCKET = Refuse(503, "replica_lost", "The replica that became ready cannot be reached.")


class Reception:
    """A waiting room a deployment. ask: how it stands. every: seconds between two comments of a stream that waits."""

    def __init__(self, ask: Callable[[str], Awaitable[Waking]], every: float) -> None:
        self._ask = ask
        self._every = every
        self._closed: Refuse | None = None
        self._tries = Tries()
        self.rooms: dict[str, WaitingRoom] = {}
        self.arrived: dict[str, int] = {}
        self.passing: dict[str, int] = {}

    async def handle(self, exchange: Exchange) -> None:
        deployment = exchange.headers.get(DEPLOYMENT)
        if deployment is None:
            return await exchange.reply(200 if exchange.target == "/health" else 404, (("content-length", "0"),), b"")
        request = request_of(exchange)
        if not self._tries.knows(request):
            self.arrived[deployment] = self.arrived.get(deployment, 0) + 1
        tries = self._tries.seen(request, attempt_of(exchange))
        asked = asked_by(exchange, deployment, tries, asyncio.get_running_loop().time(), time.time())
        if isinstance(asked, Refuse):
            return await answer(exchange, asked)
        if keepalive.streams(exchange):
            return await self._keep_alive(exchange, asked)
        with self._waiting(asked) as waiting:
            verdict, _ = await waiting.ended
        return await answer(exchange, verdict)

    def stir(self, deployment: str) -> None:
        """Look again now."""
        if room := self.rooms.get(deployment):
            room.stir()

    def close(self, last: Refuse) -> None:
        """This is the answer to all that wait, and to all that still come."""
        self._closed = last
        for room in self.rooms.values():
            room.close(last)

    @contextmanager
    def _waiting(self, asked: Asked) -> Iterator[Waiting]:
        room = self.rooms.get(asked.deployment)
        if room is None:
            room = self.rooms[asked.deployment] = WaitingRoom(partial(self._ask, asked.deployment))
        waiting = room.enter(asked)
        if self._closed:
            room.close(self._closed)
        try:
            yield waiting
        finally:
            room.leave(waiting)
            if room.empty:
                self.rooms.pop(asked.deployment, None)

    async def _keep_alive(self, exchange: Exchange, asked: Asked) -> None:
        """While nothing has to be waited for it is as any other; from the first comment on, all passes through here."""
        begun = False
        while True:
            with self._waiting(asked) as waiting:
                await waiting.seen.wait()
                if not waiting.ended.done():
                    if not begun:
                        await keepalive.begin(exchange)
                    begun = True
                    await keepalive.comment_until_ended(exchange, waiting, self._every)
                verdict, said = await waiting.ended
            if not begun:
                return await answer(exchange, verdict)
            if isinstance(verdict, Refuse):
                return await keepalive.refuse(exchange, verdict)
            replica = self._least(verdict, said)
            if replica is None:
                return await keepalive.refuse(exchange, _NO_SOCKET)
            try:
                return await self._pass(exchange, replica, said.sockets[replica])
            except keepalive.Lost:
                asked = replace(asked, came=asyncio.get_running_loop().time(), tries=asked.tries + 1)

    def _least(self, verdict: Replay, said: Waking) -> str | None:
        """Of the replicas that can be reached, the one with the fewest streams from here."""
        known = sorted(verdict.replicas & said.sockets.keys())
        return min(known, key=lambda replica: self.passing.get(replica, 0), default=None)

    async def _pass(self, exchange: Exchange, replica: str, socket: str) -> None:
        self.passing[replica] = self.passing.get(replica, 0) + 1
        try:
            await keepalive.pass_through(exchange, Path(socket))
        finally:
            self.passing[replica] -= 1
