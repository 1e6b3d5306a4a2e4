"""Callers of an endpoint, many at once, and what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

_CHAT = {"model": "chat", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 8}


@dataclass
class Outcome:
    """statuses: of all answers. cut: streams that did not end as they should. errors: what else went wrong.
    first: seconds to the first byte of each answer.
    """

    statuses: list[int] = field(default_factory=list)
    cut: int = 0
    errors: list[str] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    @property
    def well(self) -> int:
        return self.statuses.count(200) - self.cut

    def perfect(self) -> bool:
        return bool(self.statuses) and set(self.statuses) == {200} and not self.cut and not self.errors


async def ask(client: httpx.AsyncClient, outcome: Outcome, *, stream: bool, tokens: int) -> None:
    """One request, to its end."""
    began = time.monotonic()
    body = _CHAT | {"stream": stream, "max_tokens": tokens}
    try:
        async with client.stream("POST", "chat/completions", json=body) as answer:
            outcome.statuses.append(answer.status_code)
            text = ""
            async for chunk in answer.aiter_text():
                if not text:
                    outcome.first.append(time.monotonic() - began)
                text += chunk
            if answer.status_code != 200:
                outcome.errors.append(text[:500])
            elif stream and not text.rstrip().endswith("data: [DONE]"):
                outcome.cut += 1
    except httpx.HTTPError as error:
        outcome.errors.append(repr(error))


def client(url: str, key: str, timeout: float = 120) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(
        base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=timeout, limits=limits, trust_env=False
    )


def burst(url: str, key: str, count: int, *, stream: bool = False, tokens: int = 8, timeout: float = 120) -> Outcome:
    """So many at once. timeout: seconds that each is waited for."""
    outcome = Outcome()

    async def all_of_them() -> None:
        async with client(url, key, timeout) as one:
            await asyncio.gather(*(ask(one, outcome, stream=stream, tokens=tokens) for _ in range(count)))

    asyncio.run(all_of_them())
    return outcome


@contextlib.contextmanager
def steady(url: str, key: str, callers: int, *, stream: bool = True, tokens: int = 20) -> Iterator[Outcome]:
    """So many callers, each asking again as soon as it is answered, until the context ends; none is broken off."""
    outcome, stop = Outcome(), threading.Event()

    async def caller(one: httpx.AsyncClient) -> None:
        while not stop.is_set():
            await ask(one, outcome, stream=stream, tokens=tokens)

    async def all_of_them() -> None:
        async with client(url, key) as one:
            await asyncio.gather(*(caller(one) for _ in range(callers)))

    thread = threading.Thread(target=lambda: asyncio.run(all_of_them()))
    thread.start()
    try:
        yield outcome
    finally:
        stop.set()
        thread.join()
