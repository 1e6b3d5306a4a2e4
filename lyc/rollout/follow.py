"""The step of a replica that follows from what was seen of it, whatever is wanted. Pure."""

from __future__ import annotations

from lyc.records.deployment import Replica, ReplicaState
from lyc.rollout.actions import Action, MoveReplica, StartProcess, StopProcess
from lyc.rollout.failures import ended, put_by, unproven
from lyc.rollout.situation import Policy, Seen, Situation
from lyc.rollout.transitions import ENDED, GOING, Signal

_LIVE = frozenset({
    ReplicaState.STARTING, ReplicaState.LOADING, ReplicaState.PROBING, ReplicaState.READY, ReplicaState.UNREACHABLE,
    ReplicaState.ASLEEP,
})  # fmt: skip


def follow(replica: Replica, seen: Seen, situation: Situation, now: float, policy: Policy) -> list[Action]:
    """Empty when it is as it should be."""
    state = replica.state
    if state in ENDED:
        if seen.process == "running":
            return [StopProcess(replica.id, policy.stop_grace)]
        forgotten = put_by(replica, situation, now, policy)
        return [forgotten] if forgotten else []
    if seen.process == "unknown":
        return _unknown(replica, seen, situation)
    if state in GOING:
        return [MoveReplica(replica.id, Signal.GONE)] if seen.process != "running" else []
    if state is ReplicaState.BACKOFF and seen.process == "running":  # it was found unwell
        return [StopProcess(replica.id, policy.stop_grace)]
    return _living(replica, seen, situation, now, policy) if state in _LIVE else []


def _living(replica: Replica, seen: Seen, situation: Situation, now: float, policy: Policy) -> list[Action]:
    if replica.state is ReplicaState.ASLEEP and seen.process in ("exited", "absent"):  # nobody waits for it
        return [StopProcess(replica.id, 0), MoveReplica(replica.id, Signal.GONE)]
    if seen.process == "exited":  # stopping it all the same finds what its death may have left behind
        return [StopProcess(replica.id, 0), ended(replica, seen, situation, now, policy)]
    if replica.state is ReplicaState.UNREACHABLE:
        return [MoveReplica(replica.id, Signal.FOUND, starts=seen.starts)]
    if seen.process == "absent":  # its intent was written, its process not yet started: we were killed in between
        return [StartProcess(replica.id)]
    if seen.starts > replica.starts:
        return [_restarted(replica, seen, situation)]
    return [ended(replica, seen, situation, now, policy)] if seen.failure is not None else []


def _unknown(replica: Replica, seen: Seen, situation: Situation) -> list[Action]:
    """Its host does not answer: nothing is known, so nothing is done but to take no requests there.

    Without a reason it has only not been heard yet: a controller that starts must not interrupt what serves.
    """
    if seen.failure is None:
        return []
    another = replica.state is ReplicaState.UNREACHABLE and _ref(replica.error) != _ref(seen.failure)
    if replica.state is ReplicaState.READY or (another and not situation.deployment.stopping):
        return [MoveReplica(replica.id, Signal.LOST, seen.failure)]
    if situation.deployment.abandon and replica.state is ReplicaState.STOPPING:
        return [MoveReplica(replica.id, Signal.GONE)]
    return []


def _ref(error: dict[str, object] | None) -> object:
    return error and error.get("ref")


def _restarted(replica: Replica, seen: Seen, situation: Situation) -> Action:
    """Its host has started it again. One that never served would only die once more."""
    if unproven(situation.release(replica.release)) and seen.failure is not None:
        return MoveReplica(replica.id, Signal.GAVE_UP, seen.failure)
    return MoveReplica(replica.id, Signal.RESTARTED, seen.failure, starts=seen.starts)
