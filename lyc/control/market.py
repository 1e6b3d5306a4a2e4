"""What all providers sell just now: asked side by side, each within its time, and remembered for a moment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from lyc.errors import LycError, Unreachable
from lyc.ports import Accounts
from lyc.records.rental import Offer

log = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0
FRESH_SECONDS = 60.0
"""So long a listing is as good as a new one: stock is gone in minutes, prices are not."""


@dataclass(frozen=True, slots=True)
class Listing:
    """offers: of all providers that answered. problems: by provider, document of why it did not. asked: those asked.

    stale: providers that do not answer now, whose offers are of an earlier time.
    """

    offers: tuple[Offer, ...]
    problems: dict[str, dict[str, object]]
    asked: tuple[str, ...]
    stale: tuple[str, ...] = ()


class Market:
    """Over `lyc.ports.Accounts`."""

    def __init__(self, accounts: Accounts, clock: Callable[[], float]) -> None:
        self._accounts = accounts
        self._clock = clock
        self._seen: dict[str, tuple[float, tuple[Offer, ...]]] = {}
        self._asking: dict[str, Future[tuple[Offer, ...]]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="offers")

    def offers(self, names: Sequence[str] = (), *, fresh: float = FRESH_SECONDS) -> Listing:
        """Of these providers, or of all that there is a credential for. Takes as long as the slowest that answers in
        time. Raises UsageError `unknown-provider` and NotAuthorised `no-provider-credential` for one that was named.
        """
        asked = tuple(dict.fromkeys(names)) or tuple(self._accounts.sources())
        for name in names:
            self._accounts.open(name)
        now = self._clock()
        waiting: dict[str, Future[tuple[Offer, ...]]] = {}
        with self._lock:
            for name in asked:
                if now - self._seen.get(name, (-fresh, ()))[0] >= fresh:
                    waiting[name] = self._begin(name)
        wait(waiting.values(), ANSWER_SECONDS)
        problems = {name: error for name, one in waiting.items() if (error := self._problem(name, one)) is not None}
        found = {name: self._seen.get(name) for name in asked}
        stale = tuple(name for name in problems if found[name] is not None)
        return Listing(tuple(one for seen in found.values() if seen for one in seen[1]), problems, asked, stale)

    def forget(self, provider: str) -> None:
        """What it sold a moment ago is not true any more."""
        with self._lock:
            self._seen.pop(provider, None)

    def _begin(self, name: str) -> Future[tuple[Offer, ...]]:
        """Ask, unless somebody is asking already."""
        before = self._asking.get(name)
        if before is None or before.done():
            before = self._asking[name] = self._pool.submit(self._ask, name)
        return before

    def _ask(self, name: str) -> tuple[Offer, ...]:
        offers = tuple(self._accounts.open(name).offers())
        with self._lock:
            self._seen[name] = (self._clock(), offers)
        return offers

    @staticmethod
    def _problem(name: str, asked: Future[tuple[Offer, ...]]) -> dict[str, object] | None:
        if not asked.done():
            slow = Unreachable("provider-slow", f"{name} did not answer within {ANSWER_SECONDS:.0f} s")
            return slow.document()
        error = asked.exception()
        if error is None:
            return None
        if isinstance(error, LycError):
            return error.document()
        log.error("offers of %s", name, exc_info=error)
        return Unreachable("provider-unreachable", f"{name} could not be asked", why=type(error).__name__).document()
