"""The one word for a deployment, by what the store knows."""

from __future__ import annotations

import dataclasses

import pytest

from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.plan import EngineBuild, Plan
from lyc.records.scaling import ScalePolicy
from lyc.rollout import Situation, summarise

PLAN = Plan(EngineBuild("vllm", "0"), "gpu")
DEPLOYMENT = Deployment("d", 0, 0, target=2, policy=ScalePolicy(0, 9))

# state of the target, replicas as `<release> <state>`, wished, changes of the deployment → the word
CASES: list[tuple[str, list[str], int, dict[str, object], str]] = [
    ("active", ["2 ready"], 1, {}, "ready"),
    ("active", ["2 ready"], 1, {"stopping": True}, "stopping"),
    ("active", ["2 ready"], 1, {"paused": True}, "paused"),
    ("active", ["2 ready"], 1, {"paused": True, "stopping": True}, "stopping"),
    ("failed", ["2 failed"], 1, {"target": None}, "failed"),
    ("failed", ["2 failed"], 1, {"target": None, "paused": True}, "failed"),
    ("active", [], 0, {}, "idle"),
    ("active", ["2 stopped"], 0, {}, "idle"),
    ("active", ["2 draining"], 0, {}, "idle"),
    ("active", ["2 ready"], 0, {}, "ready"),
    ("active", ["2 failed"], 0, {}, "failed"),
    ("active", [], 1, {}, "waking"),
    ("active", ["2 stopped", "2 loading"], 1, {}, "waking"),
    ("active", ["2 draining", "2 pending"], 1, {}, "waking"),
    ("active", ["2 backoff"], 1, {}, "degraded"),
    ("active", ["2 unreachable"], 1, {}, "degraded"),
    ("active", ["2 failed", "2 stopped"], 1, {}, "failed"),
    ("active", ["2 ready", "2 failed"], 2, {}, "degraded"),
    ("active", ["2 ready", "2 loading"], 2, {}, "ready"),
    ("active", ["2 ready", "2 ready", "2 draining"], 1, {}, "ready"),
    ("pending", ["2 loading"], 1, {}, "starting"),
    ("pending", ["1 ready", "2 loading"], 1, {}, "updating"),
    ("pending", ["1 ready", "2 loading"], 1, {"canary": 0.1}, "updating"),
    ("canary", ["1 ready", "2 ready"], 1, {"canary": 0.1}, "canary"),
    ("canary", [], 0, {"canary": 0.1}, "idle"),
    ("canary", ["1 ready", "2 ready"], 3, {}, "updating"),
]


@pytest.mark.parametrize(("state", "replicas", "wish", "changes", "word"), CASES)
def test_word(state: str, replicas: list[str], wish: int, changes: dict[str, object], word: str) -> None:
    releases = tuple(
        Release("d", number, DeploymentSpec("d", "m"), "", "m", "sha256:0", "/m", PLAN, ReleaseState(text), 0)
        for number, text in ((1, "active" if state in ("pending", "canary") else "superseded"), (2, state))
    )
    known = tuple(
        Replica(f"r{index}", "d", int(text[0]), "local", ReplicaState(text[2:]), index, 0, "s")
        for index, text in enumerate(replicas)
    )
    deployment = dataclasses.replace(DEPLOYMENT, **changes)  # type: ignore[arg-type]
    assert summarise(Situation(deployment, releases, known, desired=wish)) == word


@pytest.mark.parametrize("trouble", [{"failures": 1}, {"starts": 2}, {"attempts": 2}])
def test_one_that_comes_up_once_more_is_not_well(trouble: dict[str, int]) -> None:
    release = Release("d", 2, DeploymentSpec("d", "m"), "", "m", "sha256:0", "/m", PLAN, ReleaseState.ACTIVE, 0)
    replica = Replica("r", "d", 2, "local", ReplicaState.LOADING, 0, 0, "s", **trouble)
    assert summarise(Situation(DEPLOYMENT, (release,), (replica,), desired=1)) == "degraded"


def test_before_there_is_a_release() -> None:
    assert summarise(Situation(dataclasses.replace(DEPLOYMENT, target=None), (), ())) == "pending"
