"""The one word for a deployment's state, from what the store knows."""

from __future__ import annotations

from lyc.records.deployment import ReleaseState, ReplicaState
from lyc.rollout.situation import Situation


def summarise(situation: Situation) -> str:
    """`pending | starting | ready | degraded | updating | failed | stopping`.

    degraded: fewer replicas are ready than wished, though the release was once. updating: an older release serves
    while the new one comes up. failed: nothing serves and nothing will without a new wish.
    """
    deployment = situation.deployment
    if deployment.stopping:
        return "stopping"
    target = situation.release(deployment.target)
    if target is None:
        return "failed" if situation.releases else "pending"
    states = [replica.state for replica in situation.replicas if replica.release == target.number]
    ready = states.count(ReplicaState.READY)
    if target.state is ReleaseState.ACTIVE:
        if ready >= target.spec.min_replicas:
            return "ready"
        gave_up = ReplicaState.FAILED in states and not any(
            state not in (ReplicaState.FAILED, ReplicaState.STOPPED) for state in states
        )
        return "failed" if gave_up else "degraded"
    serving = any(
        replica.state is ReplicaState.READY for replica in situation.replicas if replica.release != target.number
    )
    return "updating" if serving else "starting"
