"""What the controller is made of, handed to every part of it as one frozen value. Built by `lyc.wiring` only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lyc.ports import Accounts, ByteProgress, Gateway, HostAccess, Sites, Source, Supervisor, Upkeep
from lyc.records.model import ModelRef
from lyc.records.secret import Secret
from lyc.rollout import Policy
from lyc.spec.settings import Settings
from lyc.store import Store


class OpenSource(Protocol):
    """reference, credentials by environment name, S3 endpoint → the source that has the model."""

    def __call__(
        self,
        ref: ModelRef,
        credentials: Mapping[str, Secret],
        s3_endpoint: str | None,
        *,
        hashing: ByteProgress,
        say: Callable[[str], None],
    ) -> Source:
        """`hashing` hears how far the hashing of a local folder is, `say` what the making of a sample does."""
        ...


@dataclass(frozen=True, slots=True)
class Deps:
    """The world, as the controller may touch it.

    owner: id of this controller's home, hex digits. accounts: at providers of machines.
    supervisor: of this machine, for the gateway. sites: where engines run. hosts, upkeep: machines over SSH, as such.
    clock: seconds since the epoch; it may be set. steady: seconds of a clock that never is.
    """

    settings: Settings
    store: Store
    supervisor: Supervisor
    gateway: Gateway
    sites: Sites
    hosts: HostAccess
    upkeep: Upkeep
    accounts: Accounts
    owner: str
    open_source: OpenSource
    clock: Callable[[], float]
    policy: Policy = field(default_factory=Policy)
    steady: Callable[[], float] = time.monotonic
