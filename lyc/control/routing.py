"""What the gateway shall do, out of the store: what has not changed since the last time is the same value."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from lyc.control.deps import Deps
from lyc.control.layout import activator_socket, engine_key, engine_key_file
from lyc.records.deployment import Deployment, Release, Replica, ReplicaState
from lyc.records.gateway import Endpoint, GatewayConfig, KeyEntry, Route
from lyc.records.key import Key
from lyc.rollout import Situation, split

_ROUTED = frozenset({ReplicaState.READY, ReplicaState.DRAINING})
_Mark = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Made:
    """since, until: seconds since the epoch between which it holds, as keys expire. number: of the store's change."""

    number: int
    since: float
    until: float
    config: GatewayConfig | None


@dataclass(frozen=True, slots=True)
class _Of:
    """What a route was made of: the store gives the same records as long as they are the same."""

    replicas: Sequence[Replica]
    canary: tuple[Deployment, Sequence[Release]] | None
    key: _Mark

    def same(self, other: _Of) -> bool:
        mine, others = self.canary or (None, None), other.canary or (None, None)
        as_before = all(one is another for one, another in zip(mine, others, strict=True))
        return self.replicas is other.replicas and as_before and self.key == other.key


class Routing:
    """Thread-safe. A thousand deployments with ten thousand keys are asked for once a second, and seldom change."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lock = threading.Lock()
        self._made: _Made | None = None
        self._routes: dict[str, tuple[_Of, Route]] = {}
        self._keys: dict[str, tuple[Key, KeyEntry]] = {}

    def config(self, port: int | None) -> GatewayConfig | None:
        """None while nothing is to be served: a deployment that never had a release needs no gateway."""
        with self._lock:
            store, now, made = self._deps.store, self._deps.clock(), self._made
            number = store.mirror.number
            same = made is not None and made.number == number and made.since <= now < made.until
            if made is None or not same or (made.config is not None and made.config.port != port):
                made = self._made = self._make(number, port, now)
            return made.config

    def _make(self, number: int, port: int | None, now: float) -> _Made:
        store, settings = self._deps.store, self._deps.settings
        deployments = [deployment for deployment in store.deployments() if deployment.target is not None]
        if not deployments or port is None:
            return _Made(-1, now, now, None)
        replicas = store.replicas_by_deployment()
        former, self._routes = self._routes, {}
        for one in deployments:
            self._routes[one.name] = self._route(one, replicas.get(one.name, ()), former.get(one.name))
        keys_of = store.mirror.all(Key)
        held = list(chain.from_iterable(keys_of.get(one.name, ()) for one in deployments))
        good = [key for key in held if key.opens(now)]
        self._keys = {key.id: (key, self._entry(key)) for key in good}
        keys = tuple(entry for _, entry in self._keys.values())
        routes = tuple(route for _, route in self._routes.values())
        config = GatewayConfig(settings.gateway_host, port, routes, keys)
        before = self._made.config if self._made else None
        until = min((key.expires_at for key in good if key.expires_at is not None), default=math.inf)
        return _Made(number, now, until, before if before == config else config)

    def _route(
        self, deployment: Deployment, replicas: Sequence[Replica], former: tuple[_Of, Route] | None
    ) -> tuple[_Of, Route]:
        settings, name = self._deps.settings, deployment.name
        releases = self._deps.store.mirror.of(Release, name)
        canary = None if deployment.canary is None else (deployment, releases)
        of = _Of(replicas, canary, self._mark(name))
        if former is not None and former[0].same(of):
            return former
        key = engine_key(settings, name)
        shares: Mapping[str, int] = {}
        if canary is not None:
            shares = split(Situation(deployment, releases, tuple(replicas)))
        endpoints = tuple(
            Endpoint(one.id, one.socket, draining=one.state is ReplicaState.DRAINING, weight=shares.get(one.id, 1))
            for one in replicas
            if one.state in _ROUTED
        )
        route = Route(name, key, endpoints, activator=str(activator_socket(settings)))
        return of, former[1] if former is not None and former[1] == route else route

    def _entry(self, key: Key) -> KeyEntry:
        known, entry = self._keys.get(key.id, (None, None))
        return entry if entry is not None and known is key else KeyEntry(key.sha256, key.id, key.deployment)

    def _mark(self, deployment: str) -> _Mark:
        """Of the file with the engine's key: another one, another mark."""
        try:
            found = engine_key_file(self._deps.settings, deployment).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns
