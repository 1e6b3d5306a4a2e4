"""Sends files to the store of a host: only what is missing there, several streams side by side, resumed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lyc.errors import Interrupted
from lyc.hosts.remote.calls import Agent

STREAMS = 4
"""Over one connection: OpenSSH lets 2 MiB be on the way in each. More connections brought no more in the lab, with 40
ms there and back and with 1 % of loss, and each would be another sign-in, maybe with a key to touch.
"""
CHUNK = 1 << 20
IDLE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Missing:
    """One file that is not whole on the host. path: here; offset: bytes of it that are there."""

    digest: str
    size: int
    offset: int
    path: Path


class Push:
    """One try to send `files`, the largest first, over `streams` streams that share one queue.

    heard: bytes that the far side says have come in this try, at most a few times a second in all; it may raise, and
    then every stream ends, there too.
    """

    def __init__(self, agent: Agent, files: Sequence[Missing], heard: Callable[[int], None]) -> None:
        self._agent = agent
        self._queue = deque(sorted(files, key=lambda file: file.offset - file.size))
        self._heard = heard
        self._arrived: dict[int, int] = {}
        self._stop = threading.Event()

    def run(self) -> bool:
        """Whether every file that was asked for has arrived whole. Raises what `Agent.send` does."""
        count = min(STREAMS, len(self._queue))
        with ThreadPoolExecutor(count, thread_name_prefix="push") as pool:
            jobs = [pool.submit(self._stream, number) for number in range(count)]
            try:
                while (left := wait(jobs, IDLE_SECONDS, FIRST_EXCEPTION)).not_done:
                    if any(job.exception() for job in left.done):
                        break
                    self._heard(sum(self._arrived.values()))
            finally:
                self._stop.set()
        failed = [error for job in jobs if (error := job.exception())]
        for error in sorted(failed, key=lambda error: isinstance(error, Interrupted)):
            raise error
        self._heard(sum(self._arrived.values()))
        return all(job.result() for job in jobs)

    def _stream(self, number: int) -> bool:
        def said(document: dict[str, Any]) -> None:
            if document.get("t") == "progress":
                self._arrived[number] = int(document["done"])
            if self._stop.is_set():
                raise Interrupted("push-stopped", "the push was stopped", hint="deploy again: what came is kept")

        answer = self._agent.send("receive", chunks=self._chunks, said=said, idle=IDLE_SECONDS)
        return answer["stopped"] is None

    def _chunks(self) -> Iterator[bytes]:
        while self._queue:
            try:
                file = self._queue.popleft()
            except IndexError:
                return
            yield f"{file.digest} {file.size} {file.offset}\n".encode()
            with file.path.open("rb", buffering=0) as source:
                source.seek(file.offset)
                left = file.size - file.offset
                while left and not self._stop.is_set() and (chunk := source.read(min(CHUNK, left))):
                    left -= len(chunk)
                    yield chunk
            if left:
                return
