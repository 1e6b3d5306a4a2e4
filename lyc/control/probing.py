"""The first real completion of an engine that listens, asked beside the loop: it may take minutes, or never come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from lyc.engines import vllm
from lyc.errors import EngineFailed

PROBE_SECONDS = 300.0
_TRANSIENT = frozenset({408, 429, 502, 503, 504})


class Probe:
    """client: of the engine; it may be closed meanwhile. name: of the deployment. told: called once that is known."""

    def __init__(
        self, client: Any, name: str, task: str, told: Callable[[], None], *, seconds: float = PROBE_SECONDS
    ) -> None:
        self._client = client
        self._name = name
        self._request = vllm.probe_request(name, task)
        self._told = told
        self._seconds = seconds
        self.proven = False
        self.failure: EngineFailed | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe-{name}", daemon=True)

    def start(self) -> Probe:
        self._thread.start()
        return self

    def over(self) -> bool:
        """Whether it has been answered, or was broken off."""
        return self._over.is_set()

    @property
    def settled(self) -> bool:
        """Whether the answer says which of the two it is."""
        return self.proven or self.failure is not None

    def _run(self) -> None:
        try:
            self._ask()
        finally:
            self._over.set()
            if self.settled:  # else it is asked again, at the loop's own pace
                self._told()

    def _ask(self) -> None:
        """A healthy server can still die on its first request (a head size its kernels lack)."""
        import httpx  # noqa: PLC0415

        path, body = self._request
        try:
            answer = self._client.post(path, json=body, timeout=self._seconds)
        except (httpx.HTTPError, RuntimeError):  # httpx has no class of its own for a client that was closed
            return
        if answer.status_code == 200:
            self.proven = True
        elif answer.status_code not in _TRANSIENT:
            self.failure = EngineFailed(
                "engine-probe-failed",
                f"the engine started but refused its first request (HTTP {answer.status_code})",
                why=answer.text[:500],
                hint=f"lyc logs {self._name}",
            )
