"""RunPod's calls: REST v1 for pods, GraphQL for what they cost and where there are any."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from lyc.errors import Failed
from lyc.providers.http import Api, Refused
from lyc.records.secret import Secret

REST = "https://rest.runpod.io/v1"
GRAPHQL = "https://api.runpod.io/graphql"

MYSELF = "query { myself { id email } }"
MARKET = """
query {
  gpuTypes {
    id displayName memoryInGb
    secureCloud communityCloud securePrice communityPrice secureSpotPrice communitySpotPrice
    maxGpuCountSecureCloud maxGpuCountCommunityCloud
    lowestPrice(input: {gpuCount: 1}) { minVcpu minMemory stockStatus }
  }
  dataCenters { id listed gpuAvailability { gpuTypeId stockStatus } }
}
"""
CREATE_SECONDS = 120.0
"""It answers when the pod has a place; nobody says how long that may take at most."""
_DENIED = {"UNAUTHENTICATED", "FORBIDDEN"}
_TITLE, _NAME = "RunPod", "runpod"


class Calls:
    """endpoint: in place of both addresses, which are then its `/v1` and `/graphql`."""

    def __init__(
        self,
        key: Secret,
        endpoint: str | None,
        *,
        timeout: float = 30.0,
        create_timeout: float = CREATE_SECONDS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._create_timeout = create_timeout
        self.rest_base = f"{endpoint}/v1" if endpoint else REST
        self.graphql_base = f"{endpoint}/graphql" if endpoint else GRAPHQL

        def headers() -> Mapping[str, str]:
            return {"Authorization": f"Bearer {key.reveal()}"}

        self.rest = Api(self.rest_base, title=_TITLE, name=_NAME, headers=headers, timeout=timeout, pause=pause)
        site, _, self._path = self.graphql_base.rpartition("/")
        self.graphql = Api(site, title=_TITLE, name=_NAME, headers=headers, timeout=timeout, pause=pause)

    def close(self) -> None:
        self.rest.close()
        self.graphql.close()

    def pods(self, name: str | None = None) -> Any:
        """All pods, or those of one name. There are no pages."""
        return self.rest.get("/pods", params={"includeMachine": "true", **({"name": name} if name else {})})

    def pod(self, identity: str) -> Any:
        return self.rest.get(f"/pods/{identity}", params={"includeMachine": "true"})

    def create(self, body: Mapping[str, Any]) -> Any:
        """Raises Refused for 5xx too: that is how RunPod says that it is sold out."""
        return self.rest.call(
            "POST", "/pods", json=body, timeout=self._create_timeout, refused=lambda code: code not in _COMMON
        )

    def delete(self, identity: str) -> None:
        self.rest.call("DELETE", f"/pods/{identity}", again=True)

    def billing(self, since: str, until: str) -> Any:
        params = {"startTime": since, "endTime": until, "bucketSize": "hour", "grouping": "podId"}
        return self.rest.get("/billing/pods", params=params)

    def query(self, text: str) -> Mapping[str, Any]:
        """`data` of a GraphQL query that only reads. An error comes with 200, and is known by its code."""
        path = f"/{self._path}"
        try:
            answer = self.graphql.call("POST", path, json={"query": text}, again=True)
        except Refused as refused:
            raise self.graphql.refusal(refused, path) from refused
        if not isinstance(answer, Mapping):
            raise self.graphql.odd(path, "the answer is no object")
        errors = answer.get("errors")
        if errors:
            first = errors[0] if isinstance(errors, list) and isinstance(errors[0], Mapping) else {}
            code = str((first.get("extensions") or {}).get("code", ""))
            why = " ".join(str(first.get("message", "")).split())[:300]
            if code in _DENIED:
                raise self.graphql.denied(f"it answers {code} {why}".strip(), path)
            if code == "INTERNAL_SERVER_ERROR":
                raise self.graphql.unreachable(f"it answers {code} {why}".strip())
            raise Failed("provider-refused", f"{_TITLE} refuses the request", why=f"{code} {why}".strip(), where=path)
        data = answer.get("data")
        if not isinstance(data, Mapping):
            raise self.graphql.odd(path, "the answer has no data")
        return data


_COMMON = {*range(200, 300), 401, 403, 429}
