"""SkyPilot's API server over HTTP: what is asked becomes a request of its own, whose outcome is fetched.

Shapes as version 0.14 has them. What is pickled in its answers (handles, exceptions) is never read: it would run code.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from lyc.errors import UsageError
from lyc.providers.http import Api, Refused
from lyc.records.secret import MASK, Secret

REQUEST = "x-skypilot-request-id"
FIELDS = ("request_id", "name", "status", "created_at", "cluster_name")
OUTCOME = "/api/get"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 600


class Unfulfilled(Exception):
    """A request that the server took, and that failed. kind: name of its exception. text: masked, on one line."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


def _outcome_refused(status: int) -> bool:
    """The server tells of a failed request as 500, with the request in it."""
    return status == 500 or (400 <= status < 500 and status not in (401, 403, 429))


class SkyApi:
    """Errors are those of `Api`, Refused among them, and Unfulfilled.

    endpoint: may hold a user and a password. Raises UsageError `invalid-endpoint`.
    """

    def __init__(
        self,
        endpoint: Secret,
        token: Secret | None,
        *,
        timeout: float = 120.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        base, basic, hidden = _parted(endpoint)
        self._hidden = [one.reveal() for one in ([*hidden, token] if token else hidden)]
        headers = {"Authorization": f"Basic {basic.reveal()}"} if basic else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        self.http = Api(
            base, title="SkyPilot", name="sky", headers=lambda: headers, timeout=timeout, pause=pause, hidden=hidden
        )

    def version(self) -> str:
        health = self.http.get("/api/health")
        return str(health.get("version") or "") if isinstance(health, Mapping) else ""

    def clouds(self) -> Any:
        """Names of those that it may use."""
        return self.outcome(self._asked("GET", "/enabled_clouds", again=True))

    def accelerators(self, clouds: list[str]) -> Any:
        """What they sell with a GPU, in each region, by the name of the card."""
        body = {"gpus_only": True, "clouds": clouds, "all_regions": True}
        return self.outcome(self._asked("POST", "/list_accelerators", body, again=True))

    def clusters(self, name: str | None = None) -> Any:
        """All, or the one of this name; as its database has them, which it renews by itself."""
        body = {
            "cluster_names": None if name is None else [name],
            "all_users": True,
            "refresh": "NONE",
            "include_credentials": False,
            "include_handle": False,
        }
        return self.outcome(self._asked("POST", "/status", body, again=True))

    def journal(self, name: str | None = None) -> Any:
        """The requests that are not done yet, or all of one cluster, done or not; the newest first."""
        params: dict[str, Any] = {"fields": list(FIELDS), "all_status": name is not None}
        return self.http.get("/api/status", params=params if name is None else params | {"cluster_name": name})

    def endpoints(self, name: str, port: int) -> Any:
        """Port → `address:port`, of a cluster that is up."""
        return self.outcome(self._asked("POST", "/endpoints", {"cluster": name, "port": port}, again=True))

    def launch(self, name: str, task: Mapping[str, Any], *, timeout: float | None = None) -> str:
        """The id of the request. A task is YAML, of which JSON is a part."""
        body = {"task": json.dumps(task), "cluster_name": name, "quiet_optimizer": True}
        return self._asked("POST", "/launch", body, timeout=timeout)

    def down(self, name: str) -> str:
        return self._asked("POST", "/down", {"cluster_name": name}, again=True)

    def cancel(self, requests: list[str]) -> str:
        return self._asked("POST", "/api/cancel", {"request_ids": requests}, again=True)

    def outcome(self, request: str) -> Any:
        """What came of it, waited for. Raises Unfulfilled."""
        params = {"request_id": request}
        try:
            answer = self.http.call("GET", OUTCOME, params=params, again=True, refused=_outcome_refused)
        except Refused as refused:
            if refused.status != 500:
                raise
            answer = refused.body.get("detail") if isinstance(refused.body, Mapping) else None
            if not isinstance(answer, Mapping):
                raise self.http.unreachable(f"it answers 500 {refused.text}") from refused
        if not isinstance(answer, Mapping) or "status" not in answer:
            raise self.http.odd(OUTCOME, "it is not a request")
        error = self._loaded(answer.get("error"))
        if isinstance(error, Mapping):
            raise Unfulfilled(str(error.get("type") or ""), self._told(str(error.get("message") or "")))
        if answer["status"] != "SUCCEEDED":
            raise Unfulfilled(str(answer["status"]), f"the request {request} was {str(answer['status']).lower()}")
        return self._loaded(answer.get("return_value"))

    def _asked(
        self, method: str, path: str, body: object = None, *, again: bool = False, timeout: float | None = None
    ) -> str:
        heard: dict[str, str] = {}

        def hear(headers: Mapping[str, str]) -> None:
            heard["request"] = headers.get(REQUEST, "")

        self.http.call(method, path, json=body, again=again, timeout=timeout, heard=hear)
        if not heard["request"]:
            raise self.http.odd(path, f"there is no {REQUEST} in its headers")
        return heard["request"]

    def _loaded(self, text: object) -> Any:
        try:
            return json.loads(text) if isinstance(text, str) else None
        except ValueError as error:
            raise self.http.odd(OUTCOME, "what it returned is not JSON") from error

    def _told(self, text: str) -> str:
        for word in self._hidden:
            text = text.replace(word, MASK)
        return " ".join(_COLOURS.sub("", text).split())[:_LONGEST]


def _parted(endpoint: Secret) -> tuple[str, Secret | None, list[Secret]]:
    """The address without user and password, those two as Basic takes them, and what must never show."""
    try:
        parts = urlsplit(endpoint.reveal().strip().rstrip("/"))
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            "invalid-endpoint",
            "the address of SkyPilot's API server is no address",
            why="it must be http://… or https://…",
            where="SKYPILOT_API_SERVER_ENDPOINT",
            hint="lyc providers login sky",
        )
    base = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    if parts.username is None:
        return base, None, []
    password = unquote(parts.password or "")
    basic = base64.b64encode(f"{unquote(parts.username)}:{password}".encode()).decode()
    return base, Secret(basic), [Secret(word) for word in (parts.password or "", password) if word]
