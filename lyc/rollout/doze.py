"""Which replicas sleep while nobody asks for them. Pure."""

from __future__ import annotations

from lyc.records.deployment import Release, Replica, ReplicaState
from lyc.rollout.counts import desired
from lyc.rollout.failures import stale
from lyc.rollout.situation import Situation
from lyc.rollout.transitions import COMING_OR_SERVING

_ORDER = (ReplicaState.ASLEEP, ReplicaState.DRAINING, ReplicaState.READY)


def dozing(situation: Situation, now: float) -> frozenset[str]:
    """Replicas that shall be asleep, by id: one of the target while its scaler wants that. What sleeps of another
    release ends: asleep it still holds some of the cards, which its successor may need.
    """
    deployment, target = situation.deployment, situation.target
    if target is None or deployment.stopping or deployment.paused:
        return frozenset()
    chosen = _of(situation, target, now)[:1] if deployment.scaler.asleep and not desired(situation) else []
    return frozenset(one.id for one in chosen)


def _of(situation: Situation, release: Release, now: float) -> list[Replica]:
    """Those of a release that can sleep, the best first."""
    away = situation.leaving
    mine = [one for one in situation.of(release.number) if one.sleeps and one.state in _ORDER]
    mine = [one for one in mine if one.host not in away and not stale(one, situation.deployment, now)]
    return sorted(mine, key=lambda one: (_ORDER.index(one.state), one.created_at, one.id))


def alive(situation: Situation, number: int, now: float) -> list[Replica]:
    """Replicas of a release that serve or may yet. Where it is wanted again while the last of the target drain on their
    way to sleep, they need not sleep first.
    """
    mine, target = situation.of(number), situation.target
    found = [one for one in mine if one.state in COMING_OR_SERVING]
    if found or target is None or target.number != number:
        return found
    return [one for one in _of(situation, target, now) if one.state is ReplicaState.DRAINING]


def sleeps(situation: Situation, number: int) -> bool:
    """Whether an engine of this release is to be started so that it can sleep. vLLM can only on cards."""
    release = situation.release(number)
    wished = situation.deployment.policy.idle_sleep is not None
    return wished and release is not None and not release.plan.engine.on_cpu
