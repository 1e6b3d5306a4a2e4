"""Placements and wake times as they are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyc.records.deployment import Deployment
from lyc.records.placement import Placement, PlacementState
from lyc.records.waketime import WakeTime
from lyc.store import Store
from lyc.store.placements import KEPT_WAKES


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "lyc.db")
    opened.add_deployment(Deployment("m", 1.0, 1.0))
    return opened


def test_placements_go_with_their_deployment(store: Store) -> None:
    first = Placement("a", "m", 1, PlacementState.PREPARING, 1.0, 1.0)
    other = Placement("b", "n", 1, PlacementState.FAILED, 2.0, 2.0, "box", error={"ref": "host-unfit"}, retry_at=9.0)
    for one in (other, first):
        store.placements.put(one)
    assert store.placements.list() == [first, other]
    ready = Placement("a", "m", 1, PlacementState.READY, 1.0, 3.0, "gpu1", snapshot_path="/w", image="img@sha256:0")
    store.placements.put(ready)
    assert store.placements.list("m") == [ready]
    store.remove_deployment("m")
    assert store.placements.list() == [other]
    store.placements.remove("b")
    assert store.placements.list() == []


def test_of_each_kind_the_last_wake_times_stay(store: Store) -> None:
    for at in range(KEPT_WAKES + 5):
        for _ in range(2):
            store.wake_times.add(WakeTime("m", 1, "stopped", float(at), 2.0 * at))
    store.wake_times.add(WakeTime("m", 1, "asleep", 0.5, 1.0))
    store.wake_times.add(WakeTime("other", 1, "new", 0.5, 1.0))
    each = {name: tuple(store.wake_times.list(name)) for name in ("m", "other")}
    assert store.wake_times.by_deployment() == each
    found = store.wake_times.list("m")
    assert found[0] == WakeTime("m", 1, "asleep", 0.5, 1.0)
    assert [one.at for one in found[1:]] == [float(at) for at in range(5, KEPT_WAKES + 5)]
    store.remove_deployment("m")
    assert store.wake_times.list("m") == []
