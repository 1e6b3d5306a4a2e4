"""Deployments → their replicas: one cluster each, which replicas are well, and what becomes of those that are not."""

from __future__ import annotations

from pathlib import Path

from lyc.gateway.keys import check_name
from lyc.gateway.polling import OFTEN
from lyc.gateway.xds import Json, from_file, typed
from lyc.records.gateway import Endpoint, Route

CONNECT_SECONDS = 5
UPSTREAM_IDLE_SECONDS = 4
"""Below the 5 s after which vLLM closes an idle connection, so that no request is written into a closing one."""


def cluster_name(deployment: str) -> str:
    return f"deployment-{deployment}"


def endpoints_file(deployment: str) -> str:
    """The file of a deployment's replicas; `*` gives the pattern of them all."""
    return f"eds-{deployment if deployment == '*' else check_name('deployment', deployment)}.json"


def cluster(route: Route, files: Path, every: str = OFTEN) -> Json:
    """A deployment's cluster. Its replicas come by EDS, because a changed cluster forgets who was well.

    every: how often Envoy looks at the file with its replicas.
    """
    least = typed(
        "extensions.load_balancing_policies.least_request.v3.LeastRequest",
        choice_count=2,
        # Of the shares of unequal weights alone: a canary with few requests must not get more than its share for that.
        active_request_bias={"default_value": 0.0, "runtime_key": "lyc.active_request_bias"},
    )
    policy = {"typed_extension_config": {"name": "envoy.load_balancing_policies.least_request", "typed_config": least}}
    return typed(
        "config.cluster.v3.Cluster",
        name=cluster_name(route.deployment),
        type="EDS",
        eds_cluster_config={"eds_config": from_file(files, endpoints_file(route.deployment), every=every)},
        connect_timeout=f"{CONNECT_SECONDS}s",
        load_balancing_policy={"policies": [policy]},
        # A replica that left the list takes nothing new at once, whatever its health was.
        ignore_health_on_host_removal=True,
        # Panic would send requests to replicas known to be dead; the merge window would hide a new one for a second.
        common_lb_config={"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        health_checks=[_health_check()],
        outlier_detection=_outlier_detection(),
        circuit_breakers={"thresholds": [NO_LIMIT]},
        typed_extension_protocol_options=http_options(),
    )


def endpoints(route: Route) -> Json:
    """The replicas of a deployment, in a stable order."""
    name = cluster_name(route.deployment)
    ordered = sorted(route.endpoints, key=lambda endpoint: endpoint.replica)
    localities = [{"lb_endpoints": [_endpoint(endpoint) for endpoint in ordered]}] if ordered else []
    return typed(
        "config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=name,
        endpoints=localities,
        # One replica that is well takes all: by default Envoy would send a share past it once most are unwell.
        policy={"overprovisioning_factor": 1_000_000},
    )


def http_options() -> Json:
    """HTTP/1.1 to what a cluster consists of."""
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        common_http_protocol_options={"idle_timeout": f"{UPSTREAM_IDLE_SECONDS}s"},
        explicit_http_config={"http_protocol_options": {}},
    )
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}


def _endpoint(endpoint: Endpoint) -> Json:
    return {
        "endpoint": {
            "address": {"pipe": {"path": endpoint.socket}},
            # The name under which the admin interface and the access log show it.
            "hostname": check_name("replica", endpoint.replica),
        },
        "health_status": "DRAINING" if endpoint.draining else "UNKNOWN",
        "load_balancing_weight": max(1, endpoint.weight),
    }


NO_LIMIT: Json = {
    "priority": "DEFAULT",
    "max_connections": 100_000,
    "max_pending_requests": 100_000,
    "max_requests": 100_000,
    "max_retries": 10_000,
}


def _health_check() -> Json:
    """Quick to find a new replica, slow to condemn: an engine whose CPUs are all busy may take seconds, and is well."""
    return {
        "timeout": "5s",
        "interval": "1s",
        "unhealthy_interval": "0.2s",
        # Before its first request a deployment has intervals of its own.
        "no_traffic_interval": "0.2s",
        "no_traffic_healthy_interval": "1s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/health", "host": "lyc"},
    }


def _outlier_detection() -> Json:
    """Only what the gateway itself saw fail (no connection, reset) counts; an engine's own 5xx never ejects it."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "base_ejection_time": "2s",
        "interval": "1s",
        "max_ejection_percent": 100,
    }
