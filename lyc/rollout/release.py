"""What the states of the replicas mean for the releases: proven, failed, back again. Pure."""

from __future__ import annotations

from lyc.records.deployment import Release, ReleaseState, ReplicaState
from lyc.rollout.actions import Action, Retarget, SettleRelease
from lyc.rollout.counts import active, beside, desired, left_behind, standing_by, wished
from lyc.rollout.failures import failing
from lyc.rollout.keep import squeezed
from lyc.rollout.situation import Situation
from lyc.rollout.transitions import COMING_OR_SERVING


def settle(situation: Situation, now: float) -> list[Action]:
    """Empty while the target is what it shall be. Each step may be cut off by a kill, and is found by the next call."""
    target = situation.target
    if target is None:
        return []
    match target.state:
        case ReleaseState.FAILED:
            return [Retarget(_number(previous(situation)), target.error)]
        case ReleaseState.SUPERSEDED:
            return [SettleRelease(target.number, ReleaseState.ACTIVE, back=True)]
        case ReleaseState.ACTIVE:
            return _superseded(situation) or _reverted(situation, target, now)
    if target.active_at is not None and previous(situation) is None:  # it has served, and nothing else ever has
        return [SettleRelease(target.number, ReleaseState.ACTIVE, back=True)]
    return _failed(situation, target) or _proven(situation, target, now)


def previous(situation: Situation) -> Release | None:
    """The release that serves, or served last, beside the target."""
    if serving := standing_by(situation):
        return serving[0]
    served = [
        one
        for one in situation.releases
        if one.state is ReleaseState.SUPERSEDED
        and one.active_at is not None
        and one.number != situation.deployment.target
    ]
    return max(served, key=lambda one: (one.active_at, one.number), default=None)


def _number(release: Release | None) -> int | None:
    return None if release is None else release.number


def _superseded(situation: Situation) -> list[Action]:
    gone = [*active(situation), *left_behind(situation)]
    return [SettleRelease(one.number, ReleaseState.SUPERSEDED) for one in gone]


def _failed(situation: Situation, target: Release) -> list[Action]:
    """One that was never active is given up with the first of its replicas: another release serves. Not so where that
    one may be to blame on its host, for it is ready on another one; and where nothing else serves, with the last.
    """
    mine = situation.of(target.number)
    failed = [one for one in mine if one.state is ReplicaState.FAILED]
    if not failed:
        return []
    bad = {one.host for one in failed}
    if any(one.state is ReplicaState.READY and one.host not in bad for one in mine):
        return []
    if previous(situation) is None and any(one.state in COMING_OR_SERVING for one in mine):
        return []
    return [
        SettleRelease(target.number, ReleaseState.FAILED, failed[0].error),
        Retarget(_number(previous(situation)), failed[0].error),
    ]


def _proven(situation: Situation, target: Release, now: float) -> list[Action]:
    if situation.deployment.paused:
        return []
    mine = situation.of(target.number)
    ready = sum(one.state is ReplicaState.READY for one in mine)
    failed = sum(one.state is ReplicaState.FAILED for one in mine)
    count = wished(situation)[target.number]
    needed = max(count - failed, min(count, 1))
    if beside(situation) is not None:
        enough = target.state is ReleaseState.PENDING and ready >= needed
        return [SettleRelease(target.number, ReleaseState.CANARY)] if enough else []
    before = [one for old in standing_by(situation) for one in situation.of(old.number)]
    served = sum(one.state in COMING_OR_SERVING for one in before)
    if situation.places_of(target.number):  # of several hosts: as many as have room
        needed = 1 if served <= 1 and squeezed(situation, now) else needed
    elif situation.deployment.surge:  # as many as served before will do: the rest may come when the old ones are gone
        needed = min(needed, served or needed)
    if ready < needed:
        return []
    return [SettleRelease(target.number, ReleaseState.ACTIVE), *_superseded(situation)]


def _reverted(situation: Situation, target: Release, now: float) -> list[Action]:
    """A release on probation whose last serving engine fails gives way to the one before it."""
    since, old = target.active_at, previous(situation)
    if since is None or old is None or not 0 <= now - since < situation.deployment.bake or not desired(situation):
        return []
    mine = situation.of(target.number)
    ended = [one for one in mine if failing(one, situation.look(one))]
    if not ended or any(one.state is ReplicaState.READY and one not in ended for one in mine):
        return []
    failure = situation.look(ended[0]).failure or {}
    words = (
        f"release {target.number} had served for {now - since:.0f} s, less than its bake time of "
        f"{situation.deployment.bake:.0f} s, so release {old.number} serves again"
    )
    why = str(failure.get("why") or "")
    error = {**failure, "why": f"{why}; {words}" if why else words}
    return [
        SettleRelease(target.number, ReleaseState.FAILED, error),
        SettleRelease(old.number, ReleaseState.ACTIVE, back=True),
        Retarget(old.number, error),
    ]
