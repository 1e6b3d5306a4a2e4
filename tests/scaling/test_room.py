"""Who gives way on cards that are shared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lyc.scaling.room import SHORTEST_STAY, SLEEPERS_STAY, Need, Resident, Room, Step, make_room

NOW = 10_000.0
ROOM = {0: 80, 1: 80}
NEED = Need((0,), 70, ROOM)


def resident(name: str, *, used: float = 0.0, cards: tuple[int, ...] = (0,), **said: object) -> Resident:
    found = Resident(
        name, f"{name}-1", cards, holds=70, keeps=2, step=Step.AWAKE, goes=Step.AWAKE, movable=True, ready_at=100.0,
        last_request=NOW - 1000 + used,
    )  # fmt: skip
    found = replace(found, **said)  # type: ignore[arg-type]
    return replace(found, goes=found.step) if "step" in said and "goes" not in said else found


def moves(*residents: Resident, need: Need = NEED) -> Mapping[str, str]:
    found = make_room(residents, need, NOW)
    assert not found.there
    return {name: step.name.lower() for name, step in found.moves.items()}


def test_an_empty_card_and_one_that_others_sleep_on() -> None:
    assert make_room([], NEED, NOW) == Room(True, {})
    asleep = resident("a", step=Step.ASLEEP)
    assert make_room([asleep, resident("b", cards=(1,))], NEED, NOW) == Room(True, {})


def test_one_that_nobody_asks_for_sleeps() -> None:
    assert moves(resident("a")) == {"a-1": "asleep"}


def test_it_ends_where_it_cannot_sleep_or_would_keep_too_much() -> None:
    assert moves(resident("a", keeps=None)) == {"a-1": "gone"}
    assert moves(resident("a", keeps=11)) == {"a-1": "gone"}
    assert moves(resident("a", step=Step.ASLEEP, keeps=11)) == {"a-1": "gone"}


def test_who_is_asked_for_stays_and_is_named() -> None:
    assert make_room([resident("a", movable=False)], NEED, NOW) == Room(False, {}, ("a",))


def test_one_that_has_just_come_stays_for_a_while() -> None:
    for keeps, stay, end in ((2, SLEEPERS_STAY, "asleep"), (None, SHORTEST_STAY, "gone")):
        fresh = resident("a", keeps=keeps, ready_at=NOW - stay + 1)
        assert make_room([fresh], NEED, NOW) == Room(False, {}, ("a",))
        assert moves(replace(fresh, ready_at=NOW - stay)) == {"a-1": end}
    assert make_room([resident("a", ready_at=None)], NEED, NOW) == Room(False, {}, ("a",)), "it loads"
    assert moves(resident("a", ready_at=NOW + 50)) == {"a-1": "asleep"}, "a clock that was set back holds nobody up"


def test_one_that_goes_already_is_waited_for() -> None:
    going = resident("a", goes=Step.ASLEEP)
    assert make_room([going], NEED, NOW) == Room(False, {}, ("a",))
    assert make_room([replace(going, goes=Step.GONE), resident("b", step=Step.ASLEEP)], NEED, NOW).moves == {}


def test_the_least_recently_used_goes_and_no_more_than_it_takes() -> None:
    small = {"holds": 30, "keeps": 1}
    old, newer = resident("old", used=1, **small), resident("newer", used=2, **small)
    assert moves(newer, old, need=Need((0,), 45, ROOM)) == {"old-1": "asleep"}
    assert moves(newer, old) == {"old-1": "asleep", "newer-1": "asleep"}
    assert moves(newer, old, need=Need((0,), 79, ROOM)) == {"old-1": "gone", "newer-1": "asleep"}


def test_who_need_not_go_stays() -> None:
    """The oldest is too small to help, once the one that had to go is gone."""
    tiny, big = resident("tiny", used=1, holds=5, keeps=4), resident("big", used=2, holds=60, keeps=2)
    assert moves(tiny, big) == {"big-1": "asleep"}


def test_over_several_cards() -> None:
    need = Need((0, 1), 70, ROOM)
    assert moves(resident("a"), resident("b", cards=(1,)), need=need) == {"a-1": "asleep", "b-1": "asleep"}
    assert make_room([resident("a"), resident("b", cards=(1,), movable=False)], need, NOW).behind == ("b",)
    assert moves(resident("a", cards=(0, 1))) == {"a-1": "asleep"}


RESIDENTS = st.lists(
    st.builds(
        Resident,
        st.sampled_from("abc"), st.uuids().map(str),
        st.sampled_from([(0,), (1,), (0, 1)]),
        st.integers(1, 80), st.none() | st.integers(0, 9),
        st.just(Step.AWAKE), st.just(Step.AWAKE),
        st.booleans(),
        st.none() | st.floats(0, NOW), st.none() | st.floats(0, NOW),
    ),
    max_size=5,
)  # fmt: skip


@given(RESIDENTS, st.data())
def test_what_always_holds(drawn: list[Resident], data: st.DataObject) -> None:
    residents = []
    for one in drawn:
        step = data.draw(st.sampled_from([Step.AWAKE] if one.keeps is None else [Step.AWAKE, Step.ASLEEP]))
        later = [
            each for each in Step if each.value >= step.value and (each is not Step.ASLEEP or one.keeps is not None)
        ]
        residents.append(replace(one, step=step, goes=data.draw(st.sampled_from(later))))
    need = Need(data.draw(st.sampled_from([(0,), (0, 1)])), data.draw(st.integers(1, 80)), ROOM)
    found = make_room(residents, need, NOW)
    by = {one.replica: one for one in residents}
    for replica, step in found.moves.items():
        one = by[replica]
        assert one.movable
        assert set(one.cards) & set(need.cards), "it is in nobody's way"
        assert step.value > one.step.value
        assert step is not Step.ASLEEP or one.keeps is not None
        assert one.step is Step.ASLEEP or NOW - (one.ready_at or NOW) >= SLEEPERS_STAY
    if found.moves:
        after = [replace(one, step=(step := found.moves.get(one.replica, one.goes)), goes=step) for one in residents]
        assert make_room(after, need, NOW).there, "it is enough"
        for spared in found.moves:
            fewer = [replace(one, step=by[spared].step, goes=by[spared].step) if one.replica == spared else one
                     for one in after]  # fmt: skip
            assert not make_room(fewer, need, NOW).there, "and nobody goes in vain"
    if found.there:
        assert not found.moves
        assert not found.behind
    elif not found.moves:
        assert found.behind or need.takes > min(ROOM.values())
