"""Which replicas shall go on, and which are lacking. Pure."""

from __future__ import annotations

from lyc.records.deployment import Deployment, ReleaseState, Replica, ReplicaState
from lyc.rollout.actions import CreateReplica
from lyc.rollout.counts import UNSETTLED, active, wished
from lyc.rollout.failures import held_back
from lyc.rollout.situation import Situation
from lyc.rollout.transitions import COMING_OR_SERVING, ENDED, GOING

_WORTH = {ReplicaState.READY: 0, ReplicaState.UNREACHABLE: 1, ReplicaState.BACKOFF: 3}
_COMING = 2


def kept(situation: Situation) -> frozenset[str]:
    """Replicas that shall go on, by id: as many as are wished, and those that serve until the target can alone."""
    target, deployment = situation.target, situation.deployment
    if target is None or deployment.stopping or deployment.paused:
        return frozenset()
    counts = wished(situation)
    going_on = [one for number, count in counts.items() for one in _best(situation, number, count)]
    if target.state in UNSETTLED and deployment.surge:
        # What serves goes on until its successor is proven, whoever asks for it meanwhile.
        least = 1 if target.state is ReleaseState.PENDING else 0
        for old in active(situation):
            count = counts.get(old.number, counts[target.number])
            going_on += _best(situation, old.number, max(count, least))
    # What will be taken away drains while it still can: whoever asks now would be cut off.
    return frozenset(one.id for one in going_on if one.host not in situation.leaving)


def _best(situation: Situation, number: int, count: int) -> list[Replica]:
    """`count` of a release: who serves before who does not yet, the older before the younger. Of those that a restart
    replaces, one goes at a time: with room for one more when its successor is ready, else before it.
    """
    mine = sorted((one for one in situation.of(number) if one.state in COMING_OR_SERVING), key=_order)
    fresh = [one for one in mine if not stale(one, situation.deployment)][:count]
    old = [one for one in mine if stale(one, situation.deployment)]
    ready = sum(one.state is ReplicaState.READY for one in fresh)
    if situation.deployment.surge:
        return fresh + old[: count - ready]
    old = old[: count - len(fresh)]
    full = len(fresh) + len(old) == count and ready == len(fresh)
    if old and full and not _others(situation, number, GOING | {ReplicaState.FAILED}):
        old.pop()
    return fresh + old


def _order(replica: Replica) -> tuple[int, float, str]:
    return _WORTH.get(replica.state, _COMING), replica.created_at, replica.id


def stale(replica: Replica, deployment: Deployment) -> bool:
    """Whether a restart was asked for since it was made."""
    return deployment.restart_before is not None and replica.created_at < deployment.restart_before


def _others(situation: Situation, number: int, states: frozenset[ReplicaState]) -> list[Replica]:
    """Those of a release in one of these states, without those whose failure a restart has put by."""
    return [
        one
        for one in situation.of(number)
        if one.state in states and not (one.state is ReplicaState.FAILED and stale(one, situation.deployment))
    ]


def lacking(situation: Situation, now: float) -> list[CreateReplica]:
    """Intents for replicas that are still missing. One that was given up keeps its place until a person asks again."""
    return [
        CreateReplica(number)
        for number, count in wished(situation).items()
        for _ in range(_missing(situation, number, count, now))
    ]


def _missing(situation: Situation, number: int, count: int, now: float) -> int:
    release, surge = situation.release(number), situation.deployment.surge
    if not count or release is None or release.spec.host in situation.leaving or held_back(situation, number, now):
        return 0
    if not surge and any(one.release != number and one.state not in ENDED for one in situation.replicas):
        return 0
    live = _others(situation, number, COMING_OR_SERVING)
    failed = _others(situation, number, frozenset({ReplicaState.FAILED}))
    replacing = surge and any(stale(one, situation.deployment) for one in live)
    missing = count + replacing - len(live) - len(failed)
    # Those that drain still hold their memory.
    room = (2 * count if surge else count) - len(live) - len(_others(situation, number, GOING))
    return max(0, min(missing, room))
