"""One run of a work for all who ask for it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Calls `work` for many threads. Each gets the answer of a run that began after it had called, so nothing that it
    knew then is missing; whoever comes during a run shares the next one. What a run raises, all of its callers get.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._next: Future[T] | None = None

    def __call__(self) -> T:
        with self._lock:
            run, first = self._next, self._next is None
            if run is None:
                run = self._next = Future()
        if first:
            self._run(run)
        return run.result()

    def _run(self, run: Future[T]) -> None:
        with self._turn:
            with self._lock:
                self._next = None
            try:
                answer = self._work()
            except BaseException as error:  # noqa: BLE001 - the others wait for it, and raise it in their threads
                run.set_exception(error)
            else:
                run.set_result(answer)
