"""Long work behind one call of the API: what it says, line by line, then its result or its error."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lyc.control.operations import bug
from lyc.errors import LycError

log = logging.getLogger(__name__)
ALIVE_SECONDS = 2.0
Said = Mapping[str, Any]


def told(what: str, work: Callable[[Callable[[str], None]], Mapping[str, Any]]) -> Iterator[Said | None]:
    """`{"line": text}` for each word, None every few seconds without one; at the end `{"result": …}` or `{"error": …}`.

    The work begins at once and goes on to its end, also when nobody listens any more.
    """
    said: queue.SimpleQueue[Said] = queue.SimpleQueue()

    def run() -> None:
        try:
            said.put({"result": work(lambda line: said.put({"line": line}))})
        except LycError as error:
            said.put({"error": error.document()})
        except Exception as error:
            log.exception("%s", what)
            said.put({"error": bug(what, error).document()})

    threading.Thread(target=run, name=what, daemon=True).start()
    return _lines(said)


def _lines(said: queue.SimpleQueue[Said]) -> Iterator[Said | None]:
    while True:
        try:
            document = said.get(timeout=ALIVE_SECONDS)
        except queue.Empty:
            yield None
            continue
        yield document
        if "line" not in document:
            return
