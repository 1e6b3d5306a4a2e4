"""Which host the next replica goes to, and which replica is the first to go. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from lyc.records.deployment import Replica
from lyc.rollout.situation import Place


def choose(places: Sequence[Place], there: Mapping[str, int], count: int, *, home: str) -> list[str]:
    """Hosts for `count` more replicas, or for as many as there is room. there: replicas of the release by host. home:
    where it was deployed to.

    Where all are on one host, another one comes first: the loss of one must not be the loss of all. Else the one that
    holds the weights, then the cheapest, then the one with the fewest replicas, then the one with most room.
    """
    room = {place.host: place.room for place in places}
    crowd, chosen = Counter(there), list[str]()
    for _ in range(count):
        free = [place for place in places if room[place.host] > 0]
        if not free:
            break
        together = {host for host, number in crowd.items() if number > 0}
        best = min(
            free,
            key=lambda one: (
                together == {one.host}, not one.holds, one.cost, crowd[one.host], one.host != home,
                -room[one.host], one.host,
            ),
        )  # fmt: skip
        chosen.append(best.host)
        crowd[best.host] += 1
        room[best.host] -= 1
    return chosen


def stay(
    replicas: Sequence[Replica], count: int, worth: Callable[[Replica], int], places: Sequence[Place], *, home: str
) -> list[Replica]:
    """`count` of them, those that are worth most (the least `worth`) first.

    Of equal ones those go first that cost most, and of these the ones that are alone on their machine, so that it can
    be given back; of those that cost nothing the ones that share their host with most. Then the younger ones.
    """
    cost = {place.host: place.cost for place in places}
    left = sorted(replicas, key=lambda one: (worth(one), one.created_at, one.id))
    while len(left) > max(count, 0):
        crowd = Counter(one.host for one in left)
        last = worth(left[-1])
        left.remove(max((one for one in left if worth(one) == last), key=lambda one: _spare(one, cost, crowd, home)))
    return left


def _spare(replica: Replica, cost: Mapping[str, float], crowd: Mapping[str, int], home: str) -> tuple[object, ...]:
    """The more, the sooner it goes."""
    price, there = cost.get(replica.host, 0.0), crowd[replica.host]
    return price, -there if price else there, replica.host != home, replica.created_at, replica.id
