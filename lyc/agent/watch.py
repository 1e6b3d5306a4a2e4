"""`watch`: what becomes of an owner's processes, and what they say, as it happens, for as long as somebody listens.

    {"t": "beat"}                                          each second
    {"t": "status", "processes": [STATUS…]}                all of them: at first, on every change, and each 5 s
    {"t": "log", "id", "lines": [[time, text]…], "mark"}   lines of one; whoever gives `mark` again hears what follows

What a process said last comes before the status that tells its end.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import NoReturn

from lyc.agent import processes
from lyc.agent.answer import Refused, read_request, say
from lyc.agent.folder import Document
from lyc.agent.journal import JournalTail, sync
from lyc.agent.root import Root
from lyc.agent.rotated import FileTail

BEAT_SECONDS, FULL_SECONDS = 1.0, 5.0
LOOK_SECONDS = 0.25
LAST_WORDS_SECONDS = 3.0
"""How long a status waits for the log of a process that has ended."""
Tail = JournalTail | FileTail


def watch(root: Root, arguments: list[str]) -> NoReturn:
    """`OWNER`, and on stdin `{"marks": {id: mark}}`. Raises BrokenPipeError when nobody listens any more."""
    if len(arguments) != 1:
        raise Refused("bad-request", "watch takes OWNER")
    marks = read_request().get("marks") or {}
    watching = _Watch(root, arguments[0], {str(name): str(mark) for name, mark in marks.items()})
    try:
        while True:
            watching.look()
            watching.listen()
    finally:
        watching.close()


class _Watch:
    def __init__(self, root: Root, owner: str, marks: dict[str, str]) -> None:
        self._root, self._owner, self._marks = root, owner, marks
        self._look = processes.looking(root)
        self._told: Sequence[Document] | None = None
        self._told_at = self._beat_at = float("-inf")
        self._tails: dict[str, Tail] = {}
        self._ended: dict[str, Document] = {}  # whose last words were said, with that status

    def look(self) -> None:
        """Say what has changed, and what is due."""
        self._beat()
        now = processes.statuses(self._root, self._owner, self._look)
        self._attend(now)
        if now != self._told or time.monotonic() - self._told_at >= FULL_SECONDS:
            say({"t": "status", "processes": now})
            self._told, self._told_at = now, time.monotonic()

    def listen(self) -> None:
        """Say lines as they come, until it is time to look again."""
        until = time.monotonic() + LOOK_SECONDS
        more = False
        while (left := until - time.monotonic()) > 0:
            waiting = {number: name for name, tail in self._tails.items() if (number := tail.fileno()) is not None}
            readable, _, _ = select.select([*waiting], [], [], 0 if more else left)
            more = False
            for name, tail in self._tails.items():
                number = tail.fileno()
                if number is None or number in readable:
                    more |= self._say(name, tail.take(), tail.mark) and number is None

    def _attend(self, now: Sequence[Document]) -> None:
        """Follow the log of each that may say something; hear the others out, for a few seconds at most."""
        for name in self._tails.keys() - {status["id"] for status in now}:
            self._tails.pop(name).close()
            self._ended.pop(name, None)
        ended = {status["id"] for status in now if status["state"] == "exited"}
        ended -= {status["id"] for status in now if status == self._ended.get(status["id"])}
        if ended and self._root.systemd:
            sync()
        until = time.monotonic() + LAST_WORDS_SECONDS
        for status in now:
            tail = self._tails.get(status["id"]) or self._tail(status["id"])
            if status["id"] in ended and time.monotonic() < until:
                self._hear_out(status, tail, until)
            if not status["gave_up"]:
                tail.follow()

    def _hear_out(self, status: Document, tail: Tail, until: float) -> None:
        for lines in tail.finish():
            self._say(status["id"], lines, tail.mark)
            self._beat()
            if time.monotonic() >= until:
                tail.close()
                return
        self._ended[status["id"]] = status

    def _tail(self, name: str) -> Tail:
        mark = self._marks.get(name)
        log = self._root.replica(name) / "output.log"
        self._tails[name] = JournalTail(name, mark) if self._root.systemd else FileTail(log, mark)
        return self._tails[name]

    def _say(self, name: str, lines: Sequence[tuple[float, str]], mark: str | None) -> bool:
        if lines:
            say({"t": "log", "id": name, "lines": lines, "mark": mark})
        return bool(lines)

    def _beat(self) -> None:
        if time.monotonic() - self._beat_at >= BEAT_SECONDS:
            say({"t": "beat"})
            self._beat_at = time.monotonic()

    def close(self) -> None:
        """End what follows the logs."""
        for tail in self._tails.values():
            tail.close()
