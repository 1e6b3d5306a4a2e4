"""desired × actual × now → actions. Pure and level-triggered: only what is true now counts, never what happened before.

One call makes each replica take at most one step; the loop calls again until nothing is left to do.
"""

from __future__ import annotations

from lyc.records.deployment import Release, ReleaseState, Replica, ReplicaState
from lyc.rollout.actions import (
    Action,
    CreateReplica,
    MoveReplica,
    RemoveDeployment,
    Retarget,
    SettleRelease,
    StartProcess,
    StopProcess,
)
from lyc.rollout.situation import Policy, Seen, Situation
from lyc.rollout.transitions import COMING_OR_SERVING, ENDED, Signal

_COMING = frozenset({ReplicaState.STARTING, ReplicaState.LOADING, ReplicaState.PROBING})


def decide(situation: Situation, now: float, policy: Policy) -> tuple[Action, ...]:
    """The next step of every replica and release of one deployment. Empty when reality equals the wish."""
    wanted = _wanted(situation)
    actions: list[Action] = []
    for replica in situation.replicas:
        seen = situation.seen.get(replica.id, Seen("absent"))
        actions += _follow(replica, seen, situation, now, policy) or _steer(
            replica, seen, wanted, situation, now=now, policy=policy
        )
    if situation.deployment.stopping:
        if not actions and all(replica.state in ENDED for replica in situation.replicas):
            actions.append(RemoveDeployment())
        return tuple(actions)
    # What it means is said first: stopping a process may take as long as its grace.
    return tuple(_settle(situation) + actions + _create(situation))


def _follow(replica: Replica, seen: Seen, situation: Situation, now: float, policy: Policy) -> list[Action]:
    """Steps that follow from what was seen, whatever is wanted."""
    state = replica.state
    if state in ENDED:
        return [StopProcess(replica.id, policy.stop_grace)] if seen.process == "running" else []
    if seen.process == "unknown":
        return _unknown(replica, seen, situation)
    if state in (ReplicaState.DRAINING, ReplicaState.STOPPING):
        return [MoveReplica(replica.id, Signal.GONE)] if seen.process != "running" else []
    if state is ReplicaState.READY or state is ReplicaState.UNREACHABLE or state in _COMING:
        if seen.process == "exited":  # stopping it all the same finds what its death may have left behind
            return [StopProcess(replica.id, 0), _ended(replica, seen, situation, now, policy)]
        if state is ReplicaState.UNREACHABLE:
            return [MoveReplica(replica.id, Signal.FOUND, starts=seen.starts)]
        if seen.process == "absent":  # its intent was written, its process not yet started: we were killed in between
            return [StartProcess(replica.id)]
        if seen.starts > replica.starts:
            return [_restarted(replica, seen, situation)]
        if seen.failure is not None:
            return [MoveReplica(replica.id, Signal.GAVE_UP, seen.failure)]
    return []


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
    if _unproven(replica, situation) and seen.failure is not None:
        return MoveReplica(replica.id, Signal.GAVE_UP, seen.failure)
    return MoveReplica(replica.id, Signal.RESTARTED, seen.failure, starts=seen.starts)


def _unproven(replica: Replica, situation: Situation) -> bool:
    release = situation.release(replica.release)
    return release is None or release.state is not ReleaseState.ACTIVE


def _ended(replica: Replica, seen: Seen, situation: Situation, now: float, policy: Policy) -> Action:
    """A replica died unasked: again after a pause, or never again."""
    stable = replica.ready_at is not None and now - replica.ready_at >= policy.stable_after
    failures = 0 if stable else replica.failures
    if seen.gave_up or _unproven(replica, situation) or failures >= policy.crash_limit:
        return MoveReplica(replica.id, Signal.GAVE_UP, seen.failure)
    pause = min(policy.backoff_first * 2**failures, policy.backoff_longest)
    return MoveReplica(replica.id, Signal.DIED, seen.failure, until=now + pause, clean=stable)


