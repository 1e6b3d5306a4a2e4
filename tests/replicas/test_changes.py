"""Changes of a deployment that serves: what is foretold is done, it survives kills, and the journal tells it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import wait_for
from tests.replicas.stand_in import Home, write_model

pytestmark = pytest.mark.slow


def journal(home: Home, name: str = "chat") -> list[dict[str, Any]]:
    lines = home.run("events", name, "--json", "--tail", "1000").stdout.splitlines()
    return [json.loads(line) for line in lines]


def acts(steps: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """What was done, how often, whichever replica it was done to."""
    return Counter((one["action"], re.sub(r"chat-(\d+)-\w+", r"chat-\1", one["cause"])) for one in steps)


def foretold(home: Home, *words: str) -> Counter[tuple[str, str]]:
    steps = home.json(*words, "--dry-run")["steps"]
    return acts([one | {"cause": one["text"]} for one in steps])


def settled(home: Home, ready: int) -> Any:
    """Once so many serve, and all else has stopped."""

    def look() -> bool:
        states = [one["state"] for one in home.status("chat")["replica_list"] if one["state"] != "stopped"]
        return states == ["ready"] * ready

    return look


def test_what_a_dry_run_foretells_is_what_is_done(home: Home, tmp_path: Path) -> None:
    home.deploy()
    home.deploy(model=write_model(tmp_path / "second", seed=1))
    wait_for(settled(home, 1), 60, "the second release alone")
    for words, ready in (
        (("scale", "chat", "--min", "2", "--max", "2"), 2),
        (("restart", "chat"), 2),
        (("rollback", "chat"), 2),
        (("scale", "chat", "--min", "1", "--max", "1"), 1),
        (("pause", "chat"), 0),
        (("resume", "chat"), 1),
    ):
        before = journal(home)[-1]["id"]
        expected = foretold(home, *words)
        assert journal(home)[-1]["id"] == before, "a dry run does nothing"
        home.run(*words)
        wait_for(settled(home, ready), 60, f"{ready} replicas after {words}")
        done = [one for one in journal(home) if one["id"] > before and one["actor"] == "reconciler"]
        seen = {"is to start", "listens; ask it for a completion", "reads its weights", "has ended"}
        done = [one for one in done if not any(one["cause"].endswith(text) for text in seen)]  # no acts
        assert acts(done) == expected, words
        user = [
            (one["action"], one["result"]) for one in journal(home) if one["id"] > before and one["actor"] == "user"
        ]
        assert user == [(words[0], "done")]


def test_a_rollback_goes_on_when_its_controller_is_killed(home: Home, tmp_path: Path) -> None:
    home.deploy()
    home.behave(load_delay=2)
    home.deploy(model=write_model(tmp_path / "second", seed=1))
    started = home.json("rollback", "chat", "--no-wait", code=8)
    pid = home.json("controller", "status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", 20, "its end")
    states = {1: "active", 2: "superseded"}
    wait_for(
        lambda: {one["number"]: one["state"] for one in home.json("releases", "chat")["releases"]} == states,
        60,
        "the first release",
    )
    wait_for(lambda: home.status("chat")["operation"] is None, 60, "the end of the operation")
    assert started["operation"]
    rollback = next(one for one in journal(home) if one["action"] == "rollback")
    assert (rollback["actor"], rollback["subject"], rollback["result"]) == ("user", "1", "done")
    assert rollback["detail"] == {"from": 2, "to": 1}
    with home.client() as client:
        answer = client.post("/completions", json={"model": "chat", "prompt": "a", "max_tokens": 2})
        assert answer.status_code == 200


def test_a_rollback_to_weights_that_are_gone_says_what_to_type(home: Home, tmp_path: Path) -> None:
    home.deploy()
    home.deploy(model=write_model(tmp_path / "second", seed=1))
    wait_for(settled(home, 1), 60, "the second release alone")
    with sqlite3.connect(f"file:{home.home / 'lyc.db'}?mode=ro", uri=True) as database:
        (kept,) = database.execute("SELECT snapshot_path FROM releases WHERE number = 1").fetchone()
    Path(kept).rename(tmp_path / "elsewhere")
    error = home.error("rollback", "chat", code=1)
    assert error["ref"] == "weights-missing"
    assert f"lyc deploy {home.model} --name chat --gpu cpu" in error["hint"]
    assert home.json("releases", "chat")["target"] == 2
    assert [one["action"] for one in journal(home) if one["actor"] == "user"] == ["deploy", "deploy"]


def test_a_release_that_no_longer_starts_leaves_the_present_one(home: Home, tmp_path: Path) -> None:
    home.deploy()
    home.deploy(model=write_model(tmp_path / "second", seed=1))
    wait_for(settled(home, 1), 60, "the second release alone")
    home.behave(fails=True)
    error = home.error("rollback", "chat", code=1)
    assert "as it was told" in json.dumps(error)
    states = {one["number"]: one["state"] for one in home.json("releases", "chat")["releases"]}
    assert states == {1: "failed", 2: "active"}
    assert home.error("rollback", "chat", "--to", "1", code=2)["ref"] == "release-failed"
    with home.client() as client:
        assert client.post("/completions", json={"model": "chat", "prompt": "a", "max_tokens": 2}).status_code == 200


def test_bounds_survive_a_new_release(home: Home, tmp_path: Path) -> None:
    home.deploy()
    rule = "daily 00-24 Europe/Berlin max=3"
    home.run("scale", "chat", "--min", "0", "--max", "2", "--idle", "7m", "--schedule", rule)
    again = home.deploy()
    assert again["changed"] is False, "how many there are makes no other release"
    home.deploy("--max", "1", model=write_model(tmp_path / "second", seed=1))
    found = home.json("scale", "chat")
    assert found["policy"] | {"wake_timeout": 0} == {
        "min": 0, "max": 1, "target_concurrency": None, "idle": 420.0, "schedule": [rule], "wake_timeout": 0,
        "idle_sleep": None, "idle_release": None, "hosts": [],
    }  # fmt: skip
    assert (found["bounds"], found["release"]) == ({"min": 0, "max": 3}, 2)


def test_a_pause_is_watched_no_further_and_down_ends_it(home: Home) -> None:
    home.deploy()
    home.run("pause", "chat")
    wait_for(settled(home, 0), 60, "nothing to run")
    assert home.status("chat")["state"] == "paused"
    assert home.error("restart", "chat", code=2)["ref"] == "paused"
    follower = home.start("events", "chat", "-f")
    assert follower.stdout is not None
    assert "deploy" in follower.stdout.readline()
    home.run("down", "chat", "--yes")
    assert follower.wait(60) == 1
    assert follower.stderr is not None
    assert "  pause" in follower.stdout.read()  # not `communicate`: what came with the first line is read already
    assert follower.stderr.read().startswith("error[no-such-deployment]")


def test_a_canary_is_given_up_by_a_rollback(home: Home, tmp_path: Path) -> None:
    home.deploy()
    assert home.error("promote", "chat", code=2)["ref"] == "no-canary"
    home.deploy("--canary", "20%", model=write_model(tmp_path / "second", seed=1))
    found = home.json("releases", "chat")
    assert (found["target"], found["canary"]) == (2, 0.2)
    shares = {one["number"]: one["share"] for one in found["releases"]}
    assert shares == {1: 0.8, 2: 0.2}
    home.run("promote", "chat", "--share", "50%")
    assert {one["number"]: one["share"] for one in home.json("releases", "chat")["releases"]} == {1: 0.5, 2: 0.5}
    back = home.json("rollback", "chat")
    assert (back["changes"], back["release"]) == (["release: 2 → 1", "the canary ends"], 1)
    wait_for(settled(home, 1), 60, "the first release alone")
    found = home.json("releases", "chat")
    assert {one["number"]: one["state"] for one in found["releases"]} == {1: "active", 2: "superseded"}
    assert [one["share"] for one in found["releases"]] == [0.0, 1.0]


@pytest.mark.slow
def test_a_crash_loop_ends_and_is_tried_again_when_a_person_asks(home: Home) -> None:
    home.deploy()
    home.behave(fails=True)
    psutil.Process(home.status("chat")["replica_list"][0]["pid"]).kill()
    wait_for(lambda: home.status("chat")["state"] == "failed", 180, "the end of the loop")
    assert "as it was told" in home.run("logs", "chat").stdout
    home.behave()
    assert home.json("resume", "chat", "--dry-run")["changes"] == ["what was given up is tried again"]
    assert home.json("resume", "chat")["state"] == "ready"
    assert "as it was told" in home.run("logs", "chat").stdout, "the logs of what failed stay"
