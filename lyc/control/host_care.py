"""What is done to a host as a whole, and only when a person says so: prepare, unlock, prune, purge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from lyc.control.deps import Deps
from lyc.control.hosts import Hosts
from lyc.control.kept import deploying, kept
from lyc.errors import Locked
from lyc.records.host import HostUse
from lyc.units import show_duration

log = logging.getLogger(__name__)
Say = Callable[[str], None]


class HostCare:
    """Over `lyc.ports.Upkeep`, with what the store knows: what must stay, and what runs there."""

    def __init__(self, deps: Deps, hosts: Hosts) -> None:
        self._deps = deps
        self._hosts = hosts

    def use(self, name: str) -> HostUse:
        """Asked just now. Raises NotFound `no-such-host`, and what `Upkeep.use` raises."""
        return self._deps.upkeep.use(self._deps.store.host(name).host)

    def prepare(self, name: str, say: Say) -> dict[str, Any]:
        """Bootstrap it. The answer: `{name, changed}`."""
        host = self._deps.store.host(name).host
        return {"name": name, "changed": self._deps.upkeep.prepare(host, say)}

    def unlock(self, name: str, *, force: bool) -> dict[str, Any]:
        """`UnlockDocument`. Without `force` raises Locked `host-locked` where another controller holds it, and
        `host-busy` while a deploy of ours works there.
        """
        host = self._deps.store.host(name).host
        lock = self._deps.upkeep.use(host).lock
        if lock is not None and not force:
            if not lock.ours:
                raise Locked(
                    "host-locked",
                    f"{lock.who} holds {name}, since {show_duration(lock.age)}",
                    why=lock.reason,
                    hint=f"if nobody is at work there: lyc hosts unlock {name} --force",
                )
            self._check_idle(name)
        if lock is not None:
            self._deps.upkeep.unlock(host, force=force)
            log.info("unlocked %s, which %s held", name, lock.who)
        return {"name": name, "unlocked": lock is not None, "lock": asdict(lock) if lock else None}

    def prune(self, name: str, *, free: int | None, dry_run: bool) -> dict[str, Any]:
        """`PruneDocument`. free: bytes that shall be free; None = all that may go.

        What releases in use or their rollback targets need stays. Raises Locked `host-busy` while a deploy works there.
        """
        with self._hosts.alone(name):
            host = self._deps.store.host(name).host
            self._check_idle(name)
            snapshots, engines = kept(self._deps.store, name)
            pruned = self._deps.upkeep.prune(host, snapshots, engines, free=free, dry_run=dry_run)
        return {
            "name": name,
            "dry_run": dry_run,
            "removed": [asdict(one) for one in pruned],
            "bytes": sum(one.bytes for one in pruned),
        }

    def purge(self, name: str, say: Say, *, force: bool) -> dict[str, Any]:
        """Leave nothing of lyc on the host, then forget it. The answer: `{name, removed, purged}`.

        Raises Failed `host-in-use` while replicas of ours run there, and what `Upkeep.purge` raises; the host is then
        known as before.
        """
        with self._hosts.alone(name):
            host = self._deps.store.host(name).host
            self._hosts.check_unused(name)
            self._check_idle(name)
            prepared = self._deps.store.prepared(name)
            self._deps.store.set_prepared(name, None)  # first, so that no housekeeping makes it again meanwhile
            try:
                self._deps.upkeep.purge(host, force=force, say=say)
            except BaseException:
                self._deps.store.set_prepared(name, prepared)
                raise
        self._hosts.remove(name)
        log.info("purged and forgot host %s", name)
        return {"name": name, "removed": True, "purged": True}

    def _check_idle(self, name: str) -> None:
        if (busy := deploying(self._deps.store, name)) is not None:
            raise Locked(
                "host-busy",
                f"{busy} is being deployed to {name}",
                why="what it fetches is not in use yet, and would go too",
                hint=f"lyc status {busy} tells when it is done",
            )
