"""Reads the logs of replicas, dead ones too, all attempts in order, and follows them."""

from __future__ import annotations

import datetime
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lyc.agent.shim import LOG_FILES
from lyc.control.deps import Deps
from lyc.control.layout import replica_root
from lyc.errors import NotFound
from lyc.records.deployment import Replica

POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class LogLine:
    """at: seconds since the epoch."""

    replica: str
    at: float
    line: str


class Logs:
    """Logs of one home."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def read(
        self, deployment: str, *, tail: int | None, since: float | None, replica: str | None
    ) -> tuple[list[LogLine], dict[Path, int]]:
        """The lines that there are, and where each file was left. Raises NotFound for an unknown name or replica."""
        lines: deque[LogLine] = deque(maxlen=tail)
        found: list[LogLine] = []
        offsets: dict[Path, int] = {}
        for one in self._replicas(deployment, replica):
            for path in self._files(one):
                fresh, offsets[path] = _read(path, one.id, 0)
                found += [line for line in fresh if since is None or line.at >= since]
        lines.extend(sorted(found, key=lambda line: line.at))
        return list(lines), offsets

    def follow(
        self, deployment: str, *, offsets: dict[Path, int], replica: str | None, stop: threading.Event
    ) -> Iterator[list[LogLine]]:
        """Fresh lines as they come (an empty list now and then); ends when the deployment is gone."""
        while not stop.is_set():
            fresh: list[LogLine] = []
            try:
                replicas = self._replicas(deployment, replica)
            except NotFound:
                return
            for one in replicas:
                for path in self._files(one)[-1:]:
                    start = offsets.get(path, 0)
                    lines, offsets[path] = _read(path, one.id, start if path.stat().st_size >= start else 0)
                    fresh += lines
            yield sorted(fresh, key=lambda line: line.at)
            stop.wait(POLL_SECONDS)

    def _replicas(self, deployment: str, replica: str | None) -> list[Replica]:
        self._deps.store.deployment(deployment)
        replicas = self._deps.store.replicas(deployment)
        if replica is None:
            return replicas
        found = [one for one in replicas if one.id == replica]
        if not found:
            raise NotFound(
                "no-such-replica",
                f"{deployment} has no replica {replica!r}",
                why=f"it has {', '.join(one.id for one in replicas) or 'none'}",
                hint=f"lyc status {deployment}",
            )
        return found

    def _files(self, replica: Replica) -> list[Path]:
        """All logs of a replica, oldest first."""
        root = replica_root(self._deps.settings, replica)
        names = [f"output.log.{number}" for number in range(LOG_FILES, 0, -1)] + ["output.log"]
        attempts = [root / str(attempt) for attempt in range(1, replica.attempts + 1)]
        return [attempt / name for attempt in attempts for name in names if (attempt / name).exists()]


def _read(path: Path, replica: str, start: int) -> tuple[list[LogLine], int]:
    """Whole lines from `start` on, and the offset behind the last of them."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    end = data.rfind(b"\n") + 1
    lines = []
    for raw in data[:end].decode(errors="replace").splitlines():
        stamp, _, text = raw.partition(" ")
        try:
            at = datetime.datetime.fromisoformat(stamp).timestamp()
        except ValueError:
            continue
        lines.append(LogLine(replica, at, text))
    return lines, start + end
