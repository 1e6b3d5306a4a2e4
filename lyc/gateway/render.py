"""GatewayConfig → the files that Envoy reads. Pure: same value, same bytes, so unchanged files are never rewritten.

bootstrap.json        where everything else is, and the admin socket; read once, at the start
lds.json              the listener: host and port only. A change ends the streams of the old listener
rds.json              a route per deployment, with the engine's key: secret
cds.json              a cluster per deployment, and where there is an activator, one of it and one over both
eds-<deployment>.json its replicas
ecds-auth.json        the key check with the table of hashes     ecds-usage.json  the token counter
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lyc.gateway import clusters, keys
from lyc.gateway.front import fronts
from lyc.gateway.listener import listener
from lyc.gateway.polling import OFTEN
from lyc.gateway.routes import route_config
from lyc.gateway.xds import Json, from_file, resources, typed
from lyc.records.gateway import GatewayConfig

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
    every = polls or {}
    own = [clusters.cluster(one, layout.files, every.get(one.deployment, OFTEN)) for one in routes]
    files = {
        BOOTSTRAP: json.dumps(_bootstrap(layout), indent=1) + "\n",
        LDS: resources([listener(config.host, config.port, layout.files, layout.access_log)]),
        ECDS_AUTH: resources([keys.auth_filter(config.keys)]),
        ECDS_USAGE: resources([keys.usage_filter()]),
        RDS: resources([route_config(routes)]),
        CDS: resources([*own, *fronts(routes)]),
    }
    for route in routes:
        files[clusters.endpoints_file(route.deployment)] = resources([clusters.endpoints(route)])
    return files


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
