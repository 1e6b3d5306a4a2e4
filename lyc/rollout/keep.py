"""Which replicas shall go on, and which are lacking. Pure."""

from __future__ import annotations

from lyc.records.deployment import ReleaseState, Replica, ReplicaState
from lyc.rollout.actions import CreateReplica
from lyc.rollout.counts import UNSETTLED, standing_by, wished
from lyc.rollout.failures import failing, held_back, stale
from lyc.rollout.situation import Situation
from lyc.rollout.transitions import COMING_OR_SERVING, ENDED, GOING

_WORTH = {ReplicaState.READY: 0, ReplicaState.UNREACHABLE: 1, ReplicaState.BACKOFF: 3}
_COMING = 2


def kept(situation: Situation, now: float) -> frozenset[str]:
    """Replicas that shall go on, by id: as many as are wished, and those that serve until the target can alone."""
    target, deployment = situation.target, situation.deployment
    if target is None or deployment.stopping or deployment.paused:
        return frozenset()
    counts = wished(situation)
    going_on = [one for number, count in counts.items() for one in _best(situation, number, count, now)]
    if target.state in UNSETTLED and deployment.surge:
        # What serves goes on until its successor is proven, whoever asks for it meanwhile.
        least = 1 if target.state is ReleaseState.PENDING else 0
        for old in standing_by(situation):
            count = counts.get(old.number, counts[target.number])
            going_on += _best(situation, old.number, max(count, least), now)
    # What will be taken away drains while it still can: whoever asks now would be cut off.
    return frozenset(one.id for one in going_on if one.host not in situation.leaving)


def _best(situation: Situation, number: int, count: int, now: float) -> list[Replica]:
    """`count` of a release: who serves before who does not yet, the older before the younger. Of those that a restart
    replaces, one goes at a time: with room for one more when its successor is ready, else before it.
    """
    mine = [one for one in situation.of(number) if one.state in COMING_OR_SERVING]
    mine.sort(key=lambda one: (_worth(one, situation), one.created_at, one.id))
    fresh = [one for one in mine if not stale(one, situation.deployment, now)][:count]
    old = [one for one in mine if stale(one, situation.deployment, now)]
    ready = sum(one.state is ReplicaState.READY for one in fresh)
    if situation.deployment.surge:
        return fresh + old[: count - ready]
    old = old[: count - len(fresh)]
    full = len(fresh) + len(old) == count and ready == len(fresh)
    if old and full and not any(_in_the_way(one, situation, now) for one in situation.of(number)):
        old.pop()
    return fresh + old


def _in_the_way(replica: Replica, situation: Situation, now: float) -> bool:
    """Whether a restart has to wait for it, or has come to its end with it."""
    return replica.state in GOING or _takes_a_place(replica, situation, now)


def _takes_a_place(replica: Replica, situation: Situation, now: float) -> bool:
    """Whether it was given up, and no restart was asked for since."""
    return replica.state is ReplicaState.FAILED and not stale(replica, situation.deployment, now)


def _worth(replica: Replica, situation: Situation) -> int:
    """The less, the more it is worth. One that the store calls ready may just have been seen to have ended."""
    seen = situation.look(replica)
    if seen.process == "unknown" and seen.failure is not None:
        return max(_WORTH[ReplicaState.UNREACHABLE], _WORTH.get(replica.state, _COMING))
    if failing(replica, seen) or seen.starts > replica.starts:
        return _WORTH[ReplicaState.BACKOFF]
    return _WORTH.get(replica.state, _COMING)


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
    mine = situation.of(number)
    live = [one for one in mine if one.state in COMING_OR_SERVING]
    given_up = [one for one in mine if _takes_a_place(one, situation, now)]
    going = [one for one in mine if one.state in GOING]
    replacing = surge and any(stale(one, situation.deployment, now) for one in live)
    missing = count + replacing - len(live) - len(given_up)
    room = (2 * count if surge else count) - len(live) - len(going)  # those that drain still hold their memory
    return max(0, min(missing, room))
