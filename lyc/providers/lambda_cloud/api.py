"""Lambda's calls that lyc makes, as its document says them (https://cloud.lambda.ai/api/v1/openapi.json, 1.10.0)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from lyc.providers.http import Api
from lyc.records.secret import Secret

V1 = "/api/v1"
LAUNCH = f"{V1}/instance-operations/launch"
LAUNCH_SECONDS = 12.0
"""Between two launches: its limit."""


class LambdaApi:
    """Each method is one request, and gives what stands under `data`; errors are those of `Api`, Refused among them."""

    def __init__(
        self,
        key: Secret,
        endpoint: str,
        *,
        timeout: float = 30.0,
        create_timeout: float = 120.0,
        pause: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        def headers() -> dict[str, str]:
            return {"Authorization": f"Bearer {key.reveal()}"}

        self.http = Api(endpoint, title="Lambda", name="lambda", headers=headers, timeout=timeout, pause=pause)
        self._create_timeout = create_timeout
        self._monotonic = monotonic
        self._pause = pause
        self._lock = threading.Lock()
        self._free_at = float("-inf")

    def kinds(self) -> Any:
        return self._data(self.http.get(f"{V1}/instance-types"), f"{V1}/instance-types")

    def machines(self) -> Any:
        """All of the account, on one page."""
        return self._data(self.http.get(f"{V1}/instances"), f"{V1}/instances")

    def machine(self, identity: str) -> Any:
        path = f"{V1}/instances/{quote(identity, safe='')}"
        return self._data(self.http.get(path), path)

    def launch(self, body: Mapping[str, Any]) -> Any:
        """Waits for its turn before."""
        with self._lock:
            now = self._monotonic()
            wait = max(self._free_at - now, 0.0)
            self._free_at = now + wait + LAUNCH_SECONDS
        if wait:
            self._pause(wait)
        return self._data(self.http.call("POST", LAUNCH, json=body, timeout=self._create_timeout), LAUNCH)

    def terminate(self, identity: str) -> None:
        self.http.call("POST", f"{V1}/instance-operations/terminate", json={"instance_ids": [identity]}, again=True)

    def keys(self) -> Any:
        return self._data(self.http.get(f"{V1}/ssh-keys"), f"{V1}/ssh-keys")

    def add_key(self, name: str, public_key: str) -> Any:
        path = f"{V1}/ssh-keys"
        return self._data(self.http.call("POST", path, json={"name": name, "public_key": public_key}), path)

    def remove_key(self, identity: str) -> None:
        self.http.call("DELETE", f"{V1}/ssh-keys/{quote(identity, safe='')}", again=True)

    def _data(self, answer: Any, path: str) -> Any:
        if not isinstance(answer, Mapping) or "data" not in answer:
            raise self.http.odd(path, "there is no data in it")
        return answer["data"]
