"""A host that its provider takes back, as it has announced."""

from __future__ import annotations

import dataclasses

from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.plan import EngineBuild, Plan
from lyc.rollout import Policy, Seen, Signal, Situation, decide
from lyc.rollout.actions import CreateReplica, MoveReplica

NOW = 1000.0
SPEC = DeploymentSpec("d", "m", host="box-1")
RELEASE = Release(
    "d", 1, SPEC, "1", "m", "sha256:0", "/m", Plan(EngineBuild("vllm", "0"), "gpu"), ReleaseState.ACTIVE, NOW
)
DEPLOYMENT = Deployment("d", NOW, NOW, target=1)
READY = Replica("d-1-a", "d", 1, "box-1", ReplicaState.READY, NOW, NOW, "/s")


def test_what_will_be_taken_away_drains_and_is_not_started_again_there() -> None:
    """Requests that run finish, no new one goes there."""
    situation = Situation(DEPLOYMENT, (RELEASE,), (READY,), {READY.id: Seen("running")})
    assert decide(situation, NOW, Policy()) == ()
    leaving = dataclasses.replace(situation, leaving=frozenset({"box-1"}))
    assert decide(leaving, NOW, Policy()) == (MoveReplica(READY.id, Signal.DRAIN, until=NOW + 30.0),)
    empty = dataclasses.replace(situation, replicas=(), seen={})
    assert decide(empty, NOW, Policy()) == (CreateReplica(1),)
    assert decide(dataclasses.replace(empty, leaving=frozenset({"box-1"})), NOW, Policy()) == ()


def test_another_host_that_leaves_changes_nothing() -> None:
    situation = Situation(DEPLOYMENT, (RELEASE,), (READY,), {READY.id: Seen("running")}, leaving=frozenset({"box-2"}))
    assert decide(situation, NOW, Policy()) == ()
