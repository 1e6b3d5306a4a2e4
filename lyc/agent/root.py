"""Where everything lies on a host, below one folder.

    agent/<digest>.pyz          this program                     python3    the interpreter that it runs with
    bin/uv                      engines are installed with it    uv/        uv's cache and its Pythons
    engines/<build>/<digest>/   engine environments; `lyc-complete` in each that is whole
    store/                      weights by content               compiled/  what engines compiled
    replicas/<id>/              one engine process each          lock.json, lease.json
    .bootstrap, .arriving/      the lock of bootstrapping, and what it was sent; .units: which units systemd knows

With the rights of root (mode `system`) ROOT is /var/lib/lyc, engines run as the account `lyc` under systemd where there
is one. Without (mode `user`), ROOT is ~/.local/share/lyc and engines run as the user, under the shim.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SYSTEM_ROOT = "/var/lib/lyc"
USER_ROOT = ".local/share/lyc"
ACCOUNT = "lyc"


@dataclass(frozen=True)
class Root:
    """The folder. systemd: whether units are used here rather than the shim."""

    path: Path
    systemd: bool

    @classmethod
    def at(cls, path: Path) -> Root:
        """Units need both: systemd as PID 1, and the rights of root."""
        return cls(path, systemd=os.geteuid() == 0 and Path("/run/systemd/system").is_dir())

    @property
    def store(self) -> Path:
        return self.path / "store"

    @property
    def engines(self) -> Path:
        return self.path / "engines"

    @property
    def compiled(self) -> Path:
        return self.path / "compiled"

    @property
    def replicas(self) -> Path:
        return self.path / "replicas"

    def replica(self, identity: str) -> Path:
        return self.replicas / identity
