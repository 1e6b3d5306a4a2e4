"""A key as the store knows it: everything but the key."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """sha256: lower-case hex of the key's bytes. prefix: its first characters, to tell keys apart by eye."""

    id: str
    deployment: str
    sha256: str
    prefix: str
    label: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def opens(self, now: float) -> bool:
        """Whether the key is good at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
