"""The one word for a deployment's state, from what the store knows."""

from __future__ import annotations

from lyc.records.deployment import Release, ReleaseState, Replica, ReplicaState
from lyc.rollout.counts import UNSETTLED, beside, desired
from lyc.rollout.situation import Situation
from lyc.rollout.transitions import ENDED

_COMING = frozenset({ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.LOADING, ReplicaState.PROBING})


def summarise(situation: Situation) -> str:
    """`pending | starting | ready | degraded | updating | canary | idle | waking | paused | failed | stopping`.

    ready: what is wished serves, or is about to beside what serves. degraded: fewer replicas are ready than wished,
    and one of them is not well. updating: an older release serves while the new one comes up. canary: both serve, each
    its share. idle: none is wished, and the next request wakes one. waking: none is ready, one comes. paused: none is
    wished, and no request wakes one. failed: nothing serves and nothing will without a new wish.
    """
    deployment, target = situation.deployment, situation.target
    if deployment.stopping:
        return "stopping"
    if target is None:
        return "failed" if situation.releases else "pending"
    if deployment.paused:
        return "paused"
    if target.state in UNSETTLED:
        return _unsettled(situation, target)
    return _serving(situation.of(target.number), desired(situation))


def _unsettled(situation: Situation, target: Release) -> str:
    if target.state is ReleaseState.CANARY and beside(situation) is not None:
        if not desired(situation):
            return "idle"
        return "canary"
    others = [one for one in situation.replicas if one.release != target.number]
    return "updating" if any(one.state is ReplicaState.READY for one in others) else "starting"


def _serving(mine: list[Replica], wished: int) -> str:
    """Of a release that is active."""
    ready = sum(one.state is ReplicaState.READY for one in mine)
    if ready >= wished and ready:
        return "ready"
    if any(one.state is ReplicaState.FAILED for one in mine) and all(one.state in ENDED for one in mine):
        return "failed"
    if not wished:
        return "idle"
    if any(_unwell(one) for one in mine):
        return "degraded"
    return "ready" if ready else "waking"


def _unwell(replica: Replica) -> bool:
    """Whether something happened to one that is to serve; not so where it is only on its way."""
    if replica.state in _COMING:
        return replica.failures > 0 or replica.starts > 1 or replica.attempts > 1
    return replica.state in (ReplicaState.BACKOFF, ReplicaState.FAILED, ReplicaState.UNREACHABLE)
