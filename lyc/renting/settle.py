"""What must be done about the machines of one provider, given a whole list of them and what lyc knows. Pure.

Level-triggered: each call starts from what is true now, so it does not matter how often the controller died between
intent, act and answer. Only machines that carry this controller's mark are ever judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lyc.records.rental import Machine, MachineState, Rental, RentalState
from lyc.renting.transitions import OPEN, Signal, after


@dataclass(frozen=True, slots=True)
class Move:
    """Store the rental as `rental`, if it is still as it `was`. Where it is not, nothing more is done about it: what
    followed was decided on what is not true any more.
    """

    rental: Rental
    was: Rental

    @property
    def run_id(self) -> str:
        return self.rental.run_id


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask the provider to end a machine. run_id: of its rental; one that nobody knows has none in the store."""

    machine: str
    run_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask the provider for this very machine: it is not in the list (any more). Gone is only what it says is gone; one
    that it tells of is judged as if it had been in the list, for somebody may have renamed it.
    """

    run_id: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the controller knows of its rentals at one provider, read after the list was.

    wanted: run ids that something still uses. creating: run ids whose create is being waited for by a thread of this
    controller right now. settle: see `Capabilities.settle`. why: of those that nothing uses, why; else `unused`.
    """

    rentals: Mapping[str, Rental]
    wanted: frozenset[str]
    creating: frozenset[str]
    settle: float
    why: Mapping[str, str] = field(default_factory=dict)


Step = Move | Terminate | Confirm
_OF_NO_USE = (MachineState.FAILED, MachineState.ENDING)


def settle(machines: Sequence[Machine], known: Known, now: float) -> tuple[Step, ...]:
    """The next steps at one provider. machines: all that carry this controller's mark, from one complete listing that
    was asked for before `known` was read (so that what is created meanwhile is not taken for an orphan).
    """
    found: dict[str, list[Machine]] = {}
    for machine in machines:
        if machine.run_id is not None and machine.alive:
            found.setdefault(machine.run_id, []).append(machine)
    steps: list[Step] = []
    for run_id in sorted(found.keys() - known.rentals.keys()):
        steps += _ended(found[run_id], run_id, "unknown-to-lyc")
    for run_id, rental in sorted(known.rentals.items()):
        steps += _one(rental, found.get(run_id, []), known, now)
    return tuple(steps)


def orphans(machines: Iterable[Machine], rentals: Mapping[str, Rental]) -> list[Machine]:
    """Machines with this controller's mark that it does not know, or believes gone."""
    return [
        one
        for one in machines
        if one.run_id and one.alive and (one.run_id not in rentals or rentals[one.run_id].state not in OPEN)
    ]


def told(rental: Rental, machine: Machine, now: float) -> Rental:
    """The rental with what its provider tells of its machine."""
    return replace(
        rental,
        state=after(rental.state, Signal.TOLD),
        machine=machine.id,
        address=machine.address or rental.address,
        port=machine.port if machine.address else rental.port,
        user=machine.user or rental.user,
        billed_from=rental.billed_from or _began(rental, machine, now),
        billed_until=None,
        notice_at=machine.notice_at or rental.notice_at,
        updated_at=now,
    )


def _began(rental: Rental, machine: Machine, now: float) -> float:
    """From when it costs. A clock that is not ours may be set wrong: it was not before we asked, nor is it to come."""
    said = rental.intended_at if machine.created_at is None else machine.created_at
    return min(max(said, rental.intended_at), max(now, rental.intended_at))


def released(rental: Rental, reason: str, now: float, error: dict[str, object] | None = None) -> Rental:
    """The rental, to go. The first reason stays."""
    state = after(rental.state, Signal.RELEASE)
    return replace(rental, state=state, reason=rental.reason or reason, error=rental.error or error, updated_at=now)


def vanished(rental: Rental, now: float, reason: str = "ended-elsewhere") -> Rental:
    """The rental, gone: its provider has confirmed it."""
    state = after(rental.state, Signal.VANISHED)
    until = None if rental.billed_from is None else now
    return replace(rental, state=state, billed_until=until, reason=rental.reason or reason, updated_at=now)


