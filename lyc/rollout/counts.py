"""How many replicas each release shall have, and which share of the requests. Pure."""

from __future__ import annotations

import math

from lyc.records.deployment import Release, ReleaseState, ReplicaState
from lyc.records.scaling import ScalePolicy
from lyc.rollout.situation import Situation

UNSETTLED = frozenset({ReleaseState.PENDING, ReleaseState.CANARY})
"""A release that does not serve alone yet."""
HEAVIEST = 100


def desired(situation: Situation) -> int:
    """Replicas that the deployment shall have now; 0 while it is paused or goes down. Never more than its policy lets
    it have at any hour.
    """
    deployment = situation.deployment
    if deployment.stopping or deployment.paused:
        return 0
    wished = deployment.scaler.desired if situation.desired is None else situation.desired
    return max(0, min(wished, _ceiling(deployment.policy)))


def _ceiling(policy: ScalePolicy) -> int:
    return max([policy.maximum, *(rule.maximum for rule in policy.schedule if rule.maximum is not None)])


def active(situation: Situation) -> list[Release]:
    """Releases other than the target that are active, the one that became so last first."""
    return _others(situation, ReleaseState.ACTIVE)


def standing_by(situation: Situation) -> list[Release]:
    """Releases that serve until the target is proven: the active ones, else one that was on its way to be when it was
    left for the target.
    """
    if serving := active(situation):
        return serving
    ready = {one.release for one in situation.replicas if one.state is ReplicaState.READY}
    return [one for one in left_behind(situation) if one.state is ReleaseState.CANARY or one.number in ready]


def left_behind(situation: Situation) -> list[Release]:
    """Releases that never came so far as to serve alone: another one became the target."""
    return [*_others(situation, ReleaseState.CANARY), *_others(situation, ReleaseState.PENDING)]


def _others(situation: Situation, state: ReleaseState) -> list[Release]:
    found = [one for one in situation.releases if one.state is state and one.number != situation.deployment.target]
    return sorted(found, key=lambda one: (one.active_at or 0, one.number), reverse=True)


def beside(situation: Situation) -> Release | None:
    """The release that serves the rest while the target is a canary, or comes up to be one; None where it is none.

    A canary stands beside another release, so there is none where there is room for one of them only.
    """
    target, deployment = situation.target, situation.deployment
    if deployment.canary is None or not deployment.surge or target is None or target.state not in UNSETTLED:
        return None
    return next(iter(active(situation)), None)


def wished(situation: Situation) -> dict[int, int]:
    """Replicas that each release shall have, by number; a release that is not in it shall get none.

    A release that is not proven yet needs one, even if nobody asks for the deployment just now.
    """
    target, deployment = situation.target, situation.deployment
    if target is None or target.state is ReleaseState.FAILED or deployment.stopping:
        return {}
    count, old = desired(situation), beside(situation)
    least = 1 if target.state is ReleaseState.PENDING and not deployment.paused else min(count, 1)
    if old is None or deployment.canary is None:
        return {target.number: max(count, least)}
    return {target.number: max(math.ceil(deployment.canary * count), least), old.number: count}


def split(situation: Situation) -> dict[str, int]:
    """Weight in 1 to 100 of each replica that may get requests, by id. All are alike, but of a canary and the release
    beside it each gets its share, however many replicas it has.
    """
    ready = [replica for replica in situation.replicas if replica.state is ReplicaState.READY]
    weights = {replica.id: 1 for replica in ready}
    old, target, share = beside(situation), situation.target, situation.deployment.canary
    if old is None or target is None or share is None:
        return weights
    new = [replica.id for replica in ready if replica.release == target.number]
    rest = [replica.id for replica in ready if replica.release == old.number]
    if not new or not rest:
        return weights
    light, heavy = _weights(share, len(new), len(rest))
    return weights | dict.fromkeys(new, light) | dict.fromkeys(rest, heavy)


def _weights(share: float, new: int, rest: int) -> tuple[int, int]:
    """Weights of one new and one old replica, so that the new ones together get nearest to `share`."""
    ratio = share * rest / ((1 - share) * new)
    pairs = [(min(max(round(ratio * old), 1), HEAVIEST), old) for old in range(1, HEAVIEST + 1)]
    return min(pairs, key=lambda pair: abs(pair[0] * new / (pair[0] * new + pair[1] * rest) - share))
