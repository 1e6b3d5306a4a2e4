"""The doors between lyc's deciders and the world: Protocols only. The docstrings are the contracts.

Adapters (sources, hosts, gateway, store, observe) implement these; `control` uses them; `wiring` puts them together.
Sibling adapters meet only here. Every method may be called again after a crash at any instant.
"""

from __future__ import annotations

from lyc.ports.engines import (
    ByteProgress,
    EngineInstaller,
    Gateway,
    HostProbe,
    Images,
    ModelCache,
    Reporter,
    Site,
    Sites,
    Source,
    Supervisor,
)
from lyc.ports.hosts import (
    HostAccess,
    Remote,
    Upkeep,
)
from lyc.ports.renting import (
    Accounts,
    Provider,
    ProviderKind,
)
from lyc.ports.wake import Waker

__all__ = [
    "Accounts",
    "ByteProgress",
    "EngineInstaller",
    "Gateway",
    "HostAccess",
    "HostProbe",
    "Images",
    "ModelCache",
    "Provider",
    "ProviderKind",
    "Remote",
    "Reporter",
    "Site",
    "Sites",
    "Source",
    "Supervisor",
    "Upkeep",
    "Waker",
]
