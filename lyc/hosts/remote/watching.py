"""One thread for each host that hears from its agent how the processes there do, and comes back when it was cut off."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lyc.errors import Bug, Failed, LycError, Retry, Unreachable, from_document
from lyc.hosts.remote.calls import Agent

log = logging.getLogger(__name__)

SILENCE_SECONDS = 8.0
"""A host says something each second. TCP sends again after 0.2, 0.4 … 6.4 s, so a link that is cut for 5 s is heard
before 8 s are over.
"""
DIAGNOSE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. silence: without a word, after which a connection is given up. first, longest: pause before the next
    one, doubled each time; slow: where trying soon again is of no use (a key that is refused) or does harm. closing:
    how long `close` waits for the thread, which may be connecting.
    """

    silence: float = SILENCE_SECONDS
    first: float = 0.2
    longest: float = 2.0
    slow: float = 30.0
    closing: float = 3.0


class Listener(Protocol):
    """Who is told, by the watching thread alone."""

    def marks(self) -> Mapping[str, str]:
        """How far the log of each process is known. A connection begins with this."""
        ...

    def hear(self, document: dict[str, Any]) -> None:
        """One line of the agent: `t` is `status`, `log` or `beat`. OSError: what it says could not be kept here."""
        ...

    def lost(self, error: LycError) -> None:
        """The connection ended, or there is none."""
        ...


class Watch:
    """Follows `agent watch OWNER`. Nothing happens before `start`, which may be called often."""

    def __init__(self, agent: Callable[[], Agent], owner: str, listener: Listener, pace: Pace) -> None:
        self._agent = agent
        self._owner = owner
        self._listener = listener
        self._pace = pace
        self._closed = threading.Event()
        self._soon = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch, unless it was begun."""
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closed.is_set():
                    self._thread = threading.Thread(target=self._run, name=f"watch-{self._owner}", daemon=True)
                    self._thread.start()

    def soon(self) -> None:
        """The host is known to answer: do not wait out a pause."""
        self._soon.set()

    def close(self) -> None:
        """Hear no more. The connection ends with the next word of the host, or with its silence."""
        with self._lock:
            self._closed.set()
            self._soon.set()
        if self._thread is not None:
            self._thread.join(self._pace.closing)

    def _run(self) -> None:
        pause, before = self._pace.first, ""
        while not self._closed.is_set():
            self._soon.clear()
            error, heard = self._follow()
            if self._closed.is_set():
                return
            if str(error) != before:
                log.warning("watching: %s", error)
            before = str(error)
            self._listener.lost(error)
            pause = self._pace.first if heard else min(2 * pause, self._pace.longest)
            self._soon.wait(pause if error.retry is Retry.LATER else self._pace.slow)

    def _follow(self) -> tuple[LycError, bool]:
        """One connection, from its beginning to why it ended, and whether the host said anything."""
        heard = False
        try:
            with contextlib.closing(self._documents()) as documents:
                for document in documents:
                    heard = True
                    self._listener.hear(document)
                    if self._closed.is_set():
                        break
        except LycError as error:
            return error, heard
        except OSError as error:
            why = Unreachable("mirror-failed", "the log of a host cannot be kept on this machine", why=str(error))
            return why, False
        except Exception as error:
            log.exception("watching")
            return Bug("watch-failed", "watching a host failed", why=repr(error)), heard
        return _ended(""), heard

    def _documents(self) -> Generator[dict[str, Any], None, None]:
        agent = self._agent()
        stdin = json.dumps({"marks": dict(self._listener.marks())}).encode()
        lines = agent.remote.stream(agent.argv("watch", self._owner), stdin=stdin, silence=self._pace.silence)
        last = b""
        try:
            for line in lines:
                last = line
                document = _parsed(line)
                if document is not None:
                    yield document
        except Failed as error:
            if error.ref != "remote-command-failed":
                raise
            refused = (_parsed(last) or {}).get("error")
            if refused:
                raise from_document(refused) from error
            agent.call("list", self._owner, timeout=DIAGNOSE_SECONDS)  # tells why nothing can be heard, if so
            raise _ended(last.decode(errors="replace")) from error
        finally:
            if isinstance(lines, Generator):
                lines.close()


def _ended(said: str) -> Unreachable:
    return Unreachable("watch-ended", "lyc's program on the host no longer tells how its processes do", why=said)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """None for what is not the agent's: a warning that something there prints."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
