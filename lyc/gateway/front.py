"""What a deployment's requests go to: its replicas, and behind them the activator.

Two clusters under an aggregate one, and not two priorities of one cluster: the activator must never be condemned by
what is right for replicas (health checks, ejection of who fails), and its place must not depend on whether there are
any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from lyc.gateway.clusters import CONNECT_SECONDS, NO_LIMIT, cluster_name, http_options
from lyc.gateway.xds import Json, typed
from lyc.records.gateway import Route

RESERVED = "x-lyc-"
"""Headers between the gateway and the activator; callers may say two of them. Engines see them and do not care: Envoy
cannot tell the members of an aggregate cluster apart when it changes headers."""
ACTIVATOR = "activator"
"""The name of the activator in the access log, where a replica's would stand."""
DEPLOYMENT = f"{RESERVED}deployment"
ARRIVED = f"{RESERVED}arrived"
"""When the request came, epoch seconds; the same at every try."""
REQUEST = f"{RESERVED}request"
"""Which request it is, the same at every try. `x-request-id` will not do: callers may choose that."""
TRY = "x-envoy-attempt-count"
"""1 at the first try."""
RETRY_IN = f"{RESERVED}retry-in"
"""In an answer: whole seconds after which the gateway shall try again."""
WAKE_TIMEOUT = f"{RESERVED}wake-timeout"
KEEPALIVE = f"{RESERVED}keepalive"
FROM_CALLERS = (WAKE_TIMEOUT, KEEPALIVE)
FINAL = "x-envoy-ratelimited"
"""In an answer: the gateway shall not try again (the only header of an answer by which Envoy can be told)."""

ATTEMPTS = 16
"""Tries of one request. The activator ends it earlier (`lyc.gateway.verdict`); while there is none, they last for about
eight seconds, in which another may come: a restart of the controller loses nobody."""
IMPATIENT_ATTEMPTS = 5


def front_name(route: Route) -> str:
    """The cluster to which the deployment's requests go."""
    return cluster_name(route.deployment) if route.activator is None else f"front-{route.deployment}"


def fronts(routes: Iterable[Route]) -> list[Json]:
    """The clusters that bring in the activator; none where no route has one."""
    with_one = [(route, route.activator) for route in routes if route.activator is not None]
    sockets = sorted({socket for _, socket in with_one})
    return [*(_activator(socket) for socket in sockets), *(_front(route, socket) for route, socket in with_one)]


def trusted_headers(route: Route) -> list[Json]:
    """What the activator must know of a request and no caller may say."""
    values = {DEPLOYMENT: route.deployment, ARRIVED: "%START_TIME(%s.%3f)%", REQUEST: "%UNIQUE_ID%"}
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in values.items()
    ]


def impatient() -> Json:
    """Matches the requests of callers that will not wait at all."""
    return {"name": WAKE_TIMEOUT, "string_match": {"exact": "0"}}


def retry_policy(base: Json, attempts: int) -> Json:
    """`base`, with the way to the activator and back: a try goes where the one before did not."""
    previous = typed("extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", update_frequency=1)
    return {
        **base,
        "num_retries": attempts - 1,
        "retry_back_off": {"base_interval": "0.02s", "max_interval": "2s"},
        "retry_priority": {"name": "envoy.retry_priorities.previous_priorities", "typed_config": previous},
        "rate_limited_retry_back_off": {
            "reset_headers": [{"name": RETRY_IN, "format": "SECONDS"}],
            "max_interval": "10s",
        },
    }


def _activator_name(socket: str) -> str:
    return f"{ACTIVATOR}-{hashlib.sha256(socket.encode()).hexdigest()[:8]}"


def _activator(socket: str) -> Json:
    name = _activator_name(socket)
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket}}, "hostname": ACTIVATOR}}
    return typed(
        "config.cluster.v3.Cluster",
        name=name,
        type="STATIC",
        connect_timeout=f"{CONNECT_SECONDS}s",
        load_assignment={"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        circuit_breakers={"thresholds": [NO_LIMIT]},
        typed_extension_protocol_options=http_options(),
    )


def _front(route: Route, socket: str) -> Json:
    members = typed(
        "extensions.clusters.aggregate.v3.ClusterConfig",
        clusters=[cluster_name(route.deployment), _activator_name(socket)],
    )
    return typed(
        "config.cluster.v3.Cluster",
        name=front_name(route),
        connect_timeout=f"{CONNECT_SECONDS}s",
        lb_policy="CLUSTER_PROVIDED",
        cluster_type={"name": "envoy.clusters.aggregate", "typed_config": members},
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
        circuit_breakers={"thresholds": [NO_LIMIT]},  # of these, Envoy counts retries here and all else at the members
    )
