"""The requests that wait for one deployment. Lives in one event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from lyc.gateway.verdict import Asked, Hold, Refuse, Replay, judge
from lyc.records.wake import Waking

log = logging.getLogger(__name__)

ASK_SECONDS = 0.5
GAP_SECONDS = 0.01
"""Between two questions to the waker: a burst of requests shares its answers."""


@dataclass(eq=False, slots=True)
class Waiting:
    """A request that waits. ended: what becomes of it, and what was said of the deployment.

    seen: it is known whether it must wait. held: it must; expected: how many seconds, as far as is known.
    """

    asked: Asked
    ended: asyncio.Future[tuple[Replay | Refuse, Waking]]
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    held: bool = False
    expected: float | None = None


class WaitingRoom:
    """Asks `ask` as long as somebody waits, and lets go whom it may.

    count, size: requests that are held, and the bytes of their bodies.
    """

    def __init__(self, ask: Callable[[], Awaitable[Waking]]) -> None:
        self._ask = ask
        self._waiting: dict[Waiting, None] = {}
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._said = Waking("waking")
        self.count = self.size = 0

    def enter(self, asked: Asked) -> Waiting:
        """Its place; `leave` must follow."""
        waiting = Waiting(asked, asyncio.get_running_loop().create_future())
        self._waiting[waiting] = None
        self.stir()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """It has its answer, or its caller has gone."""
        if waiting in self._waiting:
            del self._waiting[waiting]
            self._count(waiting, -1)

    @property
    def empty(self) -> bool:
        return not self._waiting

    def stir(self) -> None:
        """Look again now."""
        self._stirred.set()

    def close(self, answer: Refuse) -> None:
        """Let all go with this answer."""
        for waiting in list(self._waiting):
            self._let_go(waiting, answer)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            self._stirred.clear()
            try:
                self._said = await self._ask()
            except Exception:
                log.exception("the activator's question was not answered")
            soonest = self._judge_all(loop.time())
            if not self._waiting:
                return
            await asyncio.sleep(GAP_SECONDS)
            try:
                await asyncio.wait_for(self._stirred.wait(), max(0.0, min(ASK_SECONDS, soonest - loop.time())))
            except TimeoutError:
                continue

    def _judge_all(self, now: float) -> float:
        """When to look again at the latest."""
        soonest = now + ASK_SECONDS
        for waiting in list(self._waiting):
            ahead = None if waiting.held else (self.count, self.size)
            verdict = judge(self._said, waiting.asked, now, ahead)
            if not isinstance(verdict, Hold):
                self._let_go(waiting, verdict)
            elif ahead is not None:
                waiting.held = True
                self._count(waiting, 1)
            if isinstance(verdict, Hold):
                waiting.expected = self._said.expected
                waiting.seen.set()
                soonest = min(soonest, verdict.until)
        return soonest

    def _let_go(self, waiting: Waiting, verdict: Replay | Refuse) -> None:
        self.leave(waiting)
        waiting.seen.set()
        if not waiting.ended.done():
            waiting.ended.set_result((verdict, self._said))

    def _count(self, waiting: Waiting, by: int) -> None:
        if waiting.held:
            self.count += by
            self.size += by * waiting.asked.size
