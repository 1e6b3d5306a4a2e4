"""`lyc deploy --dry-run`: what it says is what a deploy does, and it does nothing itself."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lyc.testing.clouds.lyceum import KEY, lyceum_app, lyceum_cloud
from lyc.testing.clouds.server import serve
from tests.e2e.harness import wait_for
from tests.replicas.stand_in import Home, write_model

pytestmark = pytest.mark.slow
BEFORE_THE_LOOP = {"rent", "wait", "prepare", "install", "pull", "fetch", "add-release", "create-key"}
LOOKS = ("is to start", "listens; ask it for a completion", "reads its weights", "has ended")
"""Causes of moves that are no acts."""


def journal(home: Home) -> list[dict[str, Any]]:
    return [json.loads(line) for line in home.run("events", "chat", "--json").stdout.splitlines()]


def acts(rows: list[dict[str, Any]]) -> Counter[str]:
    """What is done, whatever the names of the replicas."""
    return Counter(one["action"] for one in rows)


def foretold(home: Home, words: tuple[str, ...], model: Path) -> Any:
    """What it says; nothing is another than before."""
    before = home.json("ls")["deployments"]
    said = home.deploy(*words, "--dry-run", model=model)
    assert home.json("ls")["deployments"] == before
    return said


def settled(home: Home, words: tuple[str, ...], model: Path) -> None:
    wait_for(lambda: home.deploy(*words, "--dry-run", model=model)["steps"] == [], 180, "the end of what it has begun")


def test_what_a_deploy_foretells_is_what_it_does(home: Home, tmp_path: Path) -> None:
    second, last = write_model(tmp_path / "second", seed=1), 0
    wishes: tuple[tuple[tuple[str, ...], Path, list[str]], ...] = (
        ((), home.model, ["release: none → 1", "min 1, max 1"]),
        (("--max", "3"), home.model, ["max: 1 → 3"]),
        ((), second, ["release: 1 → 2, beside it"]),
        (("--canary", "10%"), home.model, ["release: 2 → 3, beside it", "canary: 0.1 of the requests at first"]),
    )
    for words, model, changes in wishes:
        said = foretold(home, words, model)
        assert said["changes"] == changes
        home.deploy(*words, model=model)
        settled(home, words, model)
        rows = [one for one in journal(home) if one["id"] > last]
        last = max([last, *(one["id"] for one in rows)])
        done = [one for one in rows if one["actor"] == "reconciler" and not one["cause"].endswith(LOOKS)]
        assert acts(done) == acts([one for one in said["steps"] if one["action"] not in BEFORE_THE_LOOP]), words
        again = foretold(home, words, model)
        assert (again["changed"], again["changes"], again["release"]) == (False, [], said["release"])


def test_nothing_is_rented_by_a_dry_run(home: Home) -> None:
    app = lyceum_app(lyceum_cloud(cpu=True))
    with serve(app) as lyceum:
        home.env |= {"LYC_LYCEUM_ENDPOINT": lyceum, "LYCEUM_API_KEY": KEY}
        said = home.deploy("--provider", "lyceum", "--ttl", "8h", "--dry-run")
        assert [one["action"] for one in said["steps"]][:5] == ["rent", "prepare", "install", "fetch", "add-release"]
        assert (said["rent"]["provider"], said["host"], said["release"]) == ("lyceum", None, 1)
        assert said["steps"][0]["text"].startswith("rent cpu at lyceum")
        assert app.cloud.ever == []
        assert home.json("ls")["deployments"] == []
        assert home.json("cost")["per_hour"] == {}
        dear = home.error("deploy", str(home.model), "--gpu", "cpu", "--max-price", "0.01EUR", "--dry-run", code=5)
        assert dear["ref"] == "no-offer"
        new = home.error("deploy", str(home.model), "--host", "ssh://me@192.0.2.7", "--dry-run", code=1)
        assert (new["ref"], new["hint"]) == ("no-such-host", "lyc hosts add ssh://me@192.0.2.7")
        assert home.json("hosts", "ls")["hosts"] == []
