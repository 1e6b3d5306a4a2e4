"""The step of a replica that follows from what is wanted of it. Pure."""

from __future__ import annotations

from lyc.records.deployment import Replica, ReplicaState
from lyc.rollout.actions import Action, MoveReplica, StartProcess, StopProcess
from lyc.rollout.situation import Policy, Seen, Situation
from lyc.rollout.transitions import ENDED, Signal


def steer(
    replica: Replica, seen: Seen, situation: Situation, now: float, policy: Policy, *, wanted: bool
) -> list[Action]:
    """Towards ready where it is wanted, else towards its end. Empty when there is nothing to do but to wait."""
    state = replica.state
    if state is ReplicaState.STOPPING:
        return [StopProcess(replica.id, policy.stop_grace)] if seen.process != "unknown" else []
    if state is ReplicaState.DRAINING:
        waited = now - replica.updated_at >= policy.settle or _set_back(replica, now)
        settled = waited and seen.in_flight == 0
        over = replica.drain_deadline is not None and now >= replica.drain_deadline
        return [MoveReplica(replica.id, Signal.STOP)] if settled or over else []
    if state in ENDED:
        return []
    if wanted:
        return _advance(replica, seen, now)
    if state is ReplicaState.READY:
        return [MoveReplica(replica.id, Signal.DRAIN, until=now + situation.deployment.drain_timeout)]
    return [MoveReplica(replica.id, Signal.STOP)]


def _set_back(replica: Replica, now: float) -> bool:
    """Whether the clock was set back since the replica's last step, so that what is due may seem to be hours away."""
    return now < replica.updated_at


def _advance(replica: Replica, seen: Seen, now: float) -> list[Action]:
    """One step towards ready."""
    state = replica.state
    if state is ReplicaState.PENDING:
        return [MoveReplica(replica.id, Signal.START), StartProcess(replica.id)]
    if state is ReplicaState.BACKOFF:
        due = replica.retry_at is None or now >= replica.retry_at or _set_back(replica, now)
        # While its host is silent, nobody knows whether the former process has ended.
        if not due or seen.process == "unknown":
            return []
        return [MoveReplica(replica.id, Signal.RETRY), StartProcess(replica.id)]
    if state is ReplicaState.PROBING and seen.proven:
        return [MoveReplica(replica.id, Signal.PROVEN)]
    if state in (ReplicaState.STARTING, ReplicaState.LOADING) and seen.listening:
        return [MoveReplica(replica.id, Signal.LISTENING)]
    if state is ReplicaState.STARTING and seen.loading:
        return [MoveReplica(replica.id, Signal.LOADING)]
    return []
