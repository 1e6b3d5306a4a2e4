"""What is kept in memory is what the database says, whoever wrote it, at every moment."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lyc.records.deployment import Deployment, Replica, ReplicaState
from lyc.records.key import Key
from lyc.records.placement import Placement, PlacementState
from lyc.records.scaling import ScalerState
from lyc.store import Store, schema

NAMES = ("a", "b", "c")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lyc.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


def shown(store: Store) -> list[object]:
    """All that is mirrored."""
    each = [(store.releases(name), store.replicas(name), store.rentals(deployment=name)) for name in NAMES]
    return [store.deployments(), store.replicas_by_deployment(), store.list_keys(), store.placements.list(), *each]


def change(store: Store, chance: random.Random, number: int) -> None:
    name, at = chance.choice(NAMES), float(number)
    identity = f"{name}-{chance.randrange(4)}"
    match chance.randrange(8):
        case 0:
            store.add_deployment(Deployment(name, at, at))
        case 1:
            store.change_deployment(name, at, scaler=ScalerState(chance.randrange(3)), paused=chance.random() < 0.5)
        case 2 | 3:
            store.put_replica(Replica(identity, name, 1, "local", ReplicaState.READY, at, at, "/s", number))
        case 4:
            store.remove_replica(identity)
        case 5:
            store.put_key(Key(identity, name, "ab" * 32, "lyc_abcd", "me", at))
        case 6:
            store.placements.put(Placement(identity, name, 1, PlacementState.PREPARING, at, at))
        case 7 if chance.random() < 0.2:
            store.remove_deployment(name)


def test_it_is_at_every_step_what_a_fresh_look_finds(path: Path, store: Store) -> None:
    """Whether it wrote the change itself or somebody else did."""
    chance = random.Random(1)
    with closing(Store(path)) as other:
        for number in range(150):
            change(chance.choice((store, other)), chance, number)
            found, by_other = shown(store), shown(other)
            with closing(Store(path)) as fresh:
                assert found == by_other == shown(fresh), number


def test_a_change_by_hand_is_seen(path: Path, store: Store) -> None:
    store.add_deployment(Deployment("a", 1.0, 1.0))
    assert not store.deployment("a").paused
    with closing(sqlite3.connect(path)) as by_hand, by_hand:
        by_hand.execute("UPDATE deployments SET paused = 1")
    assert store.deployment("a").paused
    with closing(sqlite3.connect(path)) as by_hand, by_hand:
        by_hand.execute("DELETE FROM deployments")
    assert store.find_deployment("a") is None


def test_what_did_not_change_is_not_made_anew(store: Store) -> None:
    made = [Replica(f"a-{one}", "a", 1, "local", ReplicaState.READY, 1.0, 1.0, "/s", 1) for one in range(3)]
    for one in made:
        store.put_replica(one)
    before, number = store.replicas("a"), store.mirror.number
    assert store.mirror.number == number
    store.put_replica(replace(made[1], state=ReplicaState.DRAINING))
    after = store.replicas("a")
    assert store.mirror.number > number
    assert [one.state for one in after] == [ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.READY]
    assert (after[0] is before[0], after[2] is before[2]) == (True, True)


def test_a_database_of_before_is_taken_up(path: Path, store: Store) -> None:
    store.add_deployment(Deployment("a", 1.0, 1.0))
    store.close()
    with closing(sqlite3.connect(path)) as by_hand, by_hand:
        for statement in schema.triggers():
            by_hand.execute(f"DROP TRIGGER {statement.split()[5]}")
        by_hand.execute("DROP TABLE changes")
    with closing(Store(path)) as opened, closing(Store(path)) as other:
        assert opened.find_deployment("a") == Deployment("a", 1.0, 1.0)
        other.change_deployment("a", 2.0, paused=True)
        assert opened.deployment("a").paused


def test_threads_read_what_they_have_written(store: Store) -> None:
    """Each one its own deployment, beside the others: nothing read is older than what was stored before."""
    start = threading.Barrier(4)

    def work(name: str) -> bool:
        start.wait()
        store.add_deployment(Deployment(name, 0.0, 0.0))
        for at in range(1, 25):
            store.change_deployment(name, float(at))
            if store.deployment(name).updated_at != at:
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, ("a", "b", "c", "d")))
