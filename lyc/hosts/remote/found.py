"""What the check script of `lyc.hosts.remote.steps` found on a host. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lyc.agent import lock
from lyc.errors import LycError, from_document


@dataclass(frozen=True, slots=True)
class Found:
    """missing: names of steps that are not done. python: version of the interpreter, or "". here: what of lyc is there
    at all, `folder` and `account`. replicas: how many folders of replicas. lock, age: who holds it, and seconds since.
    """

    missing: frozenset[str]
    python: str
    here: frozenset[str]
    replicas: int
    lock: lock.Document | None
    age: float

    def locked(self, owner: str) -> LycError | None:
        """The error of a host that another controller holds."""
        if self.lock is None or self.lock["owner"] == owner:
            return None
        return from_document(lock.locked(self.lock, self.age).document)


def found(output: str, names: Sequence[str]) -> Found:
    """A step of `names` of which the output says nothing is missing."""
    rows = [line.split(maxsplit=2) for line in output.splitlines() if line.startswith("lyc ")]
    said = {row[1]: row[2] if len(row) > 2 else "" for row in rows if len(row) > 1}
    clock, uptime, boot = [*said.get("clock", "").split(), "0", "0", ""][:3]
    held = _lock(said.get("lock", ""))
    return Found(
        missing=frozenset(name for name in names if said.get(name) != "done"),
        python=said.get("version", ""),
        here=frozenset(said.get("here", "").split()),
        replicas=int(said.get("replicas") or 0),
        lock=held,
        age=lock.age(held, float(uptime), boot, float(clock)) if held else 0.0,
    )


def _lock(text: str) -> lock.Document | None:
    if not text:
        return None
    try:
        return lock.known(json.loads(text))
    except ValueError:
        return lock.known(None)
