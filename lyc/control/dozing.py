"""What is asked of an engine that can sleep, beside the loop: weights that move take seconds, and a call may hang."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from lyc.engines import sleep

log = logging.getLogger(__name__)


class Call:
    """One `/sleep` or `/wake_up`, begun as it is made. client: of the engine; it may be closed meanwhile. told: called
    when it is over. What came of it is asked for with `sleeping`.
    """

    def __init__(self, client: Any, path: str, told: Callable[[], None]) -> None:
        self._client = client
        self._path = path
        self._told = told
        self._thread = threading.Thread(target=self._run, name=f"call{path}", daemon=True)
        self._thread.start()

    def over(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        import httpx  # noqa: PLC0415

        try:
            answer = self._client.post(self._path, timeout=sleep.CALL_SECONDS)
            if answer.status_code != 200:
                log.warning("%s: HTTP %d: %s", self._path, answer.status_code, answer.text[:200])
        except (httpx.HTTPError, RuntimeError) as problem:  # of a client that was closed
            log.warning("%s: %s", self._path, problem)
        self._told()


def sleeping(client: Any, seconds: float) -> bool | None:
    """Whether an engine sleeps; None = it does not say so within `seconds`."""
    import httpx  # noqa: PLC0415

    try:
        answer = client.get(sleep.ASLEEP_PATH, timeout=seconds)
    except httpx.HTTPError:
        return None
    return sleep.sleeping(answer.text) if answer.status_code == 200 else None
