"""Hosts: known, looked at, forgotten. A host is stored only once its key is trusted and a look at it has succeeded."""

from __future__ import annotations

import dataclasses
import logging
import threading

from lyc.control.deps import Deps
from lyc.errors import Failed, LycError, UsageError
from lyc.records.host import ANY, LOCAL, RENT, Host, KnownHost, RemoteFacts
from lyc.spec.host_address import shown

ON_THE_HOST = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
log = logging.getLogger(__name__)

RESERVED = {LOCAL: "this machine itself", ANY: "whichever host fits", RENT: "a machine to be rented"}
"""Names that no host can have."""
ACCEPT_NEW = "accept-new"
"""In place of a fingerprint: take the key of a machine that was never seen. One that has changed is still refused."""


class Hosts:
    """Adds, checks and removes; calls on one host wait for one another."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._locks: dict[str, threading.Lock] = {}
        self._making = threading.Lock()

    def add(
        self,
        name: str,
        address: str,
        port: int | None,
        accept: str | None,
        *,
        hub: str | None = None,
        lease: int | None = None,
        country: str | None = None,
    ) -> tuple[KnownHost, bool]:
        """(the host with a first look, whether it is new). The same address again looks once more, and takes a new key
        if that is accepted.

        accept: a fingerprint, `accept-new`, or None = only what is trusted already. hub: see `HostAccess.look`. lease:
        seconds of `Host.lease_seconds`; 0 ends it, None leaves it. country: None leaves it. Raises Failed
        `host-name-taken`, `host-known-already`, `host-key-unknown`, `host-key-other`, `no-lease`, and what a look
        raises (`host-key-changed`). Then nothing is stored and no key is trusted that was not before.
        """
        with self.alone(name):
            before = self._before(name, address, port)
            host = before.host if before else Host(name, address, port, added_at=self._deps.clock())
            pinned = self._trust(host, accept)
            try:
                facts = self._deps.hosts.look(host, hub)
                host = dataclasses.replace(host, fingerprints=self._deps.hosts.trusted(host))
                host = self._leased(host, facts, lease)
                host = host if country is None else dataclasses.replace(host, country=country)
            except BaseException:
                if pinned and before is None:
                    self._deps.hosts.forget(host)
                raise
            known = KnownHost(host, facts, None, facts.looked_at)
            if lease == 0 and self._deps.store.prepared(name) is not None:
                self._deps.upkeep.lease(host, None, "none")
            self._deps.store.put_host(known)
            log.info("host %s is %s", name, shown(address, port))
            return known, before is None

    def check(self, name: str, hub: str | None = None) -> KnownHost:
        """Look at it again; what keeps the look from succeeding is stored, then raised."""
        with self.alone(name):
            known = self._deps.store.host(name)
            try:
                facts = self._deps.hosts.look(known.host, hub)
            except LycError as error:
                failed = dataclasses.replace(known, error=error.document(), seen_at=self._deps.clock())
                self._deps.store.saw_host(failed)
                raise
            seen = KnownHost(known.host, facts, None, facts.looked_at)
            self._deps.store.saw_host(seen)
            return seen

    def remove(self, name: str) -> Host:
        """Forget it and the keys that were pinned for it. Nothing changes on the host itself.

        Raises NotFound `no-such-host` and Failed `host-in-use`.
        """
        with self.alone(name):
            host = self._deps.store.host(name).host
            self.check_unused(name)
            self._deps.sites.leave(name)
            self._deps.hosts.forget(host)
            for one in self._deps.store.placements.list():  # another machine of that name has nothing of it
                if one.host == name:
                    self._deps.store.placements.remove(one.id)
            self._deps.store.remove_host(name)
            return host

    def check_unused(self, name: str) -> None:
        """Raises Failed `host-in-use` while a replica of ours is on it."""
        store = self._deps.store
        users = sorted(d.name for d in store.deployments() if any(r.host == name for r in store.replicas(d.name)))
        if users:
            raise Failed(
                "host-in-use",
                f"{', '.join(users)} runs on {name}",
                why="it would run on unseen",
                hint=f"lyc down {users[0]}, or, if the host is gone for good: lyc down {users[0]} --force",
            )

    @staticmethod
    def _leased(host: Host, facts: RemoteFacts, lease: int | None) -> Host:
        """The host with the lease that was asked for. Raises Failed `no-lease` where nothing would watch over it."""
        if lease is None:
            return host
        if lease and (facts.systemd is None or facts.sudo != "free"):
            raise Failed(
                "no-lease",
                f"{host.name} cannot watch over a lease",
                why="that takes a timer of systemd, and the rights of root",
                where="--lease",
                hint="leave --lease out, or give the user sudo without a password",
            )
        return dataclasses.replace(host, lease_seconds=lease or None)

    def _before(self, name: str, address: str, port: int | None) -> KnownHost | None:
        """The row of this name, if it is of this address; raises when name or address are another's."""
        if name in RESERVED:
            raise UsageError(
                "host-name-taken", f"{name!r} is {RESERVED[name]}", where="--name", hint="choose another --name"
            )
        found = None
        for known in self._deps.store.hosts():
            same = (known.host.address, known.host.port) == (address, port)
            if known.host.name == name and not same:
                raise Failed(
                    "host-name-taken",
                    f"{name} is {shown(known.host.address, known.host.port)} already",
                    where="--name",
                    hint=f"choose another --name, or forget that one: lyc hosts rm {name}",
                )
            if known.host.name != name and same:
                raise Failed(
                    "host-known-already",
                    f"{shown(address, port)} is known as {known.host.name}",
                    hint=f"lyc hosts check {known.host.name}",
                )
            found = known if known.host.name == name else found
        return found

    def _trust(self, host: Host, accept: str | None) -> bool:
        """Whether a key had to be pinned. A key that has changed is found by the look, and refused there."""
        access, where = self._deps.hosts, shown(host.address, host.port)
        before = access.trusted(host)
        if before and accept in (None, ACCEPT_NEW):
            return False
        now = access.shown(host)
        if accept is None:
            raise Failed(
                "host-key-unknown",
                f"the key of {where} was never accepted",
                why="whoever answers there could be anybody until its fingerprint was compared",
                where=where,
                hint=f"compare it (there: {ON_THE_HOST}), then: "
                f"lyc hosts add {where} --name {host.name} --accept-host-key {now[0]}",
                detail=now,
            )
        if accept != ACCEPT_NEW and accept not in now:
            raise Failed(
                "host-key-other",
                f"{where} shows another key than the one to be accepted",
                why=f"to be accepted: {accept}",
                where="--accept-host-key",
                hint=f"compare it with the machine's own, there: {ON_THE_HOST}",
                detail=now,
            )
        if accept in before:
            return False
        access.pin(host, now if accept == ACCEPT_NEW else [accept])
        return True

    def alone(self, name: str) -> threading.Lock:
        """Held while something is done to the host that no other call of this controller shall meet."""
        with self._making:
            return self._locks.setdefault(name, threading.Lock())
