"""Whether a deployment still wants what is being done for it: work that takes minutes asks again and again."""

from __future__ import annotations

from lyc.errors import Failed
from lyc.records.deployment import Deployment
from lyc.store import Store

CALLED_OFF = frozenset({"taken-down", "paused", "superseded"})
"""References of errors that say so: the work did not fail."""


def standing(store: Store, name: str) -> Deployment:
    """It, as it is now. Raises Failed `taken-down` where it is gone or going."""
    found = store.find_deployment(name)
    if found is None or found.stopping:
        raise taken_down(name)
    return found


def awake(store: Store, name: str) -> Deployment:
    """As `standing`, and Failed `paused`."""
    found = standing(store, name)
    if found.paused:
        raise paused(name)
    return found


def taken_down(name: str) -> Failed:
    return Failed("taken-down", f"{name} was taken down meanwhile", hint="lyc ls")


def paused(name: str) -> Failed:
    return Failed("paused", f"{name} was paused meanwhile", hint=f"lyc resume {name}")
