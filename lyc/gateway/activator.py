"""The activator: holds the requests that found no replica, wakes one, and hands them back to Envoy, which replays them.

A small HTTP server on a unix socket, in a thread of its own. Envoy comes to it after the key check, with the
deployment's name in a header that no caller can set.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from lyc.errors import Failed
from lyc.gateway import keepalive
from lyc.gateway.admin import MAX_SOCKET_PATH
from lyc.gateway.callers import answer
from lyc.gateway.exchange import Exchange, Server
from lyc.gateway.files import private_folder
from lyc.gateway.reception import Reception
from lyc.gateway.verdict import CROWDED, RESTARTING
from lyc.ports.wake import Waker
from lyc.records.wake import Waking

FINISH_SECONDS = 2.0
ASKERS = 4


class Activator:
    """One for all deployments of a controller.

    Args:
        path: its unix socket (0600), short and in a private folder.
        waker: asked how a deployment stands; asking it wakes.
        every: seconds between two comments for a caller that wants to be kept alive.
    """

    def __init__(self, path: Path, waker: Waker, *, every: float = keepalive.KEEPALIVE_SECONDS) -> None:
        self._path = path
        self._waker = waker
        self._reception = Reception(self._ask, every)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._askers = ThreadPoolExecutor(ASKERS, "activator-asks")

    def start(self) -> None:
        """Returns once it listens. Raises `Failed` (`activator-not-listening`)."""
        bound = _bind(self._path)
        listening = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(bound, listening)), name="activator", daemon=True
        )
        self._thread.start()
        listening.wait()

    def close(self) -> None:
        """Hand back all that wait: the gateway tries them again soon, at the activator that follows. Idempotent."""
        self._tell(self._ended.set)
        if self._thread:
            self._thread.join()
        self._askers.shutdown(wait=False, cancel_futures=True)

    def changed(self, deployment: str) -> None:
        """Look at once whether its requests can go on. From any thread; returns at once."""
        self._tell(partial(self._reception.stir, deployment))

    def held(self) -> dict[str, int]:
        """Requests that wait, by deployment."""
        return {name: room.count for name, room in self._reception.rooms.copy().items() if room.count}

    def arrived(self) -> dict[str, int]:
        """Requests that have come here since the start, by deployment; one that comes again is counted once."""
        return self._reception.arrived.copy()

    def passing(self) -> dict[str, int]:
        """Streams that pass through here (callers kept alive), by replica id: the gateway does not see them there."""
        return {replica: count for replica, count in self._reception.passing.copy().items() if count}

    async def _ask(self, deployment: str) -> Waking:
        return await asyncio.get_running_loop().run_in_executor(self._askers, self._waker.wake, deployment)

    async def _serve(self, bound: socket.socket, listening: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2

        async def handle(exchange: Exchange) -> None:
            """The files that this process may open are not for those that wait alone."""
            await (answer(exchange, CROWDED) if server.connections > most else self._reception.handle(exchange))

        server = Server(handle, keepalive.keeps)
        await server.start(bound)
        listening.set()
        await self._ended.wait()
        self._path.unlink(missing_ok=True)
        server.refuse_new()
        self._reception.close(RESTARTING)
        await server.finish(FINISH_SECONDS)

    def _tell(self, what: Callable[[], None]) -> None:
        if self._loop:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(what)


def _bind(path: Path) -> socket.socket:
    """Nobody can connect before it listens, and by then the mode is right."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        private_folder(path.parent)
        path.unlink(missing_ok=True)
        bound.bind(os.fsencode(path))
        path.chmod(0o600)
    except OSError as error:
        bound.close()
        raise Failed(
            "activator-not-listening",
            "the activator cannot listen on its socket",
            why=error.strerror or str(error),
            where=str(path),
            hint="set LYC_HOME to a shorter path" if len(os.fsencode(path)) > MAX_SOCKET_PATH else "lyc doctor",
        ) from error
    return bound
