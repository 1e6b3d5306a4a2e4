"""What a host has said of the processes on it, and how far that may be believed by now. Pure but for a lock."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lyc.records.process import ProcessStatus

SETTLE_SECONDS = 15.0
"""So long a list from before a start may still be on its way: then the link counts as dead."""


@dataclass(frozen=True, slots=True)
class Known:
    """One process. port: of the host's loopback; socket: where it is to be reached here. told_at: when this was said.

    started_at: when a start of ours was answered; over: by the connection of the watch that stood then.
    """

    status: ProcessStatus
    told_at: float
    port: int | None = None
    socket: Path | None = None
    started_at: float | None = None
    over: int = 0


class Heard:
    """Statuses by id. silence: seconds for which a host's word holds. Each `now` is of one clock that does not jump.

    Connections are numbered: a list that comes over one which was made after a start knows of the start. For several
    threads.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._known: dict[str, Known] = {}
        self._connection = 0
        self._listed = False
        self._word_at: float | None = None
        self._lock = threading.Lock()

    def connected(self) -> None:
        """A connection begins; what it says counts from its first list on."""
        with self._lock:
            self._connection += 1
            self._listed = False

    def word(self, now: float) -> None:
        """The host has said something: what it said last is still so."""
        with self._lock:
            if self._listed:
                self._word_at = now

    def listed(self, said: Sequence[Mapping[str, Any]], now: float) -> tuple[bool, bool]:
        """The whole list of now. Whether it is the first of its connection, and whether anything changed."""
        with self._lock:
            fresh = {str(one["id"]): self._merged(one, now) for one in said}
            for identity, known in self._known.items():
                if identity not in fresh and self._on_its_way(known, now):
                    fresh[identity] = known
            before = {identity: known.status for identity, known in self._known.items()}
            changed = before != {identity: known.status for identity, known in fresh.items()}
            first = not self._listed
            self._known, self._listed, self._word_at = fresh, True, now
            return first, changed

    def stopped(self, identity: str, now: float) -> None:
        """A call has ended it. How it ended is told by the next list."""
        with self._lock:
            known = self._known.get(identity)
            if known is not None and known.status.state == "running":
                status = replace(known.status, state="exited", gave_up=True)
                self._known[identity] = replace(known, status=status, told_at=now)

    def removed(self, identity: str) -> None:
        """A call has removed it."""
        with self._lock:
            self._known.pop(identity, None)

    def started(self, identity: str, port: int | None, socket: Path | None, now: float) -> None:
        """It was started just now, or runs already."""
        with self._lock:
            known = self._known.get(identity)
            status = known.status if known and known.status.state == "running" else ProcessStatus("running")
            self._known[identity] = Known(status, now, port, socket, started_at=now, over=self._connection)

    def status(self, identity: str, now: float) -> ProcessStatus | None:
        """What is true of it; None = nobody knows."""
        with self._lock:
            known = self._known.get(identity)
            told = self._word_at if known is None else max(known.told_at, self._word_at or known.told_at)
            if told is None or now - told > self._silence:
                return None
            return ProcessStatus("absent") if known is None else known.status

    def all(self) -> Mapping[str, Known]:
        """What was said last of each, however long ago."""
        with self._lock:
            return dict(self._known)

    def age(self, now: float) -> float | None:
        """Seconds since the host said anything; None = never."""
        return None if self._word_at is None else now - self._word_at

    def _merged(self, said: Mapping[str, Any], now: float) -> Known:
        known, before = _known(said, now), self._known.get(str(said["id"]))
        return known if before is None else replace(known, started_at=before.started_at, over=before.over)

    def _on_its_way(self, known: Known, now: float) -> bool:
        recent = known.started_at is not None and now - known.started_at < SETTLE_SECONDS
        return recent and known.over == self._connection


def _known(said: Mapping[str, Any], now: float) -> Known:
    """STATUS, as `lyc.agent.status` writes it."""
    status = ProcessStatus(
        str(said["state"]), said.get("pid"), said.get("exit_code"), said.get("ended_at"),
        starts=int(said.get("starts") or 1), gave_up=bool(said.get("gave_up")), crash_loop=bool(said.get("crash_loop")),
        rebooted=bool(said.get("rebooted")),
    )  # fmt: skip
    path = said.get("socket")
    return Known(status, now, said.get("port"), Path(path) if path else None)
