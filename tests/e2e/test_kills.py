"""kill -9 of everything, at several moments: the list stays true, nothing is orphaned, the endpoint works again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.harness import FAST, Lyc, make, wait_for

pytestmark = pytest.mark.engine

TINY = "sample:tiny"
NAME = "tiny"


@pytest.fixture(scope="module")
def lyc(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path) -> Iterator[Lyc]:
    made = make(tmp_path_factory.mktemp("kills") / "home", weights_cache)
    yield made
    made.close()


@pytest.fixture(scope="module")
def deployed(lyc: Lyc) -> Any:
    return lyc.json("deploy", TINY, "--name", NAME, *FAST)


def answers(deployed: Any) -> bool:
    try:
        answer = httpx.post(
            deployed["url"] + "/completions",
            json={"model": NAME, "prompt": "a b c", "max_tokens": 2},
            headers={"authorization": f"Bearer {deployed['key']}"},
            timeout=30,
        )
    except httpx.HTTPError:
        return False
    if answer.status_code == 200:
        return True
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["message"]
    assert answer.headers["retry-after"]
    return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid), 10, f"the end of {pid}")


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def families(lyc: Lyc) -> int:
    """How many supervised processes run: those whose parent is a shim."""
    found = 0
    for pid in lyc.pids():
        with suppress(psutil.Error):  # it has just ended
            found += "shim.py" in " ".join(psutil.Process(pid).cmdline())
    return found


def test_the_controller_dies_and_the_endpoint_does_not_notice(lyc: Lyc, deployed: Any) -> None:
    engine, old = lyc.engine_pid(NAME), lyc.controller_pid()
    with httpx.stream(
        "POST",
        deployed["url"] + "/completions",
        json={"model": NAME, "prompt": "a", "max_tokens": 300, "stream": True, "ignore_eos": True},
        headers={"authorization": f"Bearer {deployed['key']}"},
        timeout=60,
    ) as stream:
        source = stream.iter_lines()
        next(source)
        kill(old)
        assert answers(deployed)
        assert "data: [DONE]" in list(source)
    assert lyc.status(NAME)["state"] == "ready"  # this starts a new controller, which adopts what runs
    assert lyc.engine_pid(NAME) == engine
    assert lyc.controller_pid() != old
    assert families(lyc) == 2


def test_the_gateway_dies_and_comes_back_on_the_same_port(lyc: Lyc, deployed: Any) -> None:
    engine = lyc.engine_pid(NAME)
    kill(lyc.json("controller", "status")["gateway"]["pid"])
    wait_for(lambda: answers(deployed), 15, "the gateway")
    assert lyc.engine_pid(NAME) == engine
    assert families(lyc) == 2


def test_the_gateway_and_the_controller_die_together(lyc: Lyc, deployed: Any) -> None:
    gateway, controller = lyc.json("controller", "status")["gateway"]["pid"], lyc.controller_pid()
    kill(controller)
    kill(gateway)
    lyc.run("ls")
    wait_for(lambda: answers(deployed), 15, "the gateway")
    assert families(lyc) == 2


def test_an_engine_of_several_processes_dies_and_is_started_again(lyc: Lyc, deployed: Any) -> None:
    """Whichever of them is killed, or who watches over them: the truth within seconds, none left, a second life."""
    lyc.json("deploy", TINY, "--name", NAME, "--max-model-len", "512")
    wait_for(lambda: families(lyc) == 2, 30, "the end of the former release")
    for victim, seconds in (("leader", 2), ("child", 30), ("shim", 3)):
        leader = psutil.Process(lyc.engine_pid(NAME))
        children = leader.children(recursive=True)
        assert children
        core = max(children, key=lambda child: child.memory_info().rss)
        family = [leader.pid, *(child.pid for child in children)]
        kill({"leader": leader.pid, "child": core.pid, "shim": leader.ppid()}[victim])
        wait_for(lambda: lyc.status(NAME)["state"] != "ready", seconds, f"the truth about a killed {victim}")
        assert lyc.status(NAME)["replicas"] == {"ready": 0, "desired": 1}
        assert answers(deployed) is False
        wait_for(lambda: lyc.status(NAME)["state"] == "ready", 180, f"life after a killed {victim}")
        assert answers(deployed)
        assert lyc.engine_pid(NAME) != leader.pid
        assert all(gone(pid) for pid in family), victim
        wait_for(lambda: families(lyc) == 2, 5, "no orphans")
    logs = lyc.run("logs", NAME, "--tail", "5000").stdout
    assert logs.count("Application startup complete") >= 4  # the logs of the dead ones are there too


def phase_is(lyc: Lyc, state: str) -> Callable[[], bool]:
    def reached() -> bool:
        deployments = lyc.json("ls")["deployments"]
        replicas = [r["state"] for d in deployments for r in lyc.status(d["name"])["replica_list"]]
        return state in replicas or (state == "any" and bool(deployments))

    return reached


MOMENTS = ("any", "starting", "loading")
"""Of one and the same deploy: it survives a kill at each."""


def test_the_command_dies_and_the_deploy_goes_on(lyc: Lyc, deployed: Any) -> None:
    lyc.run("down", NAME, "--yes")
    for moment in MOMENTS:
        command = lyc.start("deploy", TINY, "--name", NAME, *FAST)
        wait_for(phase_is(lyc, moment), 90, moment)
        assert command.poll() is None
        kill(command.pid)
        command.communicate()
    again = lyc.json("deploy", TINY, "--name", NAME, *FAST)
    assert again["release"] == 1
    assert len(lyc.status(NAME)["replica_list"]) == 1
    key = again["key"] or lyc.json("keys", "create", NAME)["key"]
    deployed |= again | {"key": key}
    assert answers(deployed)


def test_the_controller_dies_while_it_deploys(lyc: Lyc, deployed: Any) -> None:
    lyc.run("down", NAME, "--yes")
    command = lyc.start("deploy", TINY, "--name", NAME, *FAST, "--json")
    for moment in MOMENTS:
        wait_for(phase_is(lyc, moment), 90, moment)
        kill(lyc.controller_pid())
    out, err = command.communicate(timeout=240)
    assert command.returncode == 0, out + err
    assert lyc.status(NAME)["state"] == "ready"
    assert len(lyc.status(NAME)["replica_list"]) == 1
    assert families(lyc) == 2
    again = lyc.json("deploy", TINY, "--name", NAME, *FAST)
    assert again["changed"] is False
    deployed |= again | {"key": lyc.json("keys", "create", NAME)["key"]}
    assert answers(deployed)


def test_the_controller_dies_while_it_takes_down(lyc: Lyc, deployed: Any) -> None:
    del deployed
    command = lyc.start("down", NAME, "--yes")
    wait_for(lambda: lyc.status(NAME)["state"] == "stopping", 10, "stopping")
    kill(lyc.controller_pid())
    command.communicate(timeout=60)
    wait_for(lambda: not lyc.json("ls")["deployments"], 60, "the end")
    wait_for(lambda: not lyc.pids(), 30, "no orphans")


def test_a_second_controller_refuses(lyc: Lyc) -> None:
    lyc.run("ls")
    import subprocess
    import sys

    lyc.run("controller", "start")
    second = subprocess.run(
        [sys.executable, "-m", "lyc.controller"], env=lyc.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == 7
    assert "controller-runs-already" in second.stderr
