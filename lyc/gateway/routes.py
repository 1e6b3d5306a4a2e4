"""Paths → deployments, the engine's key put in on the way, and what is tried again."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from lyc.gateway.access import RBAC, RBAC_PER_ROUTE, only_with
from lyc.gateway.front import (
    ATTEMPTS,
    FINAL,
    IMPATIENT_ATTEMPTS,
    RETRY_IN,
    front_name,
    impatient,
    retry_policy,
    trusted_headers,
)
from lyc.gateway.keys import AUTH, LUA, check_name
from lyc.gateway.xds import Json, typed
from lyc.records.gateway import Route

ROUTE_CONFIG = "lyc"
HEALTH_PATH = "/healthz"
IDLE_SECONDS = 3600
"""A request on which no byte moves for this long is given up: a long prompt on a slow machine is silent for minutes."""

_DROPPED_REQUEST_HEADERS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
    "x-real-ip",
    "x-envoy-external-address",
)
_DROPPED_RESPONSE_HEADERS = ("server", "via", "x-powered-by", "x-envoy-upstream-service-time", FINAL, RETRY_IN)


def route_config(routes: Iterable[Route]) -> Json:
    """Envoy's routes: one set a deployment, and a refusal of every other path."""
    routes = sorted(routes, key=lambda route: route.deployment)
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [_health(), *chain.from_iterable(map(_deployment, routes))],
        "retry_policy": _retry(),
        "include_request_attempt_count": any(route.activator is not None for route in routes),  # for the activator
    }
    return typed(
        "config.route.v3.RouteConfiguration",
        name=ROUTE_CONFIG,
        virtual_hosts=[host],
        request_headers_to_remove=list(_DROPPED_REQUEST_HEADERS),
        response_headers_to_remove=list(_DROPPED_RESPONSE_HEADERS),
    )


def _health() -> Json:
    return {
        "match": {"path": HEALTH_PATH},
        "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}},
        "typed_per_filter_config": {AUTH: typed(f"{LUA}PerRoute", disabled=True), RBAC: typed(RBAC_PER_ROUTE)},
    }


def _deployment(route: Route) -> list[Json]:
    """Its route; with an activator, one before it for callers that will not wait: they must not wait for it either."""
    name = check_name("deployment", route.deployment)
    bearer = "Bearer " + route.engine_key.reveal().replace("%", "%%")  # `%` begins a command in Envoy's header values
    header = {"header": {"key": "authorization", "value": bearer}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    # The key check has already compared the names; this holds even if a fault in it let another path through.
    guard = typed(RBAC_PER_ROUTE, rbac={"rules": only_with("deployment", {"string_match": {"exact": name}})})
    match: Json = {"prefix": f"/{name}/v1/"}
    action: Json = {
        "cluster": front_name(route),
        "prefix_rewrite": "/v1/",
        "timeout": "0s",
        "idle_timeout": f"{IDLE_SECONDS}s",
    }
    common: Json = {"typed_per_filter_config": {RBAC: guard}}
    if route.activator is None:
        return [{**common, "match": match, "route": action, "request_headers_to_add": [header]}]
    common["request_headers_to_add"] = [header, *trusted_headers(route)]
    hasty = {"match": {**match, "headers": [impatient()]}, "route": _retried(action, IMPATIENT_ATTEMPTS)}
    return [{**common, **hasty}, {**common, "match": match, "route": _retried(action, ATTEMPTS)}]


def _retried(action: Json, attempts: int) -> Json:
    return {**action, "retry_policy": retry_policy(_retry(), attempts)}


def _retry() -> Json:
    """Tried again elsewhere only while nothing of an answer has reached the client.

    Twice and no more: a request that kills the engine it reaches must not kill every replica there is.
    """
    previous_hosts = typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
    return {
        "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
        "retriable_status_codes": [503],
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": previous_hosts}
        ],
        "host_selection_retry_max_attempts": 12,
    }
