"""What the death of an engine means for its replica, and for how long. Pure."""

from __future__ import annotations

from lyc.records.deployment import Deployment, Release, ReleaseState, Replica, ReplicaState
from lyc.rollout.actions import MoveReplica
from lyc.rollout.counts import wished
from lyc.rollout.situation import Policy, Seen, Situation
from lyc.rollout.transitions import COMING_OR_SERVING, Signal


def unproven(release: Release | None) -> bool:
    """Whether a release has not served alone yet: what its engine refused once it refuses again."""
    return release is None or release.state is not ReleaseState.ACTIVE


def failing(replica: Replica, seen: Seen) -> bool:
    """Whether its engine has just ended, was started again by its host, or answers no more. To end with its host is no
    failure of it.
    """
    if replica.state not in COMING_OR_SERVING or replica.state in (ReplicaState.PENDING, ReplicaState.BACKOFF):
        return False
    if seen.process == "exited":
        return not seen.rebooted
    return seen.process == "running" and seen.failure is not None and replica.state is not ReplicaState.UNREACHABLE


def ended(replica: Replica, seen: Seen, situation: Situation, now: float, policy: Policy) -> MoveReplica:
    """A replica died unasked or must be started again: after a pause, or never. One that was ready at a time that is
    still to come, before the clock was set back, is given the benefit of the doubt, and one that ended with its host
    begins anew.
    """
    if seen.rebooted:
        return MoveReplica(replica.id, Signal.DIED, seen.failure, until=now + policy.backoff_first, clean=True)
    stable = replica.ready_at is not None and not 0 <= now - replica.ready_at < policy.stable_after
    failures = 0 if stable else replica.failures
    given_up = seen.gave_up or unproven(situation.release(replica.release)) or failures >= policy.crash_limit
    if given_up:
        return MoveReplica(replica.id, Signal.GAVE_UP, seen.failure)
    pause = min(policy.backoff_first * 2**failures, policy.backoff_longest)
    signal = Signal.DIED if seen.process == "exited" else Signal.UNWELL
    return MoveReplica(replica.id, signal, seen.failure, until=now + pause, clean=stable)


def stale(replica: Replica, deployment: Deployment, now: float) -> bool:
    """Whether a restart was asked for since it was made. Nobody can tell while the clock is before that, set back."""
    before = deployment.restart_before
    return before is not None and replica.created_at < before <= now


def put_by(replica: Replica, situation: Situation, now: float, policy: Policy) -> MoveReplica | None:
    """A replica that was given up, once the wish that it failed is over: its release shall not serve any more, the
    deployment is paused or at zero, or a restart was asked for. None while its failure still counts.

    Each time that a deployment wakes in vain it has to wait for longer, and in the end a person must ask.
    """
    deployment, release = situation.deployment, situation.release(replica.release)
    if replica.state is not ReplicaState.FAILED or situation.target is None or deployment.stopping:
        return None
    counts = wished(situation)
    if (
        stale(replica, deployment, now)
        or replica.release not in counts
        or (deployment.paused and not unproven(release))
    ):
        return MoveReplica(replica.id, Signal.PUT_BY)
    vain = _wakes(_in_vain(situation, replica.release))
    if counts[replica.release] or vain + 1 >= policy.wake_limit:
        return None
    return MoveReplica(replica.id, Signal.PUT_BY, until=replica.updated_at + policy.wake_pause * 2**vain)


def _in_vain(situation: Situation, number: int) -> list[Replica]:
    """Replicas of a release that were given up in wakes since one of them served last."""
    mine = situation.of(number)
    served = max((one.created_at for one in mine if one.ready_at is not None), default=float("-inf"))
    return [one for one in mine if given_up(one) and one.state is ReplicaState.STOPPED and one.created_at > served]


def _wakes(put_by: list[Replica]) -> int:
    """In how many wakes they were made: those of one wake were all made before one of them was put by."""
    wakes, over = 0, float("-inf")
    for one in sorted(put_by, key=lambda one: one.created_at):
        wakes += one.created_at >= over
        over = max(over, one.updated_at)
    return wakes


def given_up(replica: Replica) -> bool:
    """Whether it will not be tried again because its engine failed, in this wake or in a former one."""
    return replica.state is ReplicaState.FAILED or (
        replica.state is ReplicaState.STOPPED and replica.retry_at is not None
    )


def held_back(situation: Situation, number: int, now: float) -> bool:
    """Whether a wake in vain is too short a time ago to try again. A clock that was set back holds nothing up."""
    return any(one.retry_at is not None and one.updated_at <= now < one.retry_at for one in _in_vain(situation, number))
