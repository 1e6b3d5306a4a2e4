"""The calls of Verda's API v1, with a token that is renewed before it ends. Everything is JSON as it came."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from lyc.errors import NotAuthorised
from lyc.providers.http import Api, Refused
from lyc.records.secret import Secret

ENDPOINT = "https://api.verda.com/v1"
TOKEN = "/oauth2/token"  # noqa: S105  (a path)
_MARGIN = 60.0
"""Seconds before its end from which on a token is not used any more."""

CREATE_SECONDS = 120.0
PAGE = 100

Pause = Callable[[float], None]


def _busy_or_client(status: int) -> bool:
    # 503 is "not enough resources at the moment" where machines are asked for.
    return status == 503 or (400 <= status < 500 and status not in (401, 403, 429))


class Token:
    """OAuth2 client credentials: one bearer token for all threads, asked for when there is none that is good."""

    def __init__(
        self,
        base: str,
        client: Secret,
        secret: Secret,
        *,
        clock: Callable[[], float],
        timeout: float = 30.0,
        pause: Pause = time.sleep,
    ) -> None:
        self._api = Api(base, title="Verda", name="verda", headers=dict, timeout=timeout, pause=pause, hidden=(secret,))
        self._asked_with = (client, secret)
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._ends = 0.0

    def close(self) -> None:
        self._api.close()

    def headers(self) -> Mapping[str, str]:
        """Raises NotAuthorised where the credentials are not accepted, and what `Api.call` raises."""
        with self._lock:
            if self._token is None or self._clock() >= self._ends - _MARGIN:
                self._token, self._ends = self._asked()
            return {"authorization": f"Bearer {self._token.reveal()}"}

    @property
    def held(self) -> Secret | None:
        return self._token

    def drop(self, token: Secret) -> None:
        """Forget it, unless another thread has already got a newer one."""
        with self._lock:
            if self._token is token:
                self._token = None

    def _asked(self) -> tuple[Secret, float]:
        client, secret = self._asked_with
        body = {
            "grant_type": "client_credentials",
            "client_id": client.reveal(),
            "client_secret": secret.reveal(),
        }
        try:
            answer = self._api.call("POST", TOKEN, json=body, again=True)
        except Refused as error:
            # Its SDKs take 400 for a wrong credential too.
            raise self._api.denied(f"it answers {error.status} to the client credentials", TOKEN) from None
        token, span = (answer.get("access_token"), answer.get("expires_in")) if isinstance(answer, dict) else ("", 0)
        if not isinstance(token, str) or not token or not isinstance(span, int | float):
            raise self._api.odd(TOKEN, "there is no token in it")
        return Secret(token), self._clock() + span


class VerdaApi:
    """Thin: one method for each call, raising what `Api.call` does, and Refused for 4xx."""

    def __init__(
        self,
        client: Secret,
        secret: Secret,
        *,
        endpoint: str | None,
        clock: Callable[[], float],
        timeout: float | None = None,
        pause: Pause = time.sleep,
    ) -> None:
        base = (endpoint or ENDPOINT).rstrip("/")
        self._create_span = CREATE_SECONDS if timeout is None else timeout
        span = 30.0 if timeout is None else timeout
        self._token = Token(base, client, secret, clock=clock, timeout=span, pause=pause)
        self.http = Api(
            base, title="Verda", name="verda", headers=self._token.headers, timeout=span, pause=pause, hidden=(secret,)
        )

    def close(self) -> None:
        self.http.close()
        self._token.close()

    def balance(self) -> Any:
        return self._call("GET", "/balance")

    def locations(self) -> Any:
        return self._call("GET", "/locations")

    def instance_types(self, currency: str) -> Any:
        return self._call("GET", "/instance-types", params={"currency": currency})

    def availability(self, *, spot: bool) -> Any:
        return self._call("GET", "/instance-availability", params={"is_spot": str(spot).lower()})

    def images(self, instance_type: str) -> Any:
        return self._call("GET", "/images", params={"instance_type": instance_type})

    def instances(self) -> Any:
        return self._call("GET", "/instances")

    def instance(self, identity: str) -> Any:
        return self._call("GET", f"/instances/{identity}")

    def create(self, body: Mapping[str, object]) -> Any:
        """Raises Refused for 503 too."""
        return self._call(
            "POST", "/instances", json=body, text=True, refused=_busy_or_client, timeout=self._create_span
        )

    def act(self, body: Mapping[str, object]) -> Any:
        """The results, one an instance (202 and 207), or None (204). To delete twice is as once."""
        return self._call("PUT", "/instances", json=body, again=True)

    def volumes(self) -> Any:
        return self._call("GET", "/volumes")

    def drop_volume(self, identity: str) -> None:
        self._call("DELETE", f"/volumes/{identity}", json={"is_permanent": True}, again=True, text=True)

    def public_keys(self) -> Any:
        return self._call("GET", "/ssh-keys")

    def add_key(self, name: str, key: str) -> Any:
        return self._call("POST", "/ssh-keys", json={"name": name, "key": key}, text=True)

    def drop_key(self, identity: str) -> None:
        self._call("DELETE", f"/ssh-keys/{identity}", again=True, text=True)

    def scripts(self, part: str) -> list[Any]:
        """All whose name has that part. The one list that comes in pages, of ten unless one asks for more."""
        rows: list[Any] = []
        for page in itertools.count(1):
            heard: dict[str, str] = {}
            params = {"name": part, "page": page, "pageSize": PAGE}
            found = self._call("GET", "/scripts", params=params, heard=heard.update)
            rows += found
            total = heard.get("x-total-count", "")
            if not found or (total.isdecimal() and len(rows) >= int(total)):
                return rows
        raise AssertionError("unreachable")

    def add_script(self, name: str, script: str) -> Any:
        return self._call("POST", "/scripts", json={"name": name, "script": script}, text=True)

    def drop_script(self, identity: str) -> None:
        self._call("DELETE", f"/scripts/{identity}", again=True, text=True)

    def _call(self, method: str, path: str, **how: Any) -> Any:
        how.setdefault("again", method == "GET")
        held = self._token.held
        try:
            return self.http.call(method, path, **how)
        except NotAuthorised:
            if held is None:
                raise
            # A token may be revoked before its time. A call that was denied has done nothing, so it may be repeated.
            self._token.drop(held)
            return self.http.call(method, path, **how)
