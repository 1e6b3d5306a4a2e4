"""Phases as a value, as lines, and as they look on a real terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.cli.progress import Ended, Phases, Running, ended_line, phase_event, running_line
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus


def event(status: PhaseStatus, phase: Phase = Phase.FETCH, **fields: object) -> PhaseEvent:
    return PhaseEvent(phase, status, **fields)  # type: ignore[arg-type]


def test_a_phase_from_its_start_to_its_end() -> None:
    phases, ended = Phases().after(event(PhaseStatus.STARTED, message="m"), 10.0)
    assert ended is None
    assert phases.running == {Phase.FETCH: Running(10.0, "m")}
    phases, ended = phases.after(event(PhaseStatus.PROGRESS, done=5, total=10), 11.0)
    assert phases.running == {Phase.FETCH: Running(10.0, "m", 5, 10)}
    phases, ended = phases.after(event(PhaseStatus.PROGRESS, done=0), 11.0)
    assert phases.running[Phase.FETCH].done == 0
    phases, ended = phases.after(event(PhaseStatus.DONE, message="all"), 13.5)
    assert ended == Ended(Phase.FETCH, PhaseStatus.DONE, 3.5, "all")
    assert phases.running == {}


def test_the_worker_knows_the_duration_better() -> None:
    phases, _ = Phases().after(event(PhaseStatus.STARTED), 10.0)
    assert phases.after(event(PhaseStatus.FAILED, seconds=1.5), 99.0)[1] == Ended(Phase.FETCH, PhaseStatus.FAILED, 1.5)


def test_an_end_or_progress_without_a_start_is_no_trouble() -> None:
    assert Phases().after(event(PhaseStatus.SKIPPED), 5.0)[1] == Ended(Phase.FETCH, PhaseStatus.SKIPPED, 0.0)
    assert Phases().after(event(PhaseStatus.PROGRESS, fraction=0.5), 5.0)[0].running[Phase.FETCH].since == 5.0


def test_several_phases_run_at_once() -> None:
    phases, _ = Phases().after(event(PhaseStatus.STARTED), 1.0)
    phases, _ = phases.after(event(PhaseStatus.STARTED, Phase.INSTALL), 2.0)
    phases, ended = phases.after(event(PhaseStatus.DONE), 3.0)
    assert ended is not None
    assert list(phases.running) == [Phase.INSTALL]


def test_lines() -> None:
    assert ended_line(Ended("resolve", "done", 0.84, "hf:a/b")) == "resolve            0.8s  hf:a/b"
    assert ended_line(Ended("start engine", "failed", 75)) == "start engine     failed after 1m15s"
    assert ended_line(Ended("fetch", "skipped", 0.0)) == "fetch            skipped"
    running = Running(0.0, "model.safetensors", 1 << 30, 3 << 30)
    assert running_line("fetch", running, 12.3, 200) == (
        "⠸ fetch             12.3s  ━━━━━━━─────────────  33%  1.0 GiB of 3.0 GiB  model.safetensors"
    )
    assert running_line("load", Running(0.0, fraction=1.7), 0.0, 200).endswith("━━━━━━━━━━━━━━━━━━━━ 100%")
    assert running_line("load", Running(0.0, total=0), 0.0, 200) == "⠋ load               0.0s"


def test_bytes_are_shown_with_their_rate() -> None:
    """Of the last while: what is fetched goes on where it was, and a fetch that stalls is seen to."""
    mib = 1 << 20

    def shown(phases: Phases, now: float) -> str:
        return running_line("fetch", phases.running[Phase.FETCH], now, 200).rpartition("%  ")[2]

    phases, _ = Phases().after(event(PhaseStatus.STARTED), 0.0)
    phases, _ = phases.after(event(PhaseStatus.PROGRESS, done=600 * mib, total=1000 * mib), 3.0)
    assert shown(phases, 3.2) == "600.0 MiB of 1000.0 MiB"
    for second in range(1, 21):
        phases, _ = phases.after(
            event(PhaseStatus.PROGRESS, done=(600 + 5 * second) * mib, total=1000 * mib), 3.0 + second
        )
    assert shown(phases, 23.0) == "700.0 MiB of 1000.0 MiB, 5.0 MiB/s"
    assert len(phases.running[Phase.FETCH].marks) <= 12
    assert shown(phases, 123.0).endswith(", 507.4 KiB/s")
    phases, _ = phases.after(event(PhaseStatus.PROGRESS, done=0, total=8 * mib), 124.0)
    assert shown(phases, 124.5) == "0 B of 8.0 MiB"


@given(
    st.builds(
        Running,
        since=st.floats(-10, 10),
        message=st.text(max_size=200),
        done=st.none() | st.integers(0, 1 << 50),
        total=st.none() | st.integers(0, 1 << 50),
        fraction=st.none() | st.floats(-1, 2),
    ),
    st.integers(1, 200),
)
def test_a_running_line_never_wraps(running: Running, width: int) -> None:
    assert len(running_line("fetch", running, 5.0, width)) <= width


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"phase": "fetch", "status": "progress", "done": 1, "total": 2},
         PhaseEvent(Phase.FETCH, PhaseStatus.PROGRESS, done=1, total=2)),
        ({"phase": "ready", "status": "done", "message": "m", "seconds": 1, "fraction": None},
         PhaseEvent(Phase.READY, PhaseStatus.DONE, "m", seconds=1.0)),
        ({"phase": "teleport", "status": "done"}, None),
        ({"phase": "fetch", "status": "pondering"}, None),
        ({}, None),
        ({"phase": "fetch", "status": "done", "done": "x", "message": None}, PhaseEvent(Phase.FETCH, PhaseStatus.DONE)),
    ],
)  # fmt: skip
def test_events_of_a_newer_controller_are_left_out(data: dict[str, object], expected: PhaseEvent | None) -> None:
    assert phase_event(data) == expected
