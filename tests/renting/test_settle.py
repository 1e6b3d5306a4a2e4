"""What must be done about the machines of one provider: every branch, as a table of what is known and what is there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from lyc.records.rental import Machine, MachineState, Rental, RentalState, machine_name, run_id_of
from lyc.renting.settle import (
    Confirm,
    Known,
    Move,
    Step,
    Terminate,
    never,
    orphans,
    released,
    settle,
    told,
    vanished,
)
from tests.renting.ledger_book import at, rental

T = at("2026-11-20T10:00")
RUN, OTHER_RUN = "aaaaaaaa-00000001", "aaaaaaaa-00000002"
SETTLE = 120.0
RENTED = rental(RUN, machine="m-1", address="192.0.2.1", port=22)
INTENDED = rental(RUN, state=RentalState.INTENDED, machine=None, host=None, billed_from=None)
RELEASING = replace(RENTED, state=RentalState.RELEASING, reason="down")
GONE = replace(RENTED, state=RentalState.GONE, reason="down", billed_until=T + 5)
REFUSED = replace(INTENDED, state=RentalState.REFUSED, reason="no-capacity")


def machine(identity: str = "m-1", state: MachineState = MachineState.RUNNING, **more: object) -> Machine:
    plain = Machine("acme", identity, state, state.value, run_id=RUN, address="192.0.2.1", port=22, created_at=T + 2)
    return replace(plain, **more)  # type: ignore[arg-type]


def end(identity: str, why: str, run_id: str = RUN) -> Terminate:
    return Terminate(identity, run_id, why)


@dataclass(frozen=True)
class Case:
    """rental: as it is known. steps: what must follow, where a Move stands as the fields that it changes."""

    rental: Rental | None
    machines: tuple[Machine, ...]
    steps: tuple[Step | dict[str, object], ...]
    wanted: bool = True
    creating: bool = False
    now: float = 10.0


ENDING, FAILED, CREATING, UNKNOWN, STOPPED = (
    machine(state=one)
    for one in (
        MachineState.ENDING, MachineState.FAILED, MachineState.CREATING, MachineState.UNKNOWN, MachineState.STOPPED,
    )
)  # fmt: skip
BARE = machine(state=MachineState.CREATING, address=None, port=None)
TOLD = {"state": RentalState.RENTED, "machine": "m-1", "address": "192.0.2.1", "port": 22, "billed_from": T + 2}
AT_10 = {"updated_at": T + 10}
CASES = {
    # All is as it should be.
    "nothing anywhere": Case(None, (), ()),
    "rented and there": Case(RENTED, (machine(),), ()),
    "rented and coming": Case(RENTED, (CREATING,), ()),
    "rented and off before it was ever up": Case(replace(RENTED, host=None), (STOPPED,), ()),
    "rented, and switched off since it was up": Case(
        RENTED,
        (STOPPED,),
        ({"state": RentalState.RELEASING, "reason": "powered-off"} | AT_10, end("m-1", "powered-off")),
    ),
    "rented, in a state that nobody knows": Case(RENTED, (UNKNOWN,), ()),
    "rented, and being taken away": Case(RENTED, (ENDING,), ()),
    "gone and gone": Case(GONE, (), ()),
    "refused and not there": Case(REFUSED, (), ()),
    "a machine that is gone is none": Case(GONE, (machine(state=MachineState.GONE),), ()),
    # Whose it is.
    "nobody's run": Case(None, (machine(),), (end("m-1", "unknown-to-lyc"),)),
    "nobody's run, ending": Case(None, (ENDING,), ()),
    "no run id": Case(None, (machine(run_id=None),), ()),
    "nobody's run, twice": Case(
        None, (machine("m-1"), machine("m-2")), (end("m-1", "unknown-to-lyc"), end("m-2", "unknown-to-lyc"))
    ),
    # What was intended.
    "intended and there": Case(INTENDED, (machine(),), (TOLD | AT_10,)),
    "intended and there, without an address": Case(
        INTENDED, (BARE,), ({"state": RentalState.RENTED, "machine": "m-1", "billed_from": T + 2} | AT_10,)
    ),
    "intended, there, its age not told": Case(
        INTENDED, (machine(created_at=None),), (TOLD | AT_10 | {"billed_from": T},)
    ),
    "intended and there, unwanted": Case(
        INTENDED,
        (machine(),),
        (TOLD | AT_10, {"state": RentalState.RELEASING, "reason": "unused"}, end("m-1", "unused")),
        wanted=False,
    ),
    "intended, not there yet": Case(INTENDED, (), (), now=SETTLE - 1),
    "intended, not there, unwanted": Case(INTENDED, (), (), wanted=False, now=SETTLE - 1),
    "intended, being created": Case(INTENDED, (), (), creating=True, now=SETTLE * 9),
    "intended, never there": Case(
        INTENDED,
        (),
        ({"state": RentalState.REFUSED, "reason": "never-appeared", "updated_at": T + SETTLE},),
        now=SETTLE,
    ),
    "intended and failed": Case(
        INTENDED,
        (FAILED,),
        (
            TOLD | AT_10,
            {"state": RentalState.RELEASING, "reason": "failed-at-provider"},
            end("m-1", "failed-at-provider"),
        ),
    ),
    # The address is learnt, and changes.
    "an address at last": Case(
        replace(RENTED, address=None, port=None), (machine(),), ({"address": "192.0.2.1", "port": 22} | AT_10,)
    ),
    "another address": Case(RENTED, (machine(address="192.0.2.9", port=2222),), (
        {"address": "192.0.2.9", "port": 2222} | AT_10,
    )),
    "the address is not told just now": Case(RENTED, (BARE,), ()),
    # It shall go.
    "unwanted": Case(
        RENTED, (machine(),), ({"state": RentalState.RELEASING, "reason": "unused"} | AT_10, end("m-1", "unused")),
        wanted=False,
    ),
    "unwanted and ending": Case(
        RENTED, (ENDING,), ({"state": RentalState.RELEASING, "reason": "unused"} | AT_10,), wanted=False
    ),
    "failed though wanted": Case(
        RENTED,
        (FAILED,),
        ({"state": RentalState.RELEASING, "reason": "failed-at-provider"} | AT_10, end("m-1", "failed-at-provider")),
    ),
    "releasing and there": Case(RELEASING, (machine(),), (end("m-1", "down"),)),
    "releasing, in a state that nobody knows": Case(RELEASING, (UNKNOWN,), (end("m-1", "down"),)),
    "releasing and off": Case(RELEASING, (STOPPED,), (end("m-1", "down"),)),
    "releasing and failed": Case(RELEASING, (FAILED,), (end("m-1", "down"),)),
    "releasing and ending": Case(RELEASING, (ENDING,), ()),
    "releasing, not in the list": Case(RELEASING, (), (Confirm(RUN),)),
    "rented, not in the list": Case(RENTED, (), (Confirm(RUN),)),
    "rented, not in the list, unwanted": Case(RENTED, (), (Confirm(RUN),), wanted=False),
    "released before it was heard of, there": Case(
        replace(RELEASING, machine=None, address=None, port=None, billed_from=None),
        (machine(),),
        (TOLD | AT_10 | {"state": RentalState.RELEASING}, end("m-1", "down")),
    ),
    "released before it was heard of, not there yet": Case(replace(RELEASING, machine=None), (), ()),
    "released before it was heard of, never there": Case(
        replace(RELEASING, machine=None, billed_from=None),
        (),
        ({"state": RentalState.GONE, "updated_at": T + SETTLE},),
        now=SETTLE,
    ),
    # Too many.
    "made twice": Case(RENTED, (machine("m-1"), machine("m-2")), ({"extra": ("m-2",)}, end("m-2", "created-twice"))),
    "made twice, the other one ending": Case(
        replace(RENTED, extra=("m-2",)), (machine("m-1"), machine("m-2", MachineState.ENDING)), ()
    ),
    "made twice, not heard of": Case(
        INTENDED, (machine("m-2"), machine("m-1")), (TOLD | AT_10 | {"extra": ("m-2",)}, end("m-2", "created-twice"))
    ),
    "made twice, the first failed": Case(
        INTENDED,
        (FAILED, machine("m-2")),
        (TOLD | AT_10 | {"machine": "m-2", "extra": ("m-1",)}, end("m-1", "created-twice")),
    ),
    "made twice, the first is ending": Case(
        INTENDED, (ENDING, machine("m-2")), (TOLD | AT_10 | {"machine": "m-2", "extra": ("m-1",)},)
    ),
    "made twice, unwanted": Case(
        RELEASING,
        (machine("m-1"), machine("m-2")),
        ({"extra": ("m-2",)}, end("m-2", "created-twice"), end("m-1", "down")),
    ),
    "the other one alone is there": Case(
        RELEASING, (machine("m-2"),), ({"extra": ("m-2",)}, end("m-2", "created-twice"))
    ),
    "the other one alone is there, ending": Case(
        replace(RELEASING, extra=("m-2",)), (machine("m-2", MachineState.ENDING),), ()
    ),
    # Late.
    "refused, and there": Case(
        REFUSED,
        (machine(),),
        (TOLD | AT_10 | {"state": RentalState.RELEASING}, end("m-1", "turned-up-late")),
    ),
    "gone, and there again": Case(
        GONE,
        (machine(),),
        ({"state": RentalState.RELEASING, "billed_until": None} | AT_10, end("m-1", "turned-up-late")),
    ),
    "gone, and another one there": Case(
        GONE,
        (machine("m-2"), machine("m-3")),
        (
            {"state": RentalState.RELEASING, "machine": "m-2", "extra": ("m-1", "m-3"), "billed_until": None} | AT_10,
            end("m-2", "turned-up-late"),
            end("m-3", "turned-up-late"),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_what_follows(case: Case) -> None:
    rentals = {} if case.rental is None else {RUN: case.rental}
    known = Known(rentals, frozenset({RUN} if case.wanted else ()), frozenset({RUN} if case.creating else ()), SETTLE)
    steps = settle(case.machines, known, T + case.now)
    assert len(steps) == len(case.steps), steps
    before = case.rental
    for step, expected in zip(steps, case.steps, strict=True):
        if isinstance(expected, dict):
            assert isinstance(step, Move)
            assert before is not None
            # Each move begins where the one before it ended, and changes nothing but what it says.
            assert step.was == before
            assert replace(step.rental, error=before.error) == replace(before, **expected)  # type: ignore[arg-type]
            before = step.rental
        else:
            assert step == expected


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_what_was_done_is_not_done_again(case: Case) -> None:
    """With the moves stored and the machines as they were, a second look moves nothing more."""
    rental_now = case.rental
    known = Known({}, frozenset({RUN} if case.wanted else ()), frozenset({RUN} if case.creating else ()), SETTLE)
    if rental_now is None:
        return
    for _ in range(2):
        steps = settle(case.machines, replace(known, rentals={RUN: rental_now}), T + case.now)
        moves = [step for step in steps if isinstance(step, Move)]
        rental_now = moves[-1].rental if moves else rental_now
    assert moves == []


def test_each_run_is_judged_by_itself() -> None:
    two = replace(RELEASING, run_id=OTHER_RUN, machine="m-2")
    known = Known({RUN: RENTED, OTHER_RUN: two}, frozenset({RUN}), frozenset(), SETTLE)
    there = [machine(), machine("m-2", run_id=OTHER_RUN), machine("m-3", run_id="aaaaaaaa-00000003")]
    assert settle(there, known, T) == (
        end("m-3", "unknown-to-lyc", "aaaaaaaa-00000003"), end("m-2", "down", OTHER_RUN),
    )  # fmt: skip


def test_why_it_failed_is_kept() -> None:
    steps = settle([replace(FAILED, problem="no GPU")], Known({RUN: RENTED}, frozenset({RUN}), frozenset(), SETTLE), T)
    move = next(step for step in steps if isinstance(step, Move))
    assert move.rental.error is not None
    assert (move.rental.error["ref"], move.rental.error["why"]) == ("machine-failed", "no GPU")


def test_orphans_are_those_that_nobody_looks_after() -> None:
    there = [
        machine(),
        machine("m-2", run_id=OTHER_RUN),
        machine("m-3", run_id=None),
        machine("m-4", MachineState.GONE),
    ]
    assert orphans(there, {RUN: RENTED}) == [there[1]]
    assert orphans(there, {RUN: GONE}) == there[:2]
    assert orphans(there, {RUN: RELEASING, OTHER_RUN: INTENDED}) == []


def test_what_is_told_keeps_what_was_known_better() -> None:
    known = replace(RENTED, user="ubuntu", billed_from=T - 5)
    now = told(known, BARE, T + 9)
    assert (now.address, now.port, now.user, now.billed_from, now.updated_at) == (
        "192.0.2.1",
        22,
        "ubuntu",
        T - 5,
        T + 9,
    )
    assert told(known, machine(user="root", port=None), T).user == "root"
    assert told(known, machine(port=None), T).port is None


@pytest.mark.parametrize(("said", "from_"), [(None, T), (T + 2, T + 2), (T - 3600, T), (T + 3600, T + 9)])
def test_a_clock_that_is_set_wrong_bills_neither_before_nor_after(said: float | None, from_: float) -> None:
    assert told(INTENDED, machine(created_at=said), T + 9).billed_from == from_


def test_the_first_reason_stays() -> None:
    first = released(RENTED, "host-unfit", T, {"ref": "a"})
    again = released(first, "down", T + 1, {"ref": "b"})
    assert (again.reason, again.error, again.state) == ("host-unfit", {"ref": "a"}, RentalState.RELEASING)
    assert vanished(again, T + 2).reason == "host-unfit"
    assert vanished(RENTED, T + 2).reason == "ended-elsewhere"


def test_what_never_was_is_not_billed() -> None:
    assert vanished(replace(RELEASING, billed_from=None), T).billed_until is None
    assert vanished(RELEASING, T + 7).billed_until == T + 7
    gone = never(replace(INTENDED, billed_from=T), "no-capacity", T + 1, {"ref": "no-capacity"})
    assert (gone.state, gone.billed_from, gone.billed_until) == (RentalState.REFUSED, None, None)


def test_names_of_others_are_not_ours() -> None:
    assert run_id_of(machine_name(RUN)) == RUN
    for name in (None, "", RUN, "lyc-", "lyc-aaaaaaaa", f"my-lyc-{RUN}", f"lyc-{RUN}-2", "lyc-AAAAAAAA-00000001"):
        assert run_id_of(name) is None


def test_the_record_keeps_why_nothing_uses_it() -> None:
    known = Known({RUN: RENTED}, frozenset(), frozenset(), SETTLE, {RUN: "never-ready"})
    move, terminate = settle([machine()], known, T + 10)
    assert isinstance(move, Move)
    assert move.rental.reason == "never-ready"
    assert terminate == end("m-1", "never-ready")
