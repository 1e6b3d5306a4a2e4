"""The step of a replica that follows from what is wanted of it. Pure."""

from __future__ import annotations

from dataclasses import replace

from lyc.records.deployment import Replica, ReplicaState
from lyc.rollout.actions import Action, MoveReplica, SleepEngine, StartProcess, StopProcess, WakeEngine
from lyc.rollout.doze import sleeps
from lyc.rollout.failures import ended
from lyc.rollout.situation import Policy, Seen, Situation
from lyc.rollout.transitions import ENDED, Signal

_ASLEEP_STILL: dict[str, object] = {
    "ref": "engine-sleeps",
    "what": "the engine was told to wake, and sleeps still",
    "why": "it is started anew",
}


def steer(
    replica: Replica, seen: Seen, situation: Situation, now: float, policy: Policy, *, wanted: bool, dozes: bool
) -> list[Action]:
    """Towards ready where it is wanted, towards sleep where it `dozes`, else towards its end. Empty when there is
    nothing to do but to wait.
    """
    state = replica.state
    if state is ReplicaState.STOPPING:
        return [StopProcess(replica.id, policy.stop_grace)] if seen.process != "unknown" else []
    if state is ReplicaState.DRAINING and wanted:
        return [MoveReplica(replica.id, Signal.STAY)]
    if state is ReplicaState.DRAINING:
        waited = now - replica.updated_at >= policy.settle or _set_back(replica, now)
        settled = waited and seen.in_flight == 0
        over = replica.drain_deadline is not None and now >= replica.drain_deadline
        if not settled and not over:
            return []
        if dozes:
            return [MoveReplica(replica.id, Signal.SLEEP), SleepEngine(replica.id)]
        return [MoveReplica(replica.id, Signal.STOP)]
    if state in ENDED:
        return []
    if state is ReplicaState.ASLEEP and (wanted or dozes):
        return _asleep(replica, seen, situation, now, policy, wanted=wanted)
    if wanted:
        if replica.id in situation.waiting and state in (ReplicaState.PENDING, ReplicaState.BACKOFF):
            return []
        return _advance(replica, seen, situation, now, policy)
    if state is ReplicaState.READY:
        return [MoveReplica(replica.id, Signal.DRAIN, until=now + situation.deployment.drain_timeout)]
    return [MoveReplica(replica.id, Signal.STOP)]


def _set_back(replica: Replica, now: float) -> bool:
    """Whether the clock was set back since the replica's last step, so that what is due may seem to be hours away."""
    return now < replica.updated_at


def _asleep(
    replica: Replica, seen: Seen, situation: Situation, now: float, policy: Policy, *, wanted: bool
) -> list[Action]:
    """Of one that sleeps, or was told to. While its host is silent nothing is known."""
    if seen.process != "running":
        return []
    if wanted:
        if replica.id in situation.waiting:
            return []
        return [MoveReplica(replica.id, Signal.WAKE), WakeEngine(replica.id)]
    if seen.sleeping:
        return []
    if now - replica.updated_at >= policy.doze_limit:  # it holds its cards, and others count on them
        return [MoveReplica(replica.id, Signal.STOP)]
    return [SleepEngine(replica.id)] if seen.sleeping is False else []


def _advance(replica: Replica, seen: Seen, situation: Situation, now: float, policy: Policy) -> list[Action]:
    """One step towards ready."""
    state, can_sleep = replica.state, sleeps(situation, replica.release)
    if state is ReplicaState.PENDING:
        return [MoveReplica(replica.id, Signal.START, sleeps=can_sleep), StartProcess(replica.id)]
    if state is ReplicaState.BACKOFF:
        due = replica.retry_at is None or now >= replica.retry_at or _set_back(replica, now)
        # While its host is silent, nobody knows whether the former process has ended.
        if not due or seen.process == "unknown":
            return []
        return [MoveReplica(replica.id, Signal.RETRY, sleeps=can_sleep), StartProcess(replica.id)]
    if state is ReplicaState.PROBING and seen.sleeping:
        if now - replica.updated_at < policy.doze_limit:
            return [WakeEngine(replica.id)]
        return [ended(replica, replace(seen, failure=_ASLEEP_STILL), situation, now, policy)]
    if state is ReplicaState.PROBING and seen.proven:
        return [MoveReplica(replica.id, Signal.PROVEN)]
    if state in (ReplicaState.STARTING, ReplicaState.LOADING) and seen.listening:
        return [MoveReplica(replica.id, Signal.LISTENING)]
    if state is ReplicaState.STARTING and seen.loading:
        return [MoveReplica(replica.id, Signal.LOADING)]
    return []
