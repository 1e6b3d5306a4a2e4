"""What the parts of the suite share: calls that only read, and what must be true after a refusal."""
# ruff: noqa: S101

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lyc.errors import LycError
from lyc.ports import Provider
from lyc.testing.contract.rig import OWNER, Rig

ALWAYS = 1000
"""Times: more than anybody tries."""


@dataclass(frozen=True, slots=True)
class Read:
    """A call that only reads. op: of the last request that it makes, which is the one to disturb; seen, not claimed.

    requests: of that op, for one call.
    """

    name: str
    op: str
    requests: int
    call: Callable[[Provider], object]


def read(rig: Rig, name: str) -> Read | None:
    """One of account, offers, list, leftovers; None where this provider asks its cloud nothing for it."""
    calls: dict[str, Callable[[Provider], object]] = {
        "account": lambda provider: provider.account(),
        "offers": lambda provider: provider.offers(),
        "list": lambda provider: provider.list_owned(OWNER),
        "leftovers": lambda provider: provider.leftovers(OWNER),
    }
    before = len(rig.cloud.calls)
    calls[name](rig.provider)
    ops = [call.op for call in rig.cloud.calls[before:]]
    return Read(name, ops[-1], ops.count(ops[-1]), calls[name]) if ops else None


def reads(rig: Rig) -> Iterator[Read]:
    """Those that reach the cloud; `leftovers` need not, where nothing can stay behind."""
    for name in ("account", "offers", "list", "leftovers"):
        found = read(rig, name)
        assert found is not None or name == "leftovers", f"{name} asks nobody"
        if found is not None:
            yield found


def in_doubt(rig: Rig, kind: type[LycError], ref: str) -> AbstractContextManager[None]:
    """Expects that error of a create; an idempotent provider may as well ask again by itself and succeed."""
    return rig.may_fail() if rig.kind.capabilities.idempotent else rig.fails(kind, ref)


def nothing_is_left(rig: Rig, run_id: str) -> None:
    """No machine and nothing beside one, as the provider tells it and as it is."""
    assert [one for one in rig.provider.list_owned(OWNER) if one.run_id == run_id] == []
    assert [one for one in rig.provider.leftovers(OWNER) if one.run_id == run_id] == []
    assert [machine for machine in rig.cloud.alive() if machine.run_id == run_id] == []
