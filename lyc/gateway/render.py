"""GatewayConfig → the files that Envoy reads. Pure: same value, same bytes, so unchanged files are never rewritten.

bootstrap.json        where everything else is, and the admin socket; read once, at the start
lds.json              the listener: host and port only. A change ends the streams of the old listener
rds.json              a route per deployment, with the engine's key: secret
cds.json              a cluster per deployment, and where there is an activator, one of it and one over both
eds-<deployment>.json its replicas
ecds-auth.json        the key check with the table of hashes     ecds-usage.json  the token counter
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lyc.gateway import clusters, keys
from lyc.gateway.front import fronts
from lyc.gateway.listener import listener
from lyc.gateway.polling import OFTEN
from lyc.gateway.routes import route_config
from lyc.gateway.xds import Json, from_file, resource, resources, response, typed
from lyc.records.gateway import GatewayConfig, KeyEntry, Route

BOOTSTRAP, LDS, RDS, CDS = "bootstrap.json", "lds.json", "rds.json", "cds.json"
ECDS_AUTH, ECDS_USAGE = "ecds-auth.json", "ecds-usage.json"
MAX_CONNECTIONS = 50_000


@dataclass(frozen=True, slots=True)
class Layout:
    """Where Envoy finds and leaves things. files: the watched folder; all absolute. admin_socket: at most 107 bytes."""

    files: Path
    admin_socket: Path
    access_log: Path


def render(config: GatewayConfig, layout: Layout, polls: Mapping[str, str] | None = None) -> dict[str, str]:
    """File name → content. polls: how often Envoy looks at the replicas of a deployment; else often.

    Raises `UsageError` for a host that is not an address, `Bug` for an impossible name.
    """
    routes = sorted(config.routes, key=lambda route: route.deployment)
    frames = tuple(dataclasses.replace(route, endpoints=()) for route in routes)
    every = polls or {}
    files = {
        BOOTSTRAP: json.dumps(_bootstrap(layout), indent=1) + "\n",
        LDS: resources([listener(config.host, config.port, layout.files, layout.access_log)]),
        ECDS_AUTH: _auth(config.keys),
        ECDS_USAGE: resources([keys.usage_filter()]),
        RDS: _routes(frames),
        CDS: response(
            [_cluster(one, layout.files, every.get(one.deployment, OFTEN)) for one in frames] + _fronts(frames)
        ),
    }
    for route in routes:
        files[clusters.endpoints_file(route.deployment)] = _endpoints(route)
    return files


# A change is of one deployment, and a thousand take a second: what was rendered of the others is still known. What is
# made of all of them is known of the last ones, with the secrets that they hold, as `GatewayConfig` does.


@lru_cache(maxsize=2)
def _auth(entries: tuple[KeyEntry, ...]) -> str:
    return resources([keys.auth_filter(entries)])


@lru_cache(maxsize=2)
def _routes(frames: tuple[Route, ...]) -> str:
    return resources([route_config(frames)])


@lru_cache(maxsize=2)
def _fronts(frames: tuple[Route, ...]) -> list[str]:
    return [resource(one) for one in fronts(frames)]


@lru_cache(maxsize=1 << 13)
def _cluster(frame: Route, files: Path, every: str) -> str:
    return resource(clusters.cluster(frame, files, every))


@lru_cache(maxsize=1 << 13)
def _endpoints(route: Route) -> str:
    return resources([clusters.endpoints(route)])


def _bootstrap(layout: Layout) -> Json:
    limit = typed(
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=MAX_CONNECTIONS,
    )
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": limit}
    return {
        "node": {"id": "lyc", "cluster": "lyc"},
        "admin": {
            "address": {"pipe": {"path": str(layout.admin_socket), "mode": 0o600}},
            "ignore_global_conn_limit": True,
        },
        "dynamic_resources": {
            "lds_config": from_file(layout.files, LDS),
            "cds_config": from_file(layout.files, CDS),
        },
        "overload_manager": {"resource_monitors": [monitor]},
    }
