"""What goes wrong with one of its parts, and must not reach the whole: clocks, slow and lying engines, the gateway."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.harness import wait_for
from tests.replicas.load import Outcome, burst, steady
from tests.replicas.stand_in import Home, write_model
from tests.replicas.test_changes import journal
from tests.replicas.timed import timed

pytestmark = pytest.mark.slow
HOURS = 3600.0


def grown(outcome: Outcome, by: int) -> Any:
    there = len(outcome.statuses)
    return lambda: len(outcome.statuses) >= there + by


def states(home: Home) -> dict[str, str]:
    return {one["id"]: one["state"] for one in home.status("chat")["replica_list"]}


def acts(home: Home, after: int) -> list[tuple[str, str]]:
    """What nobody asked for, in the journal after an entry."""
    return [(one["actor"], one["action"]) for one in journal(home) if one["id"] > after and one["actor"] != "user"]


def last(home: Home) -> int:
    return int(journal(home)[-1]["id"])


def measured(home: Home, near: float) -> float:
    """When the load was measured last, 0.0 where that is not within a few minutes of `near`."""
    at = float(home.json("scale", "chat")["load"]["at"] or 0.0)
    return at if abs(at - near) < 600 else 0.0


def test_a_clock_that_leaps_by_hours(home: Home, tmp_path: Path) -> None:
    """While all is at work, at rest, and on its way out: nothing is lowered, cut, or given up for it."""
    home.behave(interval=0.02)
    home.deploy("--min", "0", "--max", "2", "--idle", "15m")
    with timed(home, tmp_path / "clock") as put:
        url, key = home.status("chat")["url"], home.key()
        assert burst(url, key, 1).perfect()
        before, entry = home.running(), last(home)
        with steady(url, key, 3) as outcome:
            wait_for(grown(outcome, 5), 60, "streams")
            for leap in (5 * HOURS, -8 * HOURS, 0.0):
                put(leap)
                wait_for(grown(outcome, 15), 60, f"streams at {leap:+.0f} s")
        assert outcome.perfect(), outcome
        put(30 * HOURS)
        first = wait_for(lambda: measured(home, time.time() + 30 * HOURS), 60, "a measurement")
        wait_for(lambda: measured(home, first) >= first + 2, 60, "two more")
        assert home.running() == before
        assert acts(home, entry) == []


def test_a_clock_that_leaps_cuts_no_drain(home: Home, tmp_path: Path) -> None:
    home.behave(interval=0.1)
    home.deploy()
    with timed(home, tmp_path / "clock") as put, ThreadPoolExecutor() as beside:
        url, key = home.status("chat")["url"], home.key()
        (old,) = home.running()
        with home.engine(old) as engine:
            answer = beside.submit(burst, url, key, 1, stream=True, tokens=120)  # twelve seconds
            wait_for(lambda: engine.get("/stand-in").json()["running"] == 1, 60, "the stream")
        home.run("pause", "chat")
        wait_for(lambda: states(home)[old] in ("draining", "stopped"), 60, "the drain")
        put(5 * HOURS)
        wait_for(lambda: "the clock was set" in home.log(), 60, "the leap to be seen")
        outcome = answer.result()
        wait_for(lambda: states(home)[old] == "stopped", 60, "the end of the drain")
    assert outcome.perfect(), outcome


def test_a_replica_that_is_slow_slows_nobody_else(home: Home) -> None:
    """It answers, though at a fraction of the pace: it gets what it can bear, and nothing is done to it."""
    home.behave(ttft=0.05)
    home.deploy("--min", "2", "--max", "2")
    url, key = home.status("chat")["url"], home.key()
    slow, well = home.running()
    with home.engine(slow) as engine:
        engine.post("/stand-in", json={"ttft": 3.0})  # much, beside what a busy computer adds to the other one
    entry = last(home)
    counts = {one: _requests(home, one) for one in (slow, well)}
    with steady(url, key, 8, stream=False) as outcome:
        wait_for(grown(outcome, 120), 120, "answers")
        found = {one: _requests(home, one) - counts[one] for one in (slow, well)}
    assert outcome.perfect(), outcome
    assert found[slow] * 2 < found[well], found
    assert acts(home, entry) == []


def test_a_replica_that_refuses_all_and_says_that_it_is_well(home: Home, tmp_path: Path) -> None:
    """Its health route says 200 all the time. It is found, and started anew; the other one serves meanwhile."""
    home.deploy("--min", "2", "--max", "2")
    with timed(home, tmp_path / "clock", rate=10):
        url, key = home.status("chat")["url"], home.key()
        bad, good = home.running()
        with steady(url, key, 4, stream=False) as outcome:
            wait_for(grown(outcome, 20), 60, "answers")
            with home.engine(bad) as engine:
                engine.post("/stand-in", json={"answer": 500})
            wait_for(lambda: "refuses every request" in str(journal(home)), 120, "the verdict")
            wait_for(lambda: sorted(home.running()) == sorted((bad, good)), 60, "it to be back")
        assert set(outcome.statuses) <= {200, 500}
        assert burst(url, key, 40).perfect()
        found = [one for one in journal(home) if one["subject"] == good and one["action"] == "stop-process"]
        assert found == [], "whoever is well stays"


def test_a_new_release_that_never_answers_holds_nobody_up(home: Home, tmp_path: Path) -> None:
    """Its health route says 200, and it owes its first answer: what serves is looked after all the same."""
    home.behave(interval=0.01)
    home.deploy("--min", "2", "--max", "2")
    url, key = home.status("chat")["url"], home.key()
    serving = home.running()
    home.behave(stuck=True)
    home.deploy("--no-wait", model=write_model(tmp_path / "second", seed=1), code=8)
    wait_for(lambda: "probing" in states(home).values(), 60, "the new release")
    home.behave(interval=0.01)
    with steady(url, key, 4, stream=False) as outcome:
        wait_for(grown(outcome, 20), 60, "answers")
        rows = {one["id"]: one for one in home.status("chat")["replica_list"]}
        psutil.Process(rows[serving[0]]["pid"]).kill()
        wait_for(lambda: "backoff" in str(journal(home)) or _attempts(home, serving[0]) == 2, 60, "its next try")
        wait_for(lambda: sorted(home.running()) == sorted(serving), 60, "it to be back")
        wait_for(grown(outcome, 20), 60, "answers")
    assert outcome.perfect(), outcome
    assert "probing" in states(home).values()
    home.deploy()  # the first model again, as the third release: nobody waits for an answer that never comes
    assert [one["number"] for one in home.status("chat")["releases"] if one["state"] == "active"] == [3]


def test_a_gateway_that_is_killed_under_load(home: Home) -> None:
    """What it was answering is lost; the next one serves, and no replica and no count is touched for it."""
    home.behave(ttft=0.02)
    home.deploy("--min", "0", "--max", "2", "--idle", "15m")
    url, key = home.status("chat")["url"], home.key()
    assert burst(url, key, 5).perfect()
    before, entry = home.status("chat")["replica_list"], last(home)
    gateway = home.json("controller", "status")["gateway"]["pid"]
    stop, well, lost, wrong = threading.Event(), [0], [0], []

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = httpx.post(
                    f"{url}/completions", json={"model": "chat", "prompt": "a", "max_tokens": 2},
                    headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False,
                )  # fmt: skip
            except httpx.HTTPError:
                lost[0] += 1
                stop.wait(0.05)
                continue
            if answer.status_code == 200:
                well[0] += 1
            else:
                wrong.append((answer.status_code, answer.text[:300]))

    callers = [threading.Thread(target=ask) for _ in range(8)]
    for one in callers:
        one.start()
    try:
        wait_for(lambda: well[0] >= 50, 60, "answers")
        os.kill(gateway, signal.SIGKILL)
        wait_for(lambda: home.json("controller", "status")["gateway"]["pid"] not in (gateway, None), 60, "the next one")
        there = well[0]
        wait_for(lambda: well[0] >= there + 100, 60, "answers again")
    finally:
        stop.set()
        for one in callers:
            one.join()
    assert wrong == []
    assert lost[0] > 0
    after = home.status("chat")["replica_list"]
    assert [(one["id"], one["pid"], one["state"]) for one in after] == [
        (one["id"], one["pid"], one["state"]) for one in before
    ]
    assert acts(home, entry) == []


def _requests(home: Home, replica: str) -> int:
    with home.engine(replica) as engine:
        return int(engine.get("/stand-in").json()["requests"])


def _attempts(home: Home, replica: str) -> int:
    return next(int(one["attempts"]) for one in home.status("chat")["replica_list"] if one["id"] == replica)
