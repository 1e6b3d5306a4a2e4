"""Cards for further replicas of a release on one host."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from lyc.control.placing import devices_for
from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.host import Host, KnownHost, RemoteFacts
from lyc.records.plan import Accelerator, EngineBuild, Plan
from lyc.store import Store

GIB = 1 << 30
CARDS = tuple(
    Accelerator("h100", "NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB, 90, f"GPU-{index}") for index in range(3)
)
FACTS = RemoteFacts(
    hostname="box", os="Debian", kernel="6", machine="x86_64", user="root", home="/srv", boot_id="b", cpus=8,
    memory_total=GIB, memory_available=GIB, disks=(), accelerators=CARDS,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "lyc.db")
    made.put_host(KnownHost(Host("box", "root@box"), FACTS))
    made.add_deployment(Deployment("d", 0, 0))
    return made


def release(store: Store, gpus: tuple[int, ...] | None = None) -> Release:
    spec = DeploymentSpec("d", "m", host="box", gpus=gpus, min_replicas=3, max_replicas=3)
    plan = Plan(EngineBuild("vllm", "0.32.0"), "h100", memory_bytes=70 * GIB, devices=(0,))
    state = ReleaseState.PENDING
    return store.add_release(Release("d", 0, spec, "x", "m", "sha256:0", "/m", plan, state, 0), surge=False)


def replica(store: Store, number: int, state: ReplicaState, devices: tuple[int, ...] | None) -> None:
    store.put_replica(Replica(f"d-1-{number}", "d", 1, "box", state, number, number, socket="s", devices=devices))


def test_each_replica_has_cards_of_its_own(store: Store) -> None:
    made = release(store)
    assert devices_for(store, made, "box", made.plan) == (0,)
    replica(store, 1, ReplicaState.PENDING, (0,))
    second = devices_for(store, made, "box", made.plan)
    assert second in ((1,), (2,))
    replica(store, 2, ReplicaState.READY, second)
    assert {0, *(second or ()), *(devices_for(store, made, "box", made.plan) or ())} == {0, 1, 2}


def test_cards_of_one_that_has_ended_are_free(store: Store) -> None:
    made = release(store)
    replica(store, 1, ReplicaState.FAILED, (0,))
    assert devices_for(store, made, "box", made.plan) == (0,)


def test_cards_that_the_user_named_are_taken_as_they_are(store: Store) -> None:
    made = release(store, gpus=(0,))
    replica(store, 1, ReplicaState.READY, (0,))
    assert devices_for(store, made, "box", made.plan) == (0,)


def test_they_are_kept_with_the_replica(store: Store) -> None:
    release(store)
    replica(store, 1, ReplicaState.READY, (1, 2))
    (kept,) = store.replicas("d")
    assert kept.devices == (1, 2)
    assert json.loads(json.dumps(dataclasses.asdict(kept)))["devices"] == [1, 2]
