"""What the gateway is told, out of a real store: always the present truth, and the same value while nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from lyc.control.deps import Deps
from lyc.control.layout import engine_key, engine_key_file
from lyc.control.routing import Routing
from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.gateway import GatewayConfig
from lyc.records.key import Key
from lyc.records.plan import EngineBuild, Plan
from lyc.records.scaling import ScalerState
from lyc.spec.settings import resolve
from lyc.store import Store

PORT, NOW = 8080, 1_800_000_000.0


class World:
    """As much of `Deps` as routing touches, with one deployment `a` of two replicas."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = Store(tmp_path / "lyc.db")
        self.settings = resolve({"HOME": str(tmp_path), "LYC_HOME": str(tmp_path)})
        self.now = NOW
        self.routing = Routing(cast("Deps", self))
        self.store.add_deployment(Deployment("a", NOW, NOW))
        self.plan = Plan(EngineBuild("vllm", "0.11.0"), "gpu")
        for _ in range(2):
            spec = DeploymentSpec("a", "acme/model")
            pending = ReleaseState.PENDING
            made = Release("a", 0, spec, "1", "acme/model@1", "sha256:0", "/m", self.plan, pending, NOW)
            self.store.add_release(made, surge=True)
        self.replicas = [
            Replica(f"a-{one}-x", "a", one, "local", ReplicaState.READY, NOW + one, NOW, f"/s{one}", 1)
            for one in (1, 2)
        ]
        for one in self.replicas:
            self.store.put_replica(one)

    def clock(self) -> float:
        return self.now

    def key(self, identity: str, expires_at: float | None = None, **more: object) -> None:
        made = Key(identity, "a", "ab" * 32, "lyc_abcd", "me", NOW, expires_at)
        self.store.put_key(replace(made, **more))  # type: ignore[arg-type]

    def told(self) -> GatewayConfig:
        found = self.routing.config(PORT)
        assert found is not None
        fresh = Routing(cast("Deps", self)).config(PORT)
        assert found == fresh  # whatever was remembered, it is what one finds who remembers nothing
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_the_same_value_while_nothing_changes(world: World) -> None:
    first = world.told()
    assert [one.replica for one in first.routes[0].endpoints] == ["a-1-x", "a-2-x"]
    assert world.told() is first
    world.store.change_deployment("a", NOW + 1, scaler=ScalerState(2))
    assert world.told() is first


def test_replicas_come_drain_and_go(world: World) -> None:
    first, old = world.told(), world.replicas[0]
    world.store.put_replica(replace(old, state=ReplicaState.DRAINING))
    assert [one.draining for one in world.told().routes[0].endpoints] == [True, False]
    world.store.put_replica(replace(old, state=ReplicaState.STOPPED))
    assert [one.replica for one in world.told().routes[0].endpoints] == ["a-2-x"]
    world.store.put_replica(old)
    assert world.told() == first


def test_keys_come_and_are_revoked(world: World) -> None:
    world.key("key-1")
    world.key("key-2")
    assert [one.id for one in world.told().keys] == ["key-1", "key-2"]
    world.key("key-1", revoked_at=NOW)
    assert [one.id for one in world.told().keys] == ["key-2"]


def test_keys_expire_with_nobody_writing_and_the_clock_may_go_back(world: World) -> None:
    world.key("key-1", NOW + 10)
    world.key("key-2", NOW + 20)
    for at, keys in (
        (9.9, ["key-1", "key-2"]),
        (10.0, ["key-2"]),
        (19.9, ["key-2"]),
        (20.0, []),
        (5.0, ["key-1", "key-2"]),
    ):
        world.now = NOW + at
        assert [one.id for one in world.told().keys] == keys


def test_a_canary_has_its_share_and_loses_it(world: World) -> None:
    world.store.set_release_state("a", 1, ReleaseState.ACTIVE, at=NOW)
    world.store.set_release_state("a", 2, ReleaseState.CANARY)
    world.store.change_deployment("a", NOW, canary=0.1)
    old, new = world.told().routes[0].endpoints
    assert old.weight > new.weight
    world.store.change_deployment("a", NOW, canary=None)
    old, new = world.told().routes[0].endpoints
    assert old.weight == new.weight


def test_an_engine_key_that_was_made_anew_is_told(world: World) -> None:
    first = world.told().routes[0].engine_key.reveal()
    engine_key_file(world.settings, "a").unlink()
    world.store.put_replica(replace(world.replicas[0], attempts=2))
    found = world.told().routes[0].engine_key.reveal()
    assert found != first
    assert found == engine_key(world.settings, "a").reveal()


def test_nothing_to_serve_needs_no_gateway(world: World) -> None:
    assert world.routing.config(None) is None
    assert world.told()
    world.store.add_deployment(Deployment("b", NOW, NOW))  # which has no release yet
    assert [one.deployment for one in world.told().routes] == ["a"]
    world.store.remove_deployment("a")
    assert world.routing.config(PORT) is None