def never(rental: Rental, reason: str, now: float, error: dict[str, object] | None = None) -> Rental:
    """The rental of which no machine came."""
    return replace(
        rental, state=after(rental.state, Signal.NEVER), reason=reason, error=error, updated_at=now, billed_from=None
    )


def _one(rental: Rental, machines: list[Machine], known: Known, now: float) -> list[Step]:
    if rental.state not in OPEN:
        if not machines:
            return []
        first, *others = sorted(machines, key=lambda one: (one.id != rental.machine, one.id))
        late = told(_besides(rental, [one.id for one in others], first.id), first, now)
        late = replace(late, reason=rental.reason or "turned-up-late")
        return [Move(late, rental), *_ended(machines, rental.run_id, "turned-up-late")]
    was = rental
    mine, others = _first(rental, machines)
    rental = _besides(rental, [one.id for one in others], rental.machine)
    if mine is not None and (rental.machine is None or _news(rental, mine)):
        rental = told(rental, mine, now)
    steps: list[Step] = [] if rental == was else [Move(rental, was)]
    # Two machines of one run: the create was carried out twice. The second serves nobody.
    steps += _ended(others, rental.run_id, "created-twice")
    if mine is None and rental.machine is None:
        return steps + _unheard(rental, known, now)
    if mine is None:
        # As long as any machine of it stands, it is not gone.
        return steps if others else [*steps, Confirm(rental.run_id)]
    if rental.state is RentalState.RENTED:
        failed = mine.state is MachineState.FAILED
        # One that was up and is off has been switched off: by its lease, or by a person. It does not come back by
        # itself, and most providers bill it all the same. (Some begin their lives off, hence only one that was up.)
        off = mine.state is MachineState.STOPPED and rental.host is not None
        if rental.run_id in known.wanted and not failed and not off:
            return steps
        unused = known.why.get(rental.run_id, "unused")
        was, reason = rental, "failed-at-provider" if failed else "powered-off" if off else unused
        rental = released(rental, reason, now, _failure(mine) if failed else None)
        steps.append(Move(rental, was))
    return [*steps, *_ended([mine], rental.run_id, rental.reason)]


def _ended(machines: Iterable[Machine], run_id: str, why: str) -> list[Step]:
    return [Terminate(one.id, run_id, why) for one in machines if one.state is not MachineState.ENDING]


def _besides(rental: Rental, others: Iterable[str], mine: str | None) -> Rental:
    """The rental with all further machines that its run id was ever seen to have, beside `mine`."""
    ever = {*rental.extra, *others, *([rental.machine] if rental.machine else [])} - {mine}
    return replace(rental, extra=tuple(sorted(ever)))


def _unheard(rental: Rental, known: Known, now: float) -> list[Step]:
    """Nothing of it is in the list. A provider may show a machine only some time after it was asked for it."""
    if rental.run_id in known.creating or now - rental.updated_at < known.settle:
        return []
    if rental.state is RentalState.RELEASING:
        return [Move(vanished(rental, now), rental)]
    return [Move(never(rental, "never-appeared", now, rental.error), rental)]


def _first(rental: Rental, machines: list[Machine]) -> tuple[Machine | None, list[Machine]]:
    """(the machine of a rental, further ones of the same run)."""
    if not machines:
        return None, []
    ranked = sorted(machines, key=lambda one: (one.id != rental.machine, one.state in _OF_NO_USE, one.id))
    mine = ranked[0] if rental.machine in (None, ranked[0].id) else None
    return mine, ranked[1:] if mine else ranked


def _news(rental: Rental, machine: Machine) -> bool:
    moved = machine.address is not None and (rental.address, rental.port) != (machine.address, machine.port)
    return moved or machine.notice_at not in (None, rental.notice_at)


def _failure(machine: Machine) -> dict[str, object]:
    return {
        "kind": "Failed",
        "ref": "machine-failed",
        "what": f"{machine.provider} could not start the machine {machine.id}",
        "why": machine.problem or machine.word,
    }
