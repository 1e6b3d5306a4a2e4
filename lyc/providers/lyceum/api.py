"""The calls of Lyceum's API that lyc makes, as they are documented; `translate` reads the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from lyc.providers.http import Api
from lyc.records.secret import Secret

CREATE_SECONDS = 150.0
"""It holds the request until the machine is placed: its own command line waits as long."""


class LyceumApi:
    """Each method is one request; errors are those of `lyc.providers.http.Api`, Refused among them."""

    def __init__(
        self,
        key: Secret,
        organisation: str | None,
        endpoint: str,
        *,
        timeout: float = 30.0,
        create_timeout: float = CREATE_SECONDS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        def headers() -> dict[str, str]:
            org = {"X-Org-Slug": organisation} if organisation else {}
            return {"Authorization": f"Bearer {key.reveal()}", **org}

        self.http = Api(endpoint, title="Lyceum", name="lyceum", headers=headers, timeout=timeout, pause=pause)
        self._create_timeout = create_timeout

    def organisation(self) -> Any:
        return self.http.get("/user/org")

    def prices(self) -> Any:
        return self.http.get("/pricing")

    def availability(self) -> Any:
        return self.http.get("/vms/availability")

    def create(self, body: Mapping[str, Any]) -> Any:
        """Raises Refused for 5xx too: having no capacity is a 500."""
        return self.http.call(
            "POST",
            "/vms/create",
            json=body,
            timeout=self._create_timeout,
            refused=lambda status: status not in (401, 403, 429) and status >= 400,
        )

    def machines(self) -> Any:
        """All, dead ones too: a status that the filters do not know might be left out by one of them."""
        kinds = ("provisioning", "ready", "failed", "terminated")
        return self.http.get("/vms/list", params={f"include_{kind}": "true" for kind in kinds})

    def machine(self, identity: str) -> Any:
        return self.http.get(f"/vms/{quote(identity, safe='')}/status")

    def delete(self, identity: str) -> Any:
        return self.http.call("DELETE", f"/vms/{quote(identity, safe='')}", again=True)

    def volumes(self) -> Any:
        return self.http.get("/storage/block")

    def delete_volume(self, identity: str) -> None:
        self.http.call("DELETE", f"/storage/block/{quote(identity, safe='')}", again=True)
