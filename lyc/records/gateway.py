"""What the gateway shall do, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from lyc.errors import LycError
from lyc.records.secret import Secret


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key that may pass. sha256: lower-case hex of the key's bytes. It opens one deployment only."""

    sha256: str
    id: str
    deployment: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A replica as the gateway sees it: a unix socket. draining = finish what runs, take nothing new."""

    replica: str
    socket: str
    draining: bool = False
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """One deployment: `/<deployment>/v1/*` goes to its endpoints as `/v1/*`, with the engine's own key put in.

    With no endpoint that is well, requests go to the activator, which holds them and hands them back.
    activator: its unix socket; with None the answer is then an OpenAI-shaped 503 with Retry-After, for a caller whose
    key is right.
    """

    deployment: str
    engine_key: Secret
    endpoints: tuple[Endpoint, ...] = ()
    activator: str | None = None


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything that Envoy is told. host and port: where it listens."""

    host: str
    port: int
    routes: tuple[Route, ...] = ()
    keys: tuple[KeyEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """state: `absent | starting | running | stopped`. None = not known.

    active: requests in flight per replica id, draining ones included. healthy: ids of replicas that get new requests.
    total: requests per replica id since the gateway started, those in flight included; replicas that left are not told.
    error: why a gateway that runs does not listen.
    """

    state: str
    pid: int | None = None
    active: dict[str, int] | None = None
    healthy: frozenset[str] | None = None
    error: LycError | None = None
    total: dict[str, int] | None = None
