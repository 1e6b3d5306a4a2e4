"""What the loop of a deployment knows of several hosts, out of the store."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from lyc.control.deps import Deps
from lyc.control.places import LOST_SECONDS, Places
from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.host import ANY, RENT, Host, KnownHost, RemoteFacts
from lyc.records.operation import Operation, OperationKind, OperationState
from lyc.records.placement import Placement, PlacementState
from lyc.records.plan import Accelerator, EngineBuild, Plan
from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.rollout import Seen, Situation
from lyc.store import Store

GIB = 1 << 30
NOW = 1000.0
CARDS = (Accelerator("h100", "NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB, 90, "GPU-0"),)
FACTS = RemoteFacts(
    hostname="box", os="Debian", kernel="6", machine="x86_64", user="root", home="/srv", boot_id="b", cpus=8,
    memory_total=GIB, memory_available=GIB, disks=(), accelerators=CARDS, looked_at=NOW,
)  # fmt: skip
PLAN = Plan(EngineBuild("vllm", "0.32.0"), "h100", memory_bytes=70 * GIB, devices=(0,))
AWAY: dict[str, object] = {"ref": "host-unreachable", "what": "it does not answer"}


class Steady:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Known:
    """A deployment on host `one`, of which `two` and `three` are known too; each has one card."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path / "lyc.db")
        self.steady = Steady()
        for name in ("one", "two", "three"):
            self.store.put_host(KnownHost(Host(name, f"root@{name}"), FACTS))
        policy = ScalePolicy(1, 4, hosts=("two",))
        self.store.add_deployment(Deployment("d", 0, 0, policy=policy, scaler=ScalerState(2)))
        spec = DeploymentSpec("d", "m", host="one")
        pending = Release("d", 0, spec, "x", "m", "sha256:0", "/m", PLAN, ReleaseState.PENDING, 0)
        self.store.add_release(pending, surge=True)
        self.store.set_release_state("d", 1, ReleaseState.ACTIVE, None, at=1.0)
        self.replica("a", "one")
        nothing = cast("Any", None)
        self.places = Places(
            Deps(
                settings=nothing, store=self.store, supervisor=nothing, gateway=nothing, sites=nothing, hosts=nothing,
                upkeep=nothing, accounts=nothing, owner="", open_source=nothing, clock=lambda: NOW, steady=self.steady,
            ),
            "d",
            lambda: None,
        )  # fmt: skip

    def replica(self, name: str, host: str) -> None:
        self.store.put_replica(Replica(name, "d", 1, host, ReplicaState.READY, 1, 1, socket="s", ready_at=2.0))

    def hosts(self, *names: str) -> None:
        self.store.change_deployment("d", NOW, policy=ScalePolicy(1, 4, hosts=names))

    def place(self, host: str, state: PlacementState = PlacementState.READY, **more: Any) -> None:
        made = Placement(f"p-{host}", "d", 1, state, NOW, NOW, host=host, plan=PLAN)
        self.store.placements.put(dataclasses.replace(made, **more))

    def failed(self, **more: Any) -> None:
        made = Placement("f", "d", 1, PlacementState.FAILED, NOW, NOW)
        self.store.placements.put(dataclasses.replace(made, **more))

    def look(self, **seen: Seen) -> Situation:
        replicas = tuple(self.store.replicas("d"))
        found = {one.id: seen.get(one.id, Seen("running")) for one in replicas}
        releases = tuple(self.store.releases("d"))
        return self.places.complete(Situation(self.store.deployment("d"), releases, replicas, found))

    def rooms(self) -> dict[str, int]:
        return {one.host: one.room for one in self.look().places}


@pytest.fixture
def known(tmp_path: Path) -> Known:
    return Known(tmp_path)


def test_a_deployment_of_one_host_is_left_as_it_is(known: Known) -> None:
    known.hosts()
    found = known.look()
    assert (found.places, found.lost, found.expansion) == ((), frozenset(), "none")


def test_room_is_where_it_was_brought_and_the_policy_allows_it(known: Known) -> None:
    assert (known.rooms(), known.look().expansion) == ({"one": 0}, "known")
    known.place("two")
    assert known.rooms() == {"one": 0, "two": 1}
    assert known.look().expansion == "none", "no other one is named"
    known.hosts("three")
    assert (known.rooms(), known.look().expansion) == ({"one": 0}, "known")
    known.hosts(ANY)
    assert (known.rooms(), known.look().expansion) == ({"one": 0, "two": 1}, "known")
    known.hosts(RENT)
    assert (known.rooms(), known.look().expansion) == ({"one": 0}, "rented"), "two is the user's own"


def test_what_is_elsewhere_has_no_place_once_no_host_is_named(known: Known) -> None:
    known.place("two")
    known.replica("b", "two")
    known.hosts()
    assert known.rooms() == {"one": 0}


def test_no_search_beside_another_nor_soon_after_one_in_vain(known: Known) -> None:
    operation = Operation("op", OperationKind.EXPAND, "d", {"release": 1}, OperationState.RUNNING, NOW)
    known.store.put_operation(operation)
    assert known.look().expansion == "under way"
    known.store.put_operation(dataclasses.replace(operation, state=OperationState.FAILED))
    assert known.look().expansion == "known"
    known.failed(retry_at=NOW + 30)
    assert known.look().expansion == "none"
    known.failed(retry_at=NOW)
    assert known.look().expansion == "known"
    known.failed(updated_at=NOW + 86400, retry_at=NOW + 86430)
    assert known.look().expansion == "known", "a clock that was set back holds nothing up"


def test_a_silent_host_is_lost_after_a_while_and_has_no_room(known: Known) -> None:
    known.place("two")
    known.replica("b", "two")
    silent = Seen("unknown", failure=AWAY)
    assert known.look(b=silent).lost == frozenset()
    known.steady.now += LOST_SECONDS
    found = known.look(b=silent)
    assert found.lost == {"b"}
    assert {one.host: one.room for one in found.places} == {"one": 0, "two": 0}
    assert known.look().lost == frozenset()
    assert known.look(b=silent).lost == frozenset(), "its silence begins anew"
    assert known.look(b=Seen("unknown")).lost == frozenset(), "not heard yet is not silent"


def test_what_is_taken_there_is_no_room(known: Known) -> None:
    known.place("two")
    known.replica("b", "two")
    known.store.change_deployment("d", NOW, scaler=ScalerState(3))
    assert known.rooms() == {"one": 0, "two": 0}
