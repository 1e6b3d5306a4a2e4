"""A disk that is short of room before a deploy, on a host that another controller uses too."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from lyc.control.deps import Deps
from lyc.control.placing import Placing
from lyc.errors import Failed
from lyc.records.deployment import DeploymentSpec
from lyc.records.host import Disk, Host, KnownHost, Pruned, RemoteFacts
from lyc.store import Store
from tests.control.rented_world import FACTS, MODEL, Places

GIB = 1 << 30
SHORT, ENOUGH = 10 * GIB, 400 * GIB


@dataclasses.dataclass
class Box:
    """In the place of `lyc.ports.HostAccess` and `lyc.ports.Upkeep`: a host with so much room, where pruning waits for
    the other controller, which leaves `left` bytes free, and then removes `own` bytes itself.
    """

    left: int
    own: int = 0
    free: int = SHORT

    def look(self, host: Host, hub: str | None = None, *, reach: bool = True) -> RemoteFacts:
        del host, hub, reach
        return dataclasses.replace(FACTS, disks=(Disk("/", 1000 * GIB, self.free),))

    def prune(
        self, host: Host, keep: Sequence[str], engines: Sequence[str], *, free: int | None, dry_run: bool
    ) -> tuple[Pruned, ...]:
        del host, keep, engines, free
        if not dry_run:
            self.free = self.left + self.own
        return (Pruned("engine", "old", self.own),) if self.own else ()


def placing(tmp_path: Path, box: Box, said: list[str], *, dry: bool = False) -> Placing:
    store = Store(tmp_path / "lyc.db")
    store.put_host(KnownHost(Host("box", "root@box"), None))
    store.set_prepared("box", {"root": "/var/lib/lyc"})
    nothing = cast("Any", None)
    deps = Deps(
        settings=nothing, store=store, supervisor=nothing, gateway=nothing, sites=cast("Any", Places()),
        hosts=cast("Any", box), upkeep=cast("Any", box), accounts=nothing, owner="", open_source=nothing,
        clock=lambda: 0.0, steady=lambda: 0.0,
    )  # fmt: skip
    return Placing(deps, DeploymentSpec("d", "m", host="box"), freed=0, say=said.append, dry=dry)


def test_room_that_another_controller_made_while_this_one_waited_is_room(tmp_path: Path) -> None:
    said: list[str] = []
    assert placing(tmp_path, Box(left=ENOUGH), said).place(MODEL, None).host == "box"
    assert said == []


@pytest.mark.parametrize("dry", [False, True])
def test_what_was_removed_is_room_and_is_told_of(tmp_path: Path, dry: bool) -> None:
    said: list[str] = []
    box = Box(left=SHORT, own=ENOUGH)
    assert placing(tmp_path, box, said, dry=dry).place(MODEL, None).host == "box"
    assert said == [f"{'would be removed' if dry else 'removed'} from box, to make room: engine old, 400.0 GiB"]
    assert box.free == (SHORT if dry else SHORT + ENOUGH)


def test_a_disk_that_stays_full_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        placing(tmp_path, Box(left=SHORT), []).place(MODEL, None)
    assert caught.value.ref == "host-unfit"
