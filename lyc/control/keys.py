"""Keys of endpoints: 256 random bits, shown once, stored as SHA-256."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets

from lyc.control.deps import Deps
from lyc.control.gatekeeper import Gatekeeper
from lyc.errors import NotFound
from lyc.records.key import Key
from lyc.records.secret import Secret

PREFIX = "lyc_"
SHOWN = len(PREFIX) + 4


class Keys:
    """Creates and revokes; the gateway is told before a call returns."""

    def __init__(self, deps: Deps, gatekeeper: Gatekeeper) -> None:
        self._deps = deps
        self._gatekeeper = gatekeeper

    def create(self, deployment: str, label: str, ttl_seconds: float | None) -> tuple[Key, Secret]:
        """A new key and the only copy of its secret. Raises NotFound `no-such-deployment`."""
        self._deps.store.deployment(deployment)
        now = self._deps.clock()
        secret = PREFIX + secrets.token_urlsafe(32)
        key = Key(
            id=f"key-{secrets.token_hex(4)}",
            deployment=deployment,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            prefix=secret[:SHOWN],
            label=label,
            created_at=now,
            expires_at=None if ttl_seconds is None else now + ttl_seconds,
        )
        self._deps.store.put_key(key)
        self._gatekeeper.sync()
        return key, Secret(secret)

    def revoke(self, deployment: str, identity: str) -> Key:
        """Close a key. One that is revoked already stays so. Raises NotFound `no-such-key`."""
        self._deps.store.deployment(deployment)
        found = next((key for key in self._deps.store.list_keys(deployment) if key.id == identity), None)
        if found is None:
            raise NotFound(
                "no-such-key", f"{deployment} has no key {identity!r}", hint=f"see them: lyc keys ls {deployment}"
            )
        if found.revoked_at is None:
            found = dataclasses.replace(found, revoked_at=self._deps.clock())
            self._deps.store.put_key(found)
        self._gatekeeper.sync()
        return found
