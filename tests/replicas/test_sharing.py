"""Two deployments on one card: who is asked for has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import wait_for
from tests.replicas.cards import CardHome, make_card_home
from tests.replicas.load import burst, steady
from tests.replicas.stand_in import write_model

pytestmark = pytest.mark.slow


@pytest.fixture
def cards(tmp_path: Path) -> Iterator[CardHome]:
    made = make_card_home(tmp_path)
    yield made
    made.close()


def awake(home: CardHome) -> set[str]:
    """Deployments of which an engine holds the card now, as the store has it."""
    away = ("stopped", "failed", "asleep", "pending", "backoff")
    return {name for name in ("one", "two") for row in home.store_rows(name) if row["state"] not in away}


def causes(home: CardHome, name: str) -> list[str]:
    lines = home.run("events", name, "--json").stdout.splitlines()
    return [entry["cause"] for line in lines if (entry := json.loads(line))["actor"] == "share"]


def test_two_that_only_fit_by_swapping(cards: CardHome) -> None:
    """The deploy waits until nobody asks for the other one, and until that has had its stay; so does the way back."""
    words = ("--min", "0", "--idle-sleep", "1h", "--idle-stop", "never")
    cards.deploy(*words, name="one")
    cards.free(500)
    cards.behave(interval=0.05)  # so that some request is always under way while some are
    other = write_model(cards.model.parent / "other", 1)
    assert "it shares card 0 with one" in cards.run("deploy", str(other), "--name", "two", *words).stderr
    assert awake(cards) == {"two"}
    assert [row["state"] for row in cards.store_rows("one")] == ["asleep"]
    assert causes(cards, "one") == ["made room for two"]
    assert "made room for two" in cards.json("scale", "one")["why"]
    (url, key), (other_url, other_key) = ((cards.status(name)["url"], cards.key(name)) for name in ("one", "two"))
    with steady(other_url, other_key, 2, stream=True, tokens=60) as busy:
        wait_for(lambda: busy.statuses, 60, "requests of the one that has it")
        impatient = httpx.post(
            f"{url}/chat/completions", json={"model": "one", "messages": []}, timeout=30,
            headers={"authorization": f"Bearer {key}", "x-lyc-wake-timeout": "0"},
        )  # fmt: skip
        assert impatient.status_code == 503
        said = "waits for card 0 of local, which two has"
        wait_for(lambda: said in cards.json("scale", "one")["why"], 60, "what it waits for")
        assert causes(cards, "two") == [], "it is asked for"
    assert busy.perfect()
    assert burst(url, key, 3).perfect()
    assert causes(cards, "two") == ["made room for one"]
    assert len(cards.store_rows("one")) == 1, "it slept, and woke"


def test_a_minimum_above_zero_takes_the_card_and_keeps_it(cards: CardHome) -> None:
    """From one that is not asked for; who then waits is told by whom it is kept, and comes once that may be left."""
    words = ("--min", "0", "--idle-sleep", "1h", "--idle-stop", "never")
    cards.deploy(*words, name="one")
    cards.free(500)
    other = write_model(cards.model.parent / "other", 1)
    cards.run("deploy", str(other), "--name", "two", *words)
    assert awake(cards) == {"two"}
    warning = "it keeps card 0 of local: requests for two, which shares it, wait there in vain"
    assert cards.json("scale", "one")["warnings"] == []
    assert warning in " ".join(cards.run("scale", "one", "--min", "1").stdout.split())
    wait_for(lambda: awake(cards) == {"one"}, 60, "the one that keeps it")
    assert causes(cards, "two") == ["made room for one"]
    url, key = cards.status("two")["url"], cards.key("two")
    headers = {"authorization": f"Bearer {key}", "x-lyc-wake-timeout": "3"}
    body = {"model": "two", "messages": []}
    refused = httpx.post(f"{url}/chat/completions", json=body, timeout=30, headers=headers)
    assert refused.status_code == 503
    assert "its cards are those of another deployment, which keeps them" in refused.text
    assert "waits for card 0 of local, which one has" in cards.json("scale", "two")["why"]
    assert awake(cards) == {"one"}
    assert causes(cards, "one") == ["made room for two"], "of the deploy"
    cards.run("scale", "one", "--min", "0")
    assert burst(url, key, 3).perfect()
    assert awake(cards) == {"two"}
