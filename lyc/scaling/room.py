"""Cards that several deployments share: who gives way, so that another one can serve. Pure.

Who was asked for last has them. One that nobody asks for just now, and that may be at zero, sleeps in favour of one
that is asked for, or ends where too little would be left beside what it keeps: the least recently used first, and no
more of them than it takes. One that has just come stays for a while, so that two that are asked for in turn do not only
load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

SHORTEST_STAY = 30.0
"""Seconds for which one that is ready keeps its cards, whoever else is asked for: to start takes longer than that."""
SLEEPERS_STAY = 10.0
"""The same of one that sleeps meanwhile, and is back in a few seconds."""


class Step(Enum):
    """What a resident is now, or shall be."""

    AWAKE = 0
    ASLEEP = 1
    GONE = 2


@dataclass(frozen=True, slots=True)
class Resident:
    """A replica of another deployment on the host. Bytes are of each of its cards: holds, while it serves; keeps, while
    it sleeps, None = it cannot.

    step: what it is now; goes: what it is becoming already, the same where it stays. movable: its deployment may be at
    zero at this hour, and it has been seen that nobody asks for it just now. ready_at: None = not ready yet.
    last_request: of its deployment. Times are seconds since the epoch.
    """

    deployment: str
    replica: str
    cards: tuple[int, ...]
    holds: int
    keeps: int | None
    step: Step
    goes: Step
    movable: bool
    ready_at: float | None = None
    last_request: float | None = None

    def takes(self, step: Step) -> int:
        return {Step.AWAKE: self.holds, Step.ASLEEP: self.keeps or 0, Step.GONE: 0}[step]


@dataclass(frozen=True, slots=True)
class Need:
    """A replica that would start or wake. takes: bytes of each of its cards. room: bytes of each card of the host."""

    cards: tuple[int, ...]
    takes: int
    room: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Room:
    """there: it may come now. moves: residents that shall sleep or end for it, by replica. behind: deployments that it
    has to wait for, where nobody can be moved.
    """

    there: bool
    moves: Mapping[str, Step]
    behind: tuple[str, ...] = ()


def make_room(residents: Sequence[Resident], need: Need, now: float) -> Room:
    """What follows for one that would come."""
    near = [one for one in residents if set(one.cards) & set(need.cards)]
    if not _short(near, {one.replica: one.step for one in near}, need):
        return Room(True, {})
    steps = {one.replica: one.goes for one in near}
    if not _short(near, steps, need):
        return Room(False, {}, _names([one for one in near if one.goes is not one.step]))
    movable = [one for one in sorted(near, key=_used) if _may_go(one, now)]
    for one in movable:
        if one.step is Step.AWAKE and _short(near, steps, need) & set(one.cards):
            steps[one.replica] = Step.GONE if one.keeps is None else Step.ASLEEP
    for one in movable:
        if steps[one.replica] is Step.ASLEEP and _short(near, steps, need) & set(one.cards):
            steps[one.replica] = Step.GONE
    if _short(near, steps, need):
        return Room(False, {}, _names([one for one in near if one not in movable and one.goes is not Step.GONE]))
    for one in reversed(movable):
        steps = _spared(one, near, steps, need)
    return Room(False, {one.replica: steps[one.replica] for one in movable if steps[one.replica] is not one.step})


def _spared(one: Resident, near: Sequence[Resident], steps: dict[str, Step], need: Need) -> dict[str, Step]:
    """The steps, with the least for this one that still does."""
    for step in Step:
        possible = one.keeps is not None or step is not Step.ASLEEP
        if possible and one.step.value <= step.value < steps[one.replica].value:
            tried = steps | {one.replica: step}
            if not _short(near, tried, need):
                return tried
    return steps


def _used(one: Resident) -> tuple[float, str]:
    return (one.last_request or one.ready_at or 0.0, one.replica)


def _may_go(one: Resident, now: float) -> bool:
    if not one.movable or one.goes is not one.step:
        return False
    stay = SHORTEST_STAY if one.keeps is None else SLEEPERS_STAY
    return one.step is Step.ASLEEP or (one.ready_at is not None and not 0 <= now - one.ready_at < stay)


def _short(near: Sequence[Resident], steps: Mapping[str, Step], need: Need) -> set[int]:
    """Cards of which too little is left."""
    used = {card: sum(one.takes(steps[one.replica]) for one in near if card in one.cards) for card in need.cards}
    return {card for card in need.cards if need.room.get(card, 0) - used[card] < need.takes}


def _names(residents: Sequence[Resident]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.deployment for one in residents))
