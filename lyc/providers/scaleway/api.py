"""The calls of Scaleway's Instance, Block Storage and Marketplace APIs. Everything is JSON as it came."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lyc.providers.http import Api
from lyc.records.secret import Secret

ENDPOINT = "https://api.scaleway.com"
CREATE_SECONDS = 120.0
PAGE = 100
"""Rows of one page: the most that it gives."""
_AT_ONCE = 8
"""Pages of one list that are asked for at the same time."""
_ROUNDS = 3
"""How often a list is begun anew because it changed while it was read."""

Pause = Callable[[float], None]


def _has_a_type(status: int) -> bool:
    # What it means is in the body: 403 may be a quota, and a zone is sold out with whatever status.
    return status >= 400 and status not in (401, 429)


class ScalewayApi:
    """Thin: one method for each call, raising what `Api.call` does, and Refused for 4xx; create and act also for 403
    and 5xx.
    """

    def __init__(
        self,
        secret: Secret,
        project: str,
        *,
        endpoint: str | None,
        timeout: float | None = None,
        pause: Pause = time.sleep,
    ) -> None:
        self._project = project
        self._create_span = CREATE_SECONDS if timeout is None else timeout
        self.http = Api(
            (endpoint or ENDPOINT).rstrip("/"),
            title="Scaleway",
            name="scaleway",
            headers=lambda: {"x-auth-token": secret.reveal()},
            timeout=30.0 if timeout is None else timeout,
            pause=pause,
            hidden=(secret,),
        )

    def close(self) -> None:
        self.http.close()

    def types(self, zone: str) -> dict[str, Any]:
        """Rows by the name of the type."""
        return self._all(f"/instance/v1/zones/{zone}/products/servers", "servers")

    def availability(self, zone: str) -> dict[str, Any]:
        return self._all(f"/instance/v1/zones/{zone}/products/servers/availability", "servers")

    def images(self, zone: str, label: str) -> Any:
        params = {"zone": zone, "image_label": label, "type": "instance_sbs", "page_size": PAGE}
        return self.http.get("/marketplace/v2/local-images", params=params)

    def first_servers(self, zone: str) -> Any:
        params = {"project": self._project, "per_page": 1}
        return self.http.get(f"/instance/v1/zones/{zone}/servers", params=params)

    def servers(self, zone: str) -> dict[str, Any]:
        """All of the project, by id, in whatever state, whatever their tags: those can be edited."""
        return self._all(f"/instance/v1/zones/{zone}/servers", "servers", project=self._project)

    def server(self, zone: str, identity: str) -> Any:
        return self.http.get(_server(zone, identity))

    def create(self, zone: str, body: Mapping[str, object]) -> Any:
        path, whole = f"/instance/v1/zones/{zone}/servers", {**body, "project": self._project}
        return self.http.call("POST", path, json=whole, refused=_has_a_type, timeout=self._create_span)

    def set_user_data(self, zone: str, identity: str, text: str) -> None:
        path = f"{_server(zone, identity)}/user_data/cloud-init"
        self.http.call("PATCH", path, body=text, again=True, text=True)

    def act(self, zone: str, identity: str, action: str) -> None:
        path = f"{_server(zone, identity)}/action"
        self.http.call("POST", path, json={"action": action}, refused=_has_a_type)

    def drop_server(self, zone: str, identity: str) -> None:
        self.http.call("DELETE", _server(zone, identity), again=True)

    def volumes(self, zone: str) -> dict[str, Any]:
        """Block Storage of the project, by id."""
        return self._all(f"/block/v1/zones/{zone}/volumes", "volumes", size="page_size", project_id=self._project)

    def label_volume(self, zone: str, identity: str, name: str, tags: list[str]) -> None:
        path = f"/block/v1/zones/{zone}/volumes/{identity}"
        self.http.call("PATCH", path, json={"name": name, "tags": tags}, again=True)

    def drop_volume(self, zone: str, identity: str) -> None:
        self.http.call("DELETE", f"/block/v1/zones/{zone}/volumes/{identity}", again=True)

    def drop_local_volume(self, zone: str, identity: str) -> None:
        self.http.call("DELETE", f"/instance/v1/zones/{zone}/volumes/{identity}", again=True)

    def _all(self, path: str, key: str, *, size: str = "per_page", **params: object) -> dict[str, Any]:
        """Every page, by id or name. Raises `provider-unreachable` rather than give fewer than there are."""
        for _ in range(_ROUNDS):
            rows, total = self._round(path, key, {**params, size: PAGE})
            if total is None or len(rows) >= total:
                return rows
        raise self.http.unreachable(f"a list changed each time that it was read: {path}")

    def _round(self, path: str, key: str, params: Mapping[str, object]) -> tuple[dict[str, Any], int | None]:
        """Rows by id, and how many there are in all, if it says so: then all pages after the first are read at once."""
        rows, total = self._page(path, key, params, 1)
        if total is None:
            for number in itertools.count(2):
                found, total = self._page(path, key, params, number)
                rows |= found
                if not found:
                    break
        elif 0 < len(rows) < total:
            pages = range(2, -(-total // len(rows)) + 1)
            with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
                for found, _ in pool.map(lambda number: self._page(path, key, params, number), pages):
                    rows |= found
        return rows, total

    def _page(
        self, path: str, key: str, params: Mapping[str, object], number: int
    ) -> tuple[dict[str, Any], int | None]:
        headers: dict[str, str] = {}
        answer = self.http.call("GET", path, params={**params, "page": number}, again=True, heard=headers.update)
        found = answer[key]
        rows = found if isinstance(found, dict) else {str(row["id"]): row for row in found}
        return dict(rows), _count(headers.get("x-total-count", answer.get("total_count")))


def _server(zone: str, identity: str) -> str:
    return f"/instance/v1/zones/{zone}/servers/{identity}"


def _count(value: object) -> int | None:
    return int(str(value)) if str(value).isdecimal() else None
