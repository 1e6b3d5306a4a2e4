"""An engine that sleeps in place of ending, and requests that wake it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import wait_for
from tests.replicas.cards import CardHome, make_card_home
from tests.replicas.load import burst

pytestmark = pytest.mark.slow


@pytest.fixture
def cards(tmp_path: Path) -> Iterator[CardHome]:
    made = make_card_home(tmp_path)
    yield made
    made.close()


def states(home: CardHome, name: str = "chat") -> list[str]:
    return [row["state"] for row in home.store_rows(name)]


def test_it_sleeps_wakes_on_a_burst_and_stops_in_the_end(cards: CardHome) -> None:
    """One wake for all, of the process that was there, and nothing is lost."""
    cards.deploy("--min", "0", "--idle-sleep", "2s", "--idle-stop", "1h")
    url, key = cards.status("chat")["url"], cards.key()
    replica = cards.store_rows()[0]["id"]
    with cards.engine(replica) as engine:
        wait_for(lambda: engine.get("/stand-in").json()["sleeping"], 60, "its sleep")
        assert states(cards) == ["asleep"]
        assert cards.json("scale", "chat")["why"].startswith("0 of 1: asleep")
        outcome = burst(url, key, 50)
        assert outcome.errors == []
        assert outcome.well == 50
        seen = engine.get("/stand-in").json()
    assert (seen["wakes"], seen["requests"] >= 50) == (1, True)
    assert len(cards.store_rows()) == 1, "the process that was there"
    cards.run("scale", "chat", "--idle-stop", "2s")
    wait_for(lambda: states(cards) == ["stopped"], 60, "its end")
    assert burst(url, key, 3).perfect()
    assert len(cards.store_rows()) == 2, "another one"


def test_a_controller_that_dies_beside_one_that_sleeps(cards: CardHome) -> None:
    cards.deploy("--min", "0", "--idle-sleep", "2s", "--idle-stop", "never")
    url, key = cards.status("chat")["url"], cards.key()
    wait_for(lambda: states(cards) == ["asleep"], 60, "its sleep")
    os.kill(cards.controller_pid(), signal.SIGKILL)
    cards.status("chat")  # starts another
    assert burst(url, key, 3).perfect()
    assert len(cards.store_rows()) == 1


def test_who_cannot_sleep_is_told_so(cards: CardHome) -> None:
    words = ("--gpu", "cpu", "--min", "0", "--idle-sleep", "1m")
    error = cards.error("deploy", str(cards.model), "--name", "slow", *words, code=3)
    assert (error["ref"], error["where"]) == ("impossible-step", "--idle-sleep")
    assert cards.json("ls")["deployments"] == []
