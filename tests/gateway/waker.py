"""A small Waker: it starts a real engine stand-in when it is asked, and asks the real Envoy who is well."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import httpx

from lyc.gateway.activator import Activator
from lyc.records.wake import Waking
from tests.gateway.rig import Rig, StandIn, until_async


class Starter:
    """`waking` until Envoy sends requests to a replica of the deployment, then `ready`.

    said: what else is answered; `wakes` is called once, at the first question, in a thread of its own.
    """

    def __init__(self, rig: Rig, wakes: Callable[[], object] = lambda: None, **said: object) -> None:
        self.rig, self.said = rig, Waking("waking", **said)  # type: ignore[arg-type]
        self.asked: Counter[str] = Counter()
        self.path = rig.home / "run" / "activator.sock"
        self.activator = Activator(self.path, self, every=0.2)
        self.woken = 0
        self.seen_at = 0.0
        self._wakes, self._lock, self._woken = wakes, threading.Lock(), threading.Event()
        self._stop = threading.Event()
        self.ready = frozenset[str]()
        self._thread = threading.Thread(target=self._look)

    def start(self) -> Starter:
        self._thread.start()
        self.activator.start()
        return self

    def wake(self, deployment: str) -> Waking:
        with self._lock:
            first = not self.asked
            self.asked[deployment] += 1
        if first:
            self._woken.set()
        own = frozenset(name for name in self.ready if name.startswith(deployment))
        sockets = {engine.replica: str(engine.socket) for engine in self.rig.engines}
        if own and self.said.state == "waking":
            return replace(self.said, state="ready", replica=own, sockets=sockets)
        return self.said

    def look_always(self) -> None:
        """Also before anybody has asked."""
        self._woken.set()

    def say(self, waking: Waking) -> None:
        self.said = waking
        for name in ("alpha", "beta"):
            self.activator.changed(name)

    def close(self) -> None:
        self._stop.set()
        self._woken.set()
        self._thread.join()
        self.activator.close()

    def _look(self) -> None:
        self._woken.wait()
        if not self._stop.is_set():
            self.woken += 1
            self._wakes()
        while not self._stop.wait(0.02):
            seen = self.rig.gateway.status().healthy or frozenset()
            if seen != self.ready:
                self.ready, self.seen_at = seen, time.monotonic()
                for name in ("alpha", "beta"):
                    self.activator.changed(name)


Start = Callable[..., Starter]
"""The fixture `start`."""


def one_replica(rig: Rig, *arguments: str, **behaviour: object) -> Callable[[], StandIn]:
    """What a wake does: an engine is started, and routed to at once, before it has loaded."""

    def wakes() -> StandIn:
        engine = rig.stand_in("alpha-1-a", *arguments, **behaviour)
        rig.apply(alpha=[engine.endpoint], beta=[])
        return engine

    return wakes


def error(answer: httpx.Response) -> dict[str, object]:
    """The error of an answer that is OpenAI's shape and lets nothing of the inside out."""
    assert set(answer.json()) == {"error"}
    found = answer.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    assert "envoy" not in str(answer.headers).lower()
    assert not {"x-lyc-retry-in", "server"} & set(answer.headers)
    return dict(found)


async def ask(client: httpx.AsyncClient, rig: Rig) -> httpx.Response:
    """One chat, not streamed."""
    body = {"model": "m", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 4}
    return await client.post("/alpha/v1/chat/completions", json=body, headers=rig.headers())


async def held(starter: Starter, count: int, deployment: str = "alpha") -> None:
    await until_async(lambda: starter.activator.held().get(deployment, 0) == count, f"{count} requests wait")
