"""What the controller is made of, handed to every part of it as one frozen value. Built by `lyc.wiring` only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lyc.ports import EngineInstaller, Gateway, HostProbe, ModelCache, Source, Supervisor
from lyc.records.model import ModelRef
from lyc.records.secret import Secret
from lyc.rollout import Policy
from lyc.spec.settings import Settings
from lyc.store import Store

OpenSource = Callable[[ModelRef, Mapping[str, Secret], str | None], Source]
"""(reference, credentials by environment name, S3 endpoint) → the source that has the model."""


@dataclass(frozen=True, slots=True)
class Deps:
    """The world, as the controller may touch it. clock: seconds since the epoch."""

    settings: Settings
    store: Store
    supervisor: Supervisor
    gateway: Gateway
    cache: ModelCache
    installer: EngineInstaller
    host: HostProbe
    open_source: OpenSource
    clock: Callable[[], float]
    policy: Policy = field(default_factory=Policy)
