"""Following an operation: to its end, to a deadline, through the death of the controller."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lyc.cli.follow import follow
from lyc.control.client import ControllerClient
from lyc.errors import EngineFailed, NotFound, Pending, Unreachable
from lyc.records.progress import PhaseEvent
from tests.cli.conftest import Controller

EVENTS = ("GET", "/v1/operations/op/events")


class Seen:
    """A display that remembers."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.warnings: list[str] = []

    def event(self, event: PhaseEvent) -> None:
        self.phases.append(event.phase)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def phase(seq: int, name: str) -> dict[str, Any]:
    return {"seq": seq, "at": 0.0, "kind": "phase", "data": {"phase": name, "status": "done"}}


def test_to_the_result(controller: Controller) -> None:
    events = [phase(1, "resolve"), {"seq": 2, "at": 0, "kind": "warning", "data": {"message": "slow"}},
              {"seq": 3, "at": 0, "kind": "from the future", "data": {}},
              {"seq": 4, "at": 0, "kind": "result", "data": {"name": "a"}}, phase(5, "never shown")]  # fmt: skip
    controller.answers[EVENTS] = lambda _: (200, iter(events))
    seen = Seen()
    assert follow(lambda: ControllerClient(controller.path), "op", seen) == {"name": "a"}
    assert (seen.phases, seen.warnings) == (["resolve"], ["slow"])


def test_to_the_error(controller: Controller) -> None:
    error = EngineFailed("no-kv", "too small", detail=("x",))
    events = [{"seq": 1, "at": 0, "kind": "error", "data": error.document()}]
    controller.answers[EVENTS] = lambda _: (200, iter(events))
    with pytest.raises(EngineFailed) as caught:
        follow(lambda: ControllerClient(controller.path), "op", Seen())
    assert caught.value.document() == error.document()


def test_an_operation_that_does_not_exist(controller: Controller) -> None:
    controller.answers[EVENTS] = (404, {"error": NotFound("no-such-operation", "none").document()})
    with pytest.raises(NotFound):
        follow(lambda: ControllerClient(controller.path), "op", Seen())


def test_through_a_death_without_telling_anything_twice(controller: Controller) -> None:
    """The stream breaks off, nobody is there for a while, then a new controller goes on where the old one was."""

    def answer(call: dict[str, Any]) -> tuple[int, Iterator[Any]]:
        after = int(call["query"].removeprefix("after="))
        known = [phase(1, "resolve"), phase(2, "fetch"), phase(3, "ready"),
                 {"seq": 4, "at": 0, "kind": "result", "data": {"ok": True}}]  # fmt: skip
        return 200, iter([event for event in known if event["seq"] > after][: 2 if after == 0 else 9])

    controller.answers[EVENTS] = answer
    calls = []

    def connect() -> ControllerClient:
        calls.append(time.monotonic())
        if len(calls) == 2:
            controller.stop()
        if len(calls) == 4:
            controller.start()
        return ControllerClient(controller.path)

    seen = Seen()
    assert follow(connect, "op", seen) == {"ok": True}
    assert seen.phases == ["resolve", "fetch", "ready"]
    assert [call["query"] for call in controller.made(*EVENTS)] == ["after=0", "after=2"]


def test_a_controller_that_stays_away_is_an_error(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lyc.cli.follow.RECONNECT_SECONDS", 0.5)
    controller.stop()
    with pytest.raises(Unreachable) as caught:
        follow(lambda: ControllerClient(controller.path), "op", Seen())
    assert caught.value.ref == "controller-not-running"


@pytest.mark.parametrize("chatty", [True, False])
def test_to_the_deadline(controller: Controller, chatty: bool) -> None:
    release = threading.Event()

    def stream() -> Iterator[bytes]:
        while not release.wait(0.05 if chatty else 20):
            yield b"\n"

    controller.answers[EVENTS] = lambda _: (200, stream())
    began = time.monotonic()
    try:
        with pytest.raises(Pending) as caught:
            follow(lambda: ControllerClient(controller.path), "op", Seen(), deadline=began + 0.5)
    finally:
        release.set()
    assert (caught.value.ref, caught.value.exit_code) == ("still-pending", 8)
    assert 0.4 < time.monotonic() - began < 8


def test_a_deadline_that_is_over_asks_nobody() -> None:
    with pytest.raises(Pending):
        follow(lambda: pytest.fail("asked"), "op", Seen(), deadline=time.monotonic() - 1)
