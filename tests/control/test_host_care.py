"""What must stay on a host, as the store knows it; and long work that is told while it goes on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lyc.control.kept import kept
from lyc.control.told import told
from lyc.errors import Failed
from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.plan import EngineBuild, Plan
from lyc.store import Store

ACTIVE, SUPERSEDED, FAILED, PENDING = (
    ReleaseState.ACTIVE, ReleaseState.SUPERSEDED, ReleaseState.FAILED, ReleaseState.PENDING,
)  # fmt: skip
DRAFT = "0a" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "lyc.db")


def deploy(store: Store, name: str, *releases: tuple[str, ReleaseState], version: str = "0.32.0") -> None:
    """Releases (host, state) one after the other, the last is the target; its snapshot is `<name>-<number>`."""
    store.add_deployment(Deployment(name, 1.0, 1.0))
    for number, (host, state) in enumerate(releases, 1):
        plan = Plan(EngineBuild("vllm", version), "h100", speculative_model=f"/store/snapshots/{DRAFT}")
        spec = DeploymentSpec(name, "hf:a/b", host=host)
        snapshot = f"sha256:{name}-{number}"
        store.add_release(
            Release(name, 0, spec, "d", "hf:a/b@1", snapshot, "/m", plan, PENDING, float(number)), surge=True
        )
        if state in (SUPERSEDED, ACTIVE):
            store.set_release_state(name, number, ACTIVE, at=float(number))
        store.set_release_state(name, number, state)


def test_the_release_in_use_and_the_one_before_it_stay(store: Store) -> None:
    deploy(store, "a", ("gpu1", SUPERSEDED), ("gpu1", SUPERSEDED), ("gpu1", FAILED), ("gpu1", ACTIVE))
    snapshots, engines = kept(store, "gpu1")
    assert snapshots == ["sha256:a-2", "sha256:a-4", f"sha256:{DRAFT}"]
    assert engines == ["vllm-0.32.0"]
    assert kept(store, "gpu2") == ([], [])


def test_a_release_that_never_served_is_no_way_back(store: Store) -> None:
    """Another deploy came before it was proven."""
    deploy(store, "a", ("gpu1", SUPERSEDED), ("gpu1", PENDING), ("gpu1", ACTIVE))
    store.set_release_state("a", 2, SUPERSEDED)
    assert kept(store, "gpu1")[0] == ["sha256:a-1", "sha256:a-3", f"sha256:{DRAFT}"]


def test_a_release_that_comes_up_stays_beside_the_one_that_serves(store: Store) -> None:
    deploy(store, "a", ("gpu1", SUPERSEDED), ("gpu1", ACTIVE), ("gpu1", PENDING))
    assert kept(store, "gpu1")[0] == ["sha256:a-2", "sha256:a-3", f"sha256:{DRAFT}"]


def test_what_still_runs_stays_whatever_became_of_its_release(store: Store) -> None:
    deploy(store, "a", ("gpu1", SUPERSEDED), ("gpu1", SUPERSEDED), ("gpu1", ACTIVE))
    store.put_replica(Replica("a-1-x", "a", 1, "gpu1", ReplicaState.DRAINING, 1.0, 1.0, "/s"))
    assert kept(store, "gpu1")[0] == ["sha256:a-1", "sha256:a-2", "sha256:a-3", f"sha256:{DRAFT}"]


def test_where_a_deployment_went_elsewhere_its_way_back_stays(store: Store) -> None:
    deploy(store, "a", ("gpu1", SUPERSEDED), ("gpu2", ACTIVE))
    deploy(store, "b", ("gpu2", ACTIVE), version="0.31.0")
    assert kept(store, "gpu1") == (["sha256:a-1", f"sha256:{DRAFT}"], ["vllm-0.32.0"])
    assert kept(store, "gpu2")[0] == ["sha256:a-2", "sha256:b-1", f"sha256:{DRAFT}"]
    assert kept(store, "gpu2")[1] == ["vllm-0.32.0", "vllm-0.31.0"]


def test_work_is_told_to_its_end() -> None:
    def work(say: object) -> dict[str, object]:
        assert callable(say)
        say("one")
        say("two")
        return {"changed": True}

    assert [one for one in told("work", work) if one] == [
        {"line": "one"}, {"line": "two"}, {"result": {"changed": True}},
    ]  # fmt: skip


def test_an_error_of_the_work_is_its_last_word() -> None:
    def work(_: object) -> dict[str, object]:
        raise Failed("host-in-use", "a runs there")

    def broken(_: object) -> dict[str, object]:
        raise RuntimeError("oh")

    (refused,) = [one for one in told("work", work) if one]
    assert refused["error"]["ref"] == "host-in-use"
    (bug,) = [one for one in told("work", broken) if one]
    assert (bug["error"]["ref"], bug["error"]["exit_code"]) == ("internal-error", 70)


def test_work_goes_on_when_nobody_listens() -> None:
    done = threading.Event()

    def work(say: object) -> dict[str, object]:
        done.set()
        return {}

    told("work", work)
    assert done.wait(5)
