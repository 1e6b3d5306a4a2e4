"""Updates, rollbacks and dying replicas under a load of streams: nothing fails, and nothing is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import wait_for
from tests.replicas.load import Outcome, steady
from tests.replicas.stand_in import Home, write_model

pytestmark = pytest.mark.slow

STREAM = {"interval": 0.03}
"""Twenty tokens take 0.6 s: some stream is always under way."""


def releases(home: Home) -> dict[int, str]:
    return {one["number"]: one["state"] for one in home.status("chat")["releases"]}


def grown(outcome: Outcome, by: int) -> Any:
    there = len(outcome.statuses)
    return lambda: len(outcome.statuses) >= there + by


def test_update_and_rollback_under_load(home: Home, tmp_path: Path) -> None:
    home.behave(**STREAM)
    home.deploy("--min", "2", "--max", "2")
    url, key = home.status("chat")["url"], home.key()
    assert len(home.running()) == 2
    with steady(url, key, 8) as outcome:
        wait_for(grown(outcome, 16), 60, "streams")
        home.deploy(model=write_model(tmp_path / "second", seed=1))
        assert releases(home) == {1: "superseded", 2: "active"}
        wait_for(lambda: len(home.running()) == 2, 60, "both replicas")
        wait_for(grown(outcome, 16), 60, "streams")
        home.run("rollback", "chat")
        assert releases(home)[1] == "active"
        wait_for(lambda: all(one.startswith("chat-1-") for one in home.running()), 60, "the old release alone")
        wait_for(grown(outcome, 16), 60, "streams")
    assert outcome.perfect(), outcome


def test_a_release_that_fails_leaves_the_old_one(home: Home, tmp_path: Path) -> None:
    home.behave(**STREAM)
    home.deploy()
    url, key = home.status("chat")["url"], home.key()
    with steady(url, key, 4) as outcome:
        home.behave(fails=True)
        document = home.deploy(model=write_model(tmp_path / "second", seed=1), code=1)
        assert "as it was told" in str(document["error"])
        assert releases(home) == {1: "active", 2: "failed"}
        wait_for(grown(outcome, 8), 60, "streams")
    assert outcome.perfect(), outcome


def test_a_release_that_dies_while_it_is_on_probation_is_taken_back(home: Home, tmp_path: Path) -> None:
    home.deploy()
    home.deploy("--bake", "10m", model=write_model(tmp_path / "second", seed=1))
    assert releases(home) == {1: "superseded", 2: "active"}
    _kill_engine(home)
    wait_for(lambda: releases(home) == {1: "active", 2: "failed"}, 60, "the old release")
    failed = next(one for one in home.json("releases", "chat")["releases"] if one["number"] == 2)
    assert failed["error"]
    assert all(one.startswith("chat-1-") for one in home.running())


def test_a_canary_gets_its_share_and_is_promoted(home: Home, tmp_path: Path) -> None:
    home.deploy()
    url, key = home.status("chat")["url"], home.key()
    home.deploy("--canary", "20%", model=write_model(tmp_path / "second", seed=1))
    wait_for(lambda: len(home.running()) == 2, 60, "both releases")
    with steady(url, key, 4, stream=False) as outcome:
        wait_for(grown(outcome, 500), 120, "requests")
    assert outcome.perfect()
    counts = {}
    for replica in home.running():
        with home.engine(replica) as engine:
            counts[replica.split("-")[1]] = engine.get("/stand-in").json()["requests"]
    assert 0.1 < counts["2"] / sum(counts.values()) < 0.3
    home.run("promote", "chat")
    wait_for(lambda: releases(home) == {1: "superseded", 2: "active"}, 60, "the new release alone")
    wait_for(lambda: [one.split("-")[1] for one in home.running()] == ["2"], 60, "its replica alone")


@pytest.mark.parametrize("stream", [False])
def test_a_replica_that_is_killed_costs_no_request(home: Home, stream: bool) -> None:
    """But for streams that it had begun."""
    home.behave(ttft=0.2)
    home.deploy("--min", "2", "--max", "2")
    url, key = home.status("chat")["url"], home.key()
    with steady(url, key, 8, stream=stream) as outcome:
        wait_for(grown(outcome, 16), 60, "answers")
        killed = _kill_engine(home)
        wait_for(lambda: killed in home.running() and len(home.running()) == 2, 60, "it to be back")
        wait_for(grown(outcome, 16), 60, "answers")
    assert outcome.perfect(), outcome


def _kill_engine(home: Home) -> str:
    """kill -9 of one engine; the id of its replica."""
    row = next(one for one in home.status("chat")["replica_list"] if one["state"] == "ready")
    psutil.Process(row["pid"]).kill()
    return str(row["id"])
