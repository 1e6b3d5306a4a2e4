"""The verbs on a tiny model: deploy, again, anew, from a file, by two at once; status, logs, keys, down."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from lyc.testing.models import TinyModels
from tests.e2e.harness import FAST, Lyc, wait_for

pytestmark = pytest.mark.engine

TINY = "sample:tiny"


def ask(deployed: Any, key: str | None = None, tokens: int = 4) -> httpx.Response:
    return httpx.post(
        deployed["url"] + "/completions",
        json={"model": deployed["name"], "prompt": "a b c", "max_tokens": tokens},
        headers={"authorization": f"Bearer {key or deployed['key']}"},
        timeout=60,
    )


def test_the_life_of_a_deployment(lyc: Lyc, tmp_path: Path) -> None:
    # From a file, by two at once: one release, one engine, one key.
    spec = tmp_path / "lyc.toml"
    spec.write_text(
        f'model = "{TINY}"\nname = "tiny"\nmax_model_len = 512\n\n[env]\nVLLM_ENABLE_V1_MULTIPROCESSING = "0"\n'
    )
    both = [lyc.start("deploy", "-f", str(spec), "--json") for _ in range(2)]
    results = [json.loads(process.communicate(timeout=240)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [(result["name"], result["release"]) for result in results] == [("tiny", 1)] * 2
    assert sorted(result["changed"] for result in results) == [False, True]
    first = next(result for result in results if result["key"])
    assert len(lyc.status("tiny")["replica_list"]) == 1
    assert ask(first).status_code == 200

    status = lyc.status("tiny")
    assert status["state"] == "ready"
    assert status["replicas"] == {"ready": 1, "desired": 1}
    assert [d["name"] for d in lyc.json("ls")["deployments"]] == ["tiny"]
    assert "tiny" in lyc.run("ls").stdout
    assert "Application startup complete" in lyc.run("logs", "tiny", "--tail", "1000").stdout

    # The same again, by flags, changes nothing, says so, and shows no key.
    pid = lyc.engine_pid("tiny")
    again = lyc.json("deploy", TINY, "--name", "tiny", *FAST)
    assert (again["release"], again["changed"], again["key"]) == (1, False, None)
    assert lyc.engine_pid("tiny") == pid

    # Another wish makes a new release; not one request fails while it takes over.
    failures: list[object] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            answer = ask(first)
            if answer.status_code != 200:
                failures.append((answer.status_code, answer.text))

    thread = threading.Thread(target=load)
    thread.start()
    anew = ("deploy", TINY, "--name", "tiny", *FAST, "--engine-arg", "seed=7")
    lyc.run(*anew, "--no-wait", code=8)
    lyc.run(*anew, "--timeout", "1", code=8)
    assert lyc.status("tiny")["state"] == "updating"
    second = lyc.json(*anew)
    wait_for(lambda: len(lyc.status("tiny")["replica_list"]) >= 2, 5, "both replicas in the list")
    wait_for(
        lambda: [r["state"] for r in lyc.status("tiny")["replica_list"]].count("stopped") == 1, 60, "the old one's end"
    )
    done.set()
    thread.join()
    assert failures == []
    assert second["release"] == 2, "what only waits for it makes no other"
    assert lyc.engine_pid("tiny") != pid

    # A third that the engine refuses leaves the second serving.
    refused = lyc.error("deploy", TINY, "--name", "tiny", *FAST, "--engine-arg", "seed=seven", code=3)
    assert (refused["ref"], "seven" in refused["why"]) == ("engine-unknown-option", True)
    assert lyc.status("tiny")["state"] == "ready"
    assert lyc.status("tiny")["release"] == 2
    assert ask(first).status_code == 200

    # What is being answered while it is taken down is answered to its end.
    lines: list[str] = []
    with httpx.stream(
        "POST",
        first["url"] + "/completions",
        json={"model": "tiny", "prompt": "a", "max_tokens": 400, "stream": True, "ignore_eos": True},
        headers={"authorization": f"Bearer {first['key']}"},
        timeout=60,
    ) as stream:
        source = stream.iter_lines()
        lines.append(next(source))
        down = lyc.start("down", "tiny", "--yes", "--json")
        lines += list(source)
    assert "data: [DONE]" in lines[-3:]
    told, _ = down.communicate(timeout=60)
    assert (down.returncode, json.loads(told)["name"]) == (0, "tiny")
    assert lyc.json("ls")["deployments"] == []
    assert lyc.error("status", "tiny", code=1)["ref"] == "no-such-deployment"
    wait_for(lambda: not lyc.pids(), 10, "the end of all processes")


def wrong(models: TinyModels) -> Path:
    """A model that passes every check of its files, and whose weights do not have the shapes that its config says."""
    return models.changed("wrong-shapes", intermediate_size=160)


def test_an_engine_that_refuses_is_one_error_within_a_second_and_leaves_nothing(lyc: Lyc, models: TinyModels) -> None:
    error = lyc.error("deploy", str(wrong(models)), "--name", "bad", *FAST, code=3)
    assert error["ref"] == "weights-do-not-fit-config"
    assert error["detail"]
    status = lyc.status("bad")
    assert status["state"] == "failed"
    assert status["replicas"] == {"ready": 0, "desired": 0}
    replica = status["replica_list"][0]
    assert (replica["state"], replica["pid"]) == ("failed", None)
    end = json.loads(next((lyc.home / "deployments/bad/replicas" / replica["id"]).rglob("exit.json")).read_text())
    assert end["code"] != 0
    with sqlite3.connect(lyc.home / "lyc.db") as database:
        (told,) = database.execute("select finished_at from operations where kind = 'deploy'").fetchone()
    assert 0 <= told - end["at"] < 1
    assert "Error" in lyc.run("logs", "bad").stdout
    wait_for(lambda: not lyc.pids(), 15, "the end of the gateway, which nothing needs")
    # Trying again tries again, and taking it down leaves nothing.
    lyc.run("down", "bad", "--yes")
    assert lyc.json("ls")["deployments"] == []
