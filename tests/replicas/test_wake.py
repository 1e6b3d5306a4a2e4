"""A deployment at zero, and requests that wake it."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.e2e.harness import wait_for
from tests.replicas.load import burst
from tests.replicas.stand_in import Home

pytestmark = pytest.mark.slow


def asleep(home: Home, name: str = "chat") -> bool:
    return all(one["state"] in ("stopped", "failed") for one in home.status(name)["replica_list"])


def fall_asleep(home: Home) -> None:
    """And once it has woken, it stays awake for as long as a test may look at it."""
    wait_for(lambda: asleep(home), 60, "the deployment to fall asleep")
    home.run("scale", "chat", "--idle", "10m")


def test_from_zero_on_a_burst(home: Home) -> None:
    """Two hundred requests at once: none is lost, and one engine is started."""
    home.deploy("--min", "0", "--max", "1", "--idle", "2s")
    url, key = home.status("chat")["url"], home.key()
    fall_asleep(home)
    wait_for(lambda: not [pid for pid in home.pids() if "engine" in " ".join(_words(pid))], 30, "the engine's end")
    assert home.json("ls")["deployments"][0]["state"] == "idle"
    home.behave(load_delay=2)
    before = len(home.store_rows())
    outcome = burst(url, key, 200)
    assert outcome.errors == []
    assert outcome.well == 200
    assert len(home.store_rows()) == before + 1, "one wake"
    (replica,) = home.running()
    with home.engine(replica) as engine:
        assert engine.get("/stand-in").json()["requests"] >= 200
    events = [json.loads(line) for line in home.run("events", "chat", "--json").stdout.splitlines()]
    assert [one["action"] for one in events if one["actor"] == "activator"] == ["scale"]


def test_a_stranger_wakes_nobody(home: Home) -> None:
    home.deploy("--min", "0", "--idle", "2s")
    url = home.status("chat")["url"]
    wait_for(lambda: asleep(home), 60, "the deployment to fall asleep")
    answer = httpx.post(f"{url}/chat/completions", json={}, headers={"authorization": "Bearer lyc_no"}, timeout=20)
    assert answer.status_code == 401
    assert asleep(home)


def test_who_has_no_time_is_told_at_once(home: Home) -> None:
    """With the estimate, from how long the last start took."""
    home.behave(load_delay=1)
    home.deploy("--min", "0", "--idle", "2s")
    url, key = home.status("chat")["url"], home.key()
    fall_asleep(home)
    with httpx.Client(headers={"authorization": f"Bearer {key}", "x-lyc-wake-timeout": "0"}, timeout=20) as client:
        answer = client.post(f"{url}/chat/completions", json={"model": "chat", "messages": []})
        assert answer.status_code == 503
        assert 1 <= int(answer.headers["retry-after"]) <= 10
    wait_for(home.running, 60, "the wake that it began all the same")
    wait_for(lambda: len(home.json("scale", "chat")["wakes"]) == 2, 60, "how long it took")
    found = home.json("scale", "chat")
    assert set(found["wakes"]) == {"new", "stopped"}, "the first start, and this one"
    assert found["wake"] == found["wakes"]["stopped"]
    assert home.status("chat")["wake"] == found["wake"]
    specs = [json.loads(path.read_text()) for path in home.home.glob("deployments/chat/replicas/*/*/spec.json")]
    assert len({one["env"]["VLLM_CACHE_ROOT"] for one in specs}) == 1, "the second finds what the first has compiled"
    assert "/compiled/vllm-cpu-" in specs[0]["env"]["VLLM_CACHE_ROOT"]


def test_paused_is_not_woken(home: Home) -> None:
    home.deploy()
    url, key = home.status("chat")["url"], home.key()
    home.run("pause", "chat")
    wait_for(lambda: asleep(home), 60, "its end")
    answer = httpx.post(
        f"{url}/chat/completions", json={"model": "chat"}, headers={"authorization": f"Bearer {key}"}, timeout=20
    )
    assert answer.status_code == 503
    assert "lyc resume chat" in answer.text
    assert home.json("ls")["deployments"][0]["state"] == "paused"
    home.run("resume", "chat")
    assert burst(url, key, 3).perfect()


def test_one_that_fails_as_it_wakes_says_why(home: Home) -> None:
    home.deploy("--min", "0", "--idle", "2s")
    url, key = home.status("chat")["url"], home.key()
    wait_for(lambda: asleep(home), 60, "the deployment to fall asleep")
    home.behave(fails=True)
    outcome = burst(url, key, 5)
    assert outcome.statuses == [503] * 5
    assert "lyc logs chat" in outcome.errors[0]
    home.behave()
    home.deploy()  # a person asks again
    assert burst(url, key, 5).perfect()


def _words(pid: int) -> list[str]:
    import psutil

    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []
