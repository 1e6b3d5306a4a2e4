"""Which replicas shall go on, and which are lacking. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lyc.records.deployment import Release, ReleaseState, Replica, ReplicaState
from lyc.rollout.actions import CreateReplica, Expand
from lyc.rollout.counts import UNSETTLED, standing_by, wished
from lyc.rollout.doze import alive
from lyc.rollout.failures import failing, held_back, stale
from lyc.rollout.situation import Place, Situation
from lyc.rollout.spread import choose, stay
from lyc.rollout.transitions import COMING_OR_SERVING, ENDED, GOING

_WORTH = {ReplicaState.READY: 0, ReplicaState.UNREACHABLE: 1, ReplicaState.BACKOFF: 3}
_COMING = 2
_AT_REST = ENDED | {ReplicaState.READY, ReplicaState.ASLEEP, ReplicaState.UNREACHABLE}


def kept(situation: Situation, now: float) -> frozenset[str]:
    """Replicas that shall go on, by id: as many as are wished, and those that serve until the target can alone."""
    target, deployment = situation.target, situation.deployment
    if target is None or deployment.stopping or deployment.paused:
        return frozenset()
    numbers = wished(situation)
    going_on = [one for number, count in numbers.items() for one in _best(situation, number, count, now)]
    if target.state in UNSETTLED and deployment.surge:
        # What serves goes on until its successor is proven, whoever asks for it meanwhile.
        least = 1 if target.state is ReleaseState.PENDING else 0
        for old in standing_by(situation):
            count = numbers.get(old.number, numbers[target.number])
            if old.number not in numbers and squeezed(situation, now):
                count = min(count, serving(situation, old.number) - 1)  # one goes, to make room for its successor
            going_on += _best(situation, old.number, max(count, least), now)
    # What will be taken away drains while it still can: whoever asks now would be cut off.
    # And what sleeps of a release before serves no more: see `doze`.
    asleep = {one.id for one in situation.replicas if one.state is ReplicaState.ASLEEP and one.release not in numbers}
    return frozenset(one.id for one in going_on if one.host not in situation.leaving and one.id not in asleep)


def _best(situation: Situation, number: int, count: int, now: float) -> list[Replica]:
    """`count` of a release: who serves before who does not yet, then as `stay` has it. Of those that a restart
    replaces, one goes at a time: with room for one more when its successor is ready, else before it. Those that are
    lost, or where none may be any more, go when others serve in their stead.
    """
    mine = alive(situation, number, now)
    mine.sort(key=lambda one: (_worth(one, situation), one.created_at, one.id))
    away = [one for one in mine if _misplaced(one, situation)]
    here = [one for one in mine if one not in away]
    new = [one for one in here if not stale(one, situation.deployment, now)]
    fresh = stay(
        new, count, lambda one: _worth(one, situation), situation.places_of(number), home=_home(situation, number)
    )
    old = [one for one in here if stale(one, situation.deployment, now)]
    ready = sum(one.state is ReplicaState.READY for one in fresh)
    stuck = _stuck(situation, number, now)
    if situation.deployment.surge and not stuck:
        return fresh + (old + away)[: count - ready]
    old = old[: count - len(fresh)]
    full = stuck or (len(fresh) + len(old) == count and ready == len(fresh))
    if old and full and not any(_in_the_way(one, situation, now) for one in situation.of(number)):
        old.pop()
    return fresh + old + away[: max(0, count - ready - len(old))]


def _home(situation: Situation, number: int) -> str:
    release = situation.release(number)
    return release.spec.host if release else ""


def _misplaced(replica: Replica, situation: Situation) -> bool:
    """Whether it does not count: its host is lost, or is none where its release may be any more; or it is one too many
    on one host.
    """
    return _left_out(replica, situation) or replica.id == _surplus(situation, replica.release)


def _left_out(replica: Replica, situation: Situation) -> bool:
    places = situation.places_of(replica.release)
    return replica.id in situation.lost or (bool(places) and replica.host not in {one.host for one in places})


def crowded(situation: Situation, number: int) -> str | None:
    """The host that all replicas of an active release are on, where there are several of them, and as many as there
    shall be: its loss would be the loss of all.
    """
    release, deployment = situation.release(number), situation.deployment
    if release is None or release.state is not ReleaseState.ACTIVE or deployment.paused or deployment.stopping:
        return None
    count = wished(situation).get(number, 0)
    live = [one for one in situation.of(number) if one.state in COMING_OR_SERVING and not _left_out(one, situation)]
    if any(one.created_at < (deployment.restart_before or 0.0) for one in live):  # one change after the other
        return None
    ready = {one.host for one in live if one.state is ReplicaState.READY}
    return ready.pop() if len(live) >= count >= 2 and len(ready) == 1 and situation.places_of(number) else None


def _surplus(situation: Situation, number: int) -> str | None:
    """The replica of a crowded host that another one may stand in for, which is on its way, or for which there is room:
    nowhere dearer, for a rented machine is not kept for this.
    """
    host = crowded(situation, number)
    if host is None:
        return None
    live = [one for one in situation.of(number) if one.state in COMING_OR_SERVING and not _left_out(one, situation)]
    there = [one for one in live if one.host == host and one.state is ReplicaState.READY]
    dear = {one.host: one.cost for one in situation.places_of(number)}
    coming = len(live) > wished(situation)[number] and any(one.host != host for one in live)
    room = len(live) == wished(situation)[number] and any(
        one.room > 0 and one.host != host and one.cost <= dear.get(host, 0.0) for one in _usable(situation, number)
    )
    return max(there, key=lambda one: (one.created_at, one.id)).id if len(there) > 1 and (coming or room) else None


def _usable(situation: Situation, number: int) -> list[Place]:
    """Places that are not about to go, and where no engine was given up: it may be the host."""
    since = situation.deployment.restart_before or 0.0
    given_up = [one for one in situation.of(number) if one.state is ReplicaState.FAILED]
    bad = {one.host for one in given_up if one.created_at >= since}
    return [one for one in situation.places_of(number) if one.host not in bad | situation.leaving]


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


def serving(situation: Situation, number: int) -> int:
    """Replicas of a release that serve, or are about to."""
    return sum(one.state in COMING_OR_SERVING and not _misplaced(one, situation) for one in situation.of(number))


def squeezed(situation: Situation, now: float) -> bool:
    """Whether the target, which has several hosts, can get no further beside what serves until it is proven: replicas
    are lacking, none has room or will have any, and nothing is on its way.
    """
    target = situation.target
    return target is not None and situation.expansion == "none" and _stuck(situation, target.number, now)


def _stuck(situation: Situation, number: int, now: float) -> bool:
    """Whether replicas of a release with several hosts are lacking, and nothing that is begun makes room for them."""
    if not situation.places_of(number):
        return False
    if any(one.state not in _AT_REST and not _misplaced(one, situation) for one in situation.replicas):
        return False
    given_up = sum(_takes_a_place(one, situation, now) for one in situation.of(number))
    return shortfall(situation, now).get(number, 0) > given_up and not lacking(situation, now)


def shortfall(situation: Situation, now: float) -> dict[int, int]:
    """Replicas that are still missing of each release, whether there is room for them or not. More than none only."""
    missing = {number: _missing(situation, number, count, now) for number, count in wished(situation).items()}
    return {number: count for number, count in missing.items() if count > 0}


def lacking(situation: Situation, now: float) -> list[CreateReplica | Expand]:
    """Intents for replicas that are still missing. One that was given up keeps its place until a person asks again.

    Where there are several hosts, one release at a time: the next call knows what room is left.
    """
    intents: list[CreateReplica | Expand] = []
    for number, missing in shortfall(situation, now).items():
        if not situation.places_of(number):
            intents += [CreateReplica(number)] * missing
        elif not intents:
            intents += _on_hosts(situation, number, missing, now)
    return intents or _apart(situation)


def _apart(situation: Situation) -> list[CreateReplica | Expand]:
    """One more host for what is all on one, if one is known."""
    alone = [
        number
        for number in wished(situation)
        if crowded(situation, number) is not None and len(_usable(situation, number)) <= 1
    ]
    return [Expand(number, 1) for number in alone[:1] if situation.expansion == "known"]


def _on_hosts(situation: Situation, number: int, missing: int, now: float) -> list[CreateReplica | Expand]:
    """Where there is room; else one more host is looked for. Where an engine was given up, none is tried again: it may
    be the host. So another host takes over from it, but none is looked for in its stead.
    """
    release, mine = situation.release(number), situation.of(number)
    if release is None:
        return []
    usable = _usable(situation, number)
    there = Counter(one.host for one in mine if one.state in COMING_OR_SERVING and not _misplaced(one, situation))
    hosts = choose(usable, there, missing, home=release.spec.host)
    if not hosts and _home_first(situation, release, [one.host for one in usable]):
        return [CreateReplica(number, release.spec.host)]
    given_up = sum(_takes_a_place(one, situation, now) for one in mine)
    wanted = min(missing, wished(situation)[number] - there.total())  # none is looked for only to restart beside
    homeless = wanted - given_up - len(hosts)
    if situation.expansion == "rented":  # what is lost may be back before another machine is there
        homeless -= sum(one.id in situation.lost and one.state in COMING_OR_SERVING for one in mine)
    if homeless > 0 and situation.expansion in ("known", "rented"):
        return [*(CreateReplica(number, host) for host in hosts), Expand(number, homeless)]
    return [CreateReplica(number, host) for host in hosts]


def _home_first(situation: Situation, release: Release, usable: Sequence[str]) -> bool:
    """Whether the first replica goes to the host of the deploy all the same: that was found to have room for one; and
    where there is no room anywhere, it shall be said by an engine that does not start.
    """
    if release.spec.host not in usable or any(one.state not in ENDED for one in situation.of(release.number)):
        return False
    return release.state is ReleaseState.PENDING or situation.expansion == "none"


def _missing(situation: Situation, number: int, count: int, now: float) -> int:
    release, surge = situation.release(number), situation.deployment.surge
    if not count or release is None or held_back(situation, number, now):
        return 0
    if not surge and any(one.release != number and one.state not in ENDED for one in situation.replicas):
        return 0
    mine = situation.of(number)
    live = [one for one in alive(situation, number, now) if not _misplaced(one, situation)]
    going = [one for one in mine if one.state in GOING and one not in live and one.id not in situation.lost]
    replacing = surge and any(stale(one, situation.deployment, now) for one in live)
    missing = count + replacing - len(live)
    if situation.places_of(number):  # room is counted by host
        return max(0, min(missing, 2 * count - len(live) - len(going)))
    given_up = [one for one in mine if _takes_a_place(one, situation, now)]
    missing -= len(given_up)
    room = (2 * count if surge else count) - len(live) - len(going)  # those that drain still hold their memory
    return 0 if release.spec.host in situation.leaving else max(0, min(missing, room))
