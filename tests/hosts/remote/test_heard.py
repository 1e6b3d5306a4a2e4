"""What is believed of a host's word, and for how long. `now` is a number here."""

from __future__ import annotations

from pathlib import Path

from lyc.hosts.remote.heard import SETTLE_SECONDS, Heard

A = "a-1.1"


def said(identity: str, state: str = "running", **more: object) -> dict[str, object]:
    return {"id": identity, "state": state, "pid": 7, "exit_code": None, "ended_at": None, "port": 9000,
            "socket": "/run/a.sock", "starts": 1, "gave_up": False} | more  # fmt: skip


def state(heard: Heard, now: float, identity: str = A) -> str | None:
    status = heard.status(identity, now)
    return status and status.state


def test_before_anything_was_said() -> None:
    heard = Heard(8.0)
    assert (state(heard, 0.0), heard.age(0.0)) == (None, None)
    heard.connected()
    heard.word(1.0)  # a beat, which says nothing of any process
    assert state(heard, 1.0) is None


def test_a_word_holds_for_a_while() -> None:
    heard = Heard(8.0)
    heard.connected()
    assert heard.listed([said(A)], 10.0) == (True, True)
    assert heard.listed([said(A)], 15.0) == (False, False)
    heard.word(16.0)
    assert (state(heard, 24.0), state(heard, 24.0, "b-1.1")) == ("running", "absent")
    assert (state(heard, 24.1), state(heard, 24.1, "b-1.1")) == (None, None)
    assert heard.age(24.1) == 24.1 - 16.0
    heard.connected()
    heard.word(30.0)
    assert state(heard, 30.0) is None  # a beat of another connection does not revive the list of an earlier one
    assert heard.listed([said(A)], 31.0) == (True, False)
    assert state(heard, 31.0) == "running"


def test_what_it_says_is_kept() -> None:
    heard = Heard(8.0)
    heard.connected()
    heard.listed([said(A, "exited", exit_code=-9, ended_at=3.5, starts=4, gave_up=True)], 1.0)
    status = heard.status(A, 1.0)
    assert status
    assert (status.pid, status.exit_code, status.ended_at, status.starts, status.gave_up) == (7, -9, 3.5, 4, True)
    assert (heard.all()[A].port, heard.all()[A].socket) == (9000, Path("/run/a.sock"))


def test_started_is_running_at_once() -> None:
    heard = Heard(8.0)
    heard.started(A, 9000, Path("/run/a.sock"), 5.0)
    assert state(heard, 5.0) == "running"
    assert state(heard, 13.1) is None


def test_a_list_from_before_the_start_does_not_deny_it() -> None:
    heard = Heard(8.0)
    heard.connected()
    heard.listed([], 1.0)
    heard.started(A, 9000, None, 2.0)
    heard.listed([], 2.1)
    assert state(heard, 2.1) == "running"
    heard.listed([said(A)], 2.5)
    heard.listed([], 3.0)  # of an agent that lists slowly
    assert state(heard, 3.0) == "running"
    heard.listed([], 2.0 + SETTLE_SECONDS)
    assert state(heard, 2.0 + SETTLE_SECONDS) == "absent"


def test_a_list_of_a_later_connection_knows() -> None:
    heard = Heard(8.0)
    heard.connected()
    heard.started(A, 9000, None, 2.0)
    heard.connected()
    heard.listed([], 2.1)
    assert state(heard, 2.1) == "absent"


def test_a_connection_made_while_it_was_started_may_not_know() -> None:
    heard = Heard(8.0)
    heard.connected()  # after the start was asked for, and before it was answered
    heard.started(A, 9000, None, 2.0)
    heard.listed([], 2.1)
    assert state(heard, 2.1) == "running"


def test_stopped_and_removed_are_known_at_once() -> None:
    heard = Heard(8.0)
    heard.connected()
    heard.listed([said(A)], 1.0)
    heard.stopped(A, 2.0)
    status = heard.status(A, 2.0)
    assert status
    assert (status.state, status.exit_code, status.gave_up) == ("exited", None, True)
    heard.stopped("b-1.1", 2.0)
    heard.removed(A)
    heard.removed(A)
    assert (state(heard, 2.0), state(heard, 2.0, "b-1.1")) == ("absent", "absent")