def _steer(
    replica: Replica, seen: Seen, wanted: frozenset[str], situation: Situation, *, now: float, policy: Policy
) -> list[Action]:
    """Steps that follow from what is wanted."""
    state = replica.state
    if state is ReplicaState.STOPPING:
        if seen.process == "unknown":
            return []
        return [StopProcess(replica.id, policy.stop_grace)]
    if state is ReplicaState.DRAINING:
        waited = now - replica.updated_at >= policy.settle or _set_back(replica, now)
        settled = waited and seen.in_flight == 0
        over = replica.drain_deadline is not None and now >= replica.drain_deadline
        return [MoveReplica(replica.id, Signal.STOP)] if settled or over else []
    if state in ENDED:
        return []
    if replica.id not in wanted:
        if state is ReplicaState.READY:
            until = now + situation.deployment.drain_timeout
            return [MoveReplica(replica.id, Signal.DRAIN, until=until)]
        return [MoveReplica(replica.id, Signal.STOP)]
    return _advance(replica, seen, now)


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
        return [MoveReplica(replica.id, Signal.RETRY), StartProcess(replica.id)] if due else []
    if state is ReplicaState.PROBING and seen.proven:
        return [MoveReplica(replica.id, Signal.PROVEN)]
    if state in (ReplicaState.STARTING, ReplicaState.LOADING) and seen.listening:
        return [MoveReplica(replica.id, Signal.LISTENING)]
    if state is ReplicaState.STARTING and seen.loading:
        return [MoveReplica(replica.id, Signal.LOADING)]
    return []


def _wanted(situation: Situation) -> frozenset[str]:
    """Replicas that shall go on: as many of the target as wished, and the old ones until the target can serve alone."""
    target = situation.release(situation.deployment.target)
    if situation.deployment.stopping or target is None:
        return frozenset()
    mine = [r for r in situation.replicas if r.release == target.number and r.state in COMING_OR_SERVING]
    mine.sort(key=lambda r: (r.state is not ReplicaState.READY, r.created_at))
    kept = {replica.id for replica in mine[: target.spec.min_replicas]}
    ready = sum(replica.state is ReplicaState.READY for replica in mine)
    if ready < target.spec.min_replicas and situation.deployment.surge:
        serving = (ReplicaState.READY, ReplicaState.BACKOFF, ReplicaState.UNREACHABLE)
        active = {release.number for release in situation.releases if release.state is ReleaseState.ACTIVE}
        kept |= {r.id for r in situation.replicas if r.release in active - {target.number} and r.state in serving}
    # What will be taken away drains while it still can: whoever asks now would be cut off.
    return frozenset(kept) - {replica.id for replica in situation.replicas if replica.host in situation.leaving}


def _create(situation: Situation) -> list[Action]:
    """Intents for replicas that the target still lacks. One that was given up stays so until a person asks again."""
    target = situation.release(situation.deployment.target)
    if target is None or target.state is ReleaseState.FAILED:
        return []
    if target.spec.host in situation.leaving:
        return []
    others = [r for r in situation.replicas if r.release != target.number and r.state not in ENDED]
    if others and not situation.deployment.surge:
        return []
    mine = [r for r in situation.replicas if r.release == target.number and r.state is not ReplicaState.STOPPED]
    mine = [r for r in mine if r.state not in (ReplicaState.DRAINING, ReplicaState.STOPPING)]
    return [CreateReplica(target.number)] * max(0, target.spec.min_replicas - len(mine))


def _settle(situation: Situation) -> list[Action]:
    """What the replicas' states mean for the releases."""
    target = situation.release(situation.deployment.target)
    if target is None or target.state is not ReleaseState.PENDING:
        return []
    mine = [replica for replica in situation.replicas if replica.release == target.number]
    failed = next((replica for replica in mine if replica.state is ReplicaState.FAILED), None)
    if failed is not None:
        return [
            SettleRelease(target.number, ReleaseState.FAILED, failed.error),
            Retarget(_previous(situation, target), failed.error),
        ]
    if sum(replica.state is ReplicaState.READY for replica in mine) < target.spec.min_replicas:
        return []
    older = [r for r in situation.releases if r.state is ReleaseState.ACTIVE and r.number != target.number]
    superseded: list[Action] = [SettleRelease(release.number, ReleaseState.SUPERSEDED) for release in older]
    return [SettleRelease(target.number, ReleaseState.ACTIVE), *superseded]


def _previous(situation: Situation, failed: Release) -> int | None:
    """The release that served before `failed`."""
    active = [release.number for release in situation.releases if release.state is ReleaseState.ACTIVE]
    return max((number for number in active if number != failed.number), default=None)
