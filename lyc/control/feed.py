"""What operations say while they run: kept for those who watch now, and (but for progress) stored for later."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

from lyc.records.operation import Operation, OperationEvent, OperationState
from lyc.store import Store

LAST_KINDS = frozenset({"result", "error"})
KEEPALIVE_SECONDS = 5.0


class Feed:
    """Events of all operations of this controller's life. Thread-safe."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._changed = threading.Condition()
        self._live: defaultdict[str, list[OperationEvent]] = defaultdict(list)

    def publish(self, operation: str, kind: str, data: dict[str, object], *, keep: bool = True) -> None:
        """Say something. keep=False for progress, which is worth nothing a second later."""
        now = self._clock()
        with self._changed:
            past = self._live[operation]
            # Milliseconds since the epoch: so that numbers go on growing after a restart has forgotten the unkept ones.
            seq = max(int(now * 1000), past[-1].seq + 1 if past else 0)
            event = OperationEvent(seq, now, kind, data)
            if keep:
                self._store.put_event(operation, event)
            past.append(event)
            if kind in LAST_KINDS:
                del self._live[operation]  # whoever is behind reads the rest from the store
            self._changed.notify_all()

    def follow(self, operation: str, after: int) -> Iterator[OperationEvent | None]:
        """Events after `after`, as they come; None every few seconds without one. Ends after `result` or `error`."""
        for event in self._store.events(operation, after):
            after = event.seq
            yield event
            if event.kind in LAST_KINDS:
                return
        while True:
            with self._changed:
                if not self._fresh(operation, after):
                    self._changed.wait(KEEPALIVE_SECONDS)
                fresh, over = self._fresh(operation, after), operation not in self._live
            for event in fresh:
                after = event.seq
                yield event
            if over and (ended := self._store.operation(operation)).state is not OperationState.RUNNING:
                rest = self._store.events(operation, after)
                yield from rest
                if not rest or rest[-1].kind not in LAST_KINDS:
                    yield _end(ended, after)
                return
            if not fresh:
                yield None

    def _fresh(self, operation: str, after: int) -> list[OperationEvent]:
        return [event for event in self._live.get(operation, ()) if event.seq > after]


def _end(operation: Operation, after: int) -> OperationEvent:
    """What a controller would have said, had it not been killed between the end and the saying."""
    kind, data = ("error", operation.error) if operation.error else ("result", operation.result)
    return OperationEvent(after + 1, operation.finished_at or 0.0, kind, data or {})
