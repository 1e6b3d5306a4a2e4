"""Runs inside an engine that can sleep, as vLLM's outermost middleware: it closes what sleep mode would open.

vLLM has the routes of its sleep mode only in a mode for developers, which opens others besides (`/collective_rpc`,
`/update_weights` …), all without a key. So everything needs the engine's key, but what tells of health, and of the
routes outside `/v1` only the few that lyc calls are there at all.

It is written beside the engine's configuration and imported from there: the standard library alone, nothing of lyc.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

OPEN = frozenset({"/health", "/metrics"})
KEYED = frozenset({"/sleep", "/wake_up", "/is_sleeping", "/classify"})
CONFIG = "engine.yaml"
_Event = MutableMapping[str, Any]
_Send = Callable[[_Event], Awaitable[None]]
_App = Callable[[_Event, Callable[[], Awaitable[_Event]], _Send], Awaitable[None]]


class Guard:
    """ASGI. The key is the one in the configuration beside this file."""

    def __init__(self, app: _App) -> None:
        self._app = app
        key = str(json.loads(Path(__file__).with_name(CONFIG).read_text())["api-key"])
        self._digest = _digest(f"Bearer {key}".encode())

    async def __call__(self, scope: _Event, receive: Callable[[], Awaitable[_Event]], send: _Send) -> None:
        """Pass it on, or answer 401 or 404."""
        status = 200 if scope["type"] == "lifespan" else self._status(scope)
        if status == 200:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    def _status(self, scope: _Event) -> int:
        path = str(scope["path"])
        if path in OPEN:
            return 200
        given = next((value for name, value in scope["headers"] if name.lower() == b"authorization"), b"")
        if not hmac.compare_digest(_digest(given), self._digest):
            return 401
        return 200 if path.startswith("/v1/") or path in KEYED else 404


def _digest(header: bytes) -> bytes:
    return hashlib.sha256(header).digest()
