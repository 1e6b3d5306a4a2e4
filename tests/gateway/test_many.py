"""What must hold where there are a thousand deployments: Envoy is asked for little, and seldom."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lyc.errors import Failed
from lyc.gateway.admin import Admin, ReplicaHealth
from lyc.gateway.envoy import EnvoyGateway
from lyc.gateway.polling import OFTEN, SELDOM, intervals, polled
from lyc.gateway.shared import Shared
from lyc.records.gateway import Endpoint, GatewayConfig, Route
from lyc.records.secret import Secret
from tests.gateway.rig import Rig, until
from tests.gateway.waker import Start


def routes(*names: str) -> GatewayConfig:
    made = [Route(name, Secret("k"), (Endpoint(f"{name}-1-a", f"/r/{name}.sock"),), "/r/activator") for name in names]
    return GatewayConfig("127.0.0.1", 8080, tuple(made))


def test_a_thousand_files_are_looked_at_hardly_more_often_than_a_hundred_were() -> None:
    found = intervals([f"d{one}" for one in range(1000)], {})
    assert sum(1 / float(every.rstrip("s")) for every in found.values()) < 3000
    assert {found[f"d{one}"] for one in range(10)} == {OFTEN}
    assert {found[f"d{one}"] for one in range(10, 40)} == {"0.05s"}
    assert found["d999"] == SELDOM


def test_whoever_has_a_place_keeps_it_and_one_that_is_left_is_taken() -> None:
    names = [f"d{one}" for one in range(300)]
    before = intervals(names, {})
    after = intervals(["new", *names[1:]], before)
    assert {name: after[name] for name in names[1:]} == {name: before[name] for name in names[1:]}
    assert after["new"] == before["d0"] == OFTEN
    assert intervals(["new", *names], before)["new"] == SELDOM


def test_clusters_stay_as_they_are_whoever_applies_and_whatever_comes_and_goes(tmp_path: Path) -> None:
    """One that changed would begin anew, and not know the streams that run."""
    names = [f"d{one:03}" for one in range(60)]

    def written(*deployments: str) -> dict[str, object]:
        EnvoyGateway(tmp_path / "config", tmp_path / "run").apply(routes(*deployments))
        return {one["name"]: one for one in json.loads((tmp_path / "config" / "cds.json").read_text())["resources"]}

    first = written(*names)
    later = written("a-new-one", *names[1:])
    assert {name: later[name] for name in first if "d000" not in name} == {
        name: one for name, one in first.items() if "d000" not in name
    }
    assert polled((tmp_path / "config" / "cds.json").read_text(), "deployment-")["a-new-one"] == OFTEN


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"resources": [1]}', '{"resources": [{"eds_cluster_config": 1}]}']
)
def test_a_damaged_file_tells_no_intervals(text: str | None) -> None:
    assert polled(text, "deployment-") == {}


def test_the_list_as_text_says_what_it_says_as_json(rig: Rig, start: Start) -> None:
    """Of replicas that are well, dead, draining and busy, and nothing of the activator."""
    start()
    well, drains = rig.stand_in("alpha-1-a"), rig.stand_in("alpha-1-b")
    dead = Endpoint("beta-1-a", str(rig.home / "nobody.sock"))
    rig.apply(alpha=[well.endpoint, drains.endpoint], beta=[dead])
    rig.wait_healthy("alpha-1-a", "alpha-1-b")
    assert [rig.chat().status_code for _ in range(3)] == [200] * 3
    rig.apply(alpha=[well.endpoint, drains.draining], beta=[dead])
    admin = Admin(rig.gateway.layout.admin_socket)

    def by_json() -> list[ReplicaHealth]:
        clusters = json.loads(admin.call("/clusters?format=json"))["cluster_statuses"]
        hosts = [one for cluster in clusters if "deployment-" in cluster["name"] for one in cluster["host_statuses"]]
        return sorted(map(health, hosts), key=lambda one: one.id)

    def by_text() -> list[ReplicaHealth]:
        return sorted(admin.replicas(), key=lambda one: one.id)

    def health(host: dict[str, object]) -> ReplicaHealth:
        counts = {one["name"]: int(one.get("value", 0)) for one in host["stats"]}  # type: ignore[attr-defined]
        flags = dict(host["health_status"])  # type: ignore[call-overload]
        listed = flags.pop("eds_health_status") == "HEALTHY"
        return ReplicaHealth(str(host["hostname"]), counts["rq_active"], listed and not flags, counts["rq_total"])

    until(lambda: not next(one for one in by_json() if one.id == "alpha-1-b").healthy, "it drains")
    found = by_text()
    assert found == by_json()
    assert [(one.id, one.healthy) for one in found] == [("alpha-1-a", True), ("alpha-1-b", False), ("beta-1-a", False)]
    assert sum(one.total for one in found) == 3


def test_each_caller_gets_what_began_after_it_asked() -> None:
    begun, calls = [0], 400
    lock = threading.Lock()

    def work() -> int:
        with lock:
            begun[0] += 1
            return begun[0]

    shared = Shared(work)

    def ask(_: int) -> bool:
        with lock:
            before = begun[0]
        return shared() > before

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(calls)))
    assert begun[0] <= calls


def test_whoever_comes_during_a_run_gets_a_later_one() -> None:
    entered, leave, begun = threading.Event(), threading.Event(), [0]

    def work() -> int:
        begun[0] += 1
        entered.set()
        assert leave.wait(20)
        return begun[0]

    shared = Shared(work)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(shared)
        assert entered.wait(20)
        others = [pool.submit(shared) for _ in range(8)]
        until(lambda: all(one.running() for one in others), "all have called")
        leave.set()
        assert first.result(20) == 1
        assert min(one.result(20) for one in others) >= 2


def test_what_a_run_raises_reaches_its_callers_and_the_next_one_runs() -> None:
    answers = iter([Failed("broken", "it broke"), None])

    def work() -> str:
        failure = next(answers)
        if failure is not None:
            raise failure
        return "well"

    shared = Shared(work)
    with pytest.raises(Failed, match="it broke"):
        shared()
    assert shared() == "well"
