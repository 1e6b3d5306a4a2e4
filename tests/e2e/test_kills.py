"""kill -9 of everything, at several moments: the list stays true, nothing is orphaned, the endpoint works again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
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
    """Of three processes below the shim, as where several cards work together: one more than with FAST."""
    return lyc.json("deploy", TINY, "--name", NAME, "--max-model-len", "512")


def answers(deployed: Any, **headers: str) -> bool:
    try:
        answer = httpx.post(
            deployed["url"] + "/completions",
            json={"model": NAME, "prompt": "a b c", "max_tokens": 2},
            headers={"authorization": f"Bearer {deployed['key']}", **headers},
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
    for victim, seconds in (("leader", 2), ("child", 30), ("shim", 3)):
        leader = psutil.Process(lyc.engine_pid(NAME))
        children = leader.children(recursive=True)
        assert {child.ppid() for child in children} - {leader.pid}, "a child has a child"
        core = max(children, key=lambda child: child.memory_info().rss)
        family = [leader.pid, *(child.pid for child in children)]
        kill({"leader": leader.pid, "child": core.pid, "shim": leader.ppid()}[victim])
        wait_for(lambda: lyc.status(NAME)["state"] != "ready", seconds, f"the truth about a killed {victim}")
        assert lyc.status(NAME)["replicas"] == {"ready": 0, "desired": 1}
        assert answers(deployed, **{"x-lyc-wake-timeout": "0"}) is False  # others are held until it is back
        again = wait_for(partial(started, lyc, family), 30, f"life after a killed {victim}")
        assert all(gone(pid) for pid in family), victim
        assert families(lyc) == 2, "no orphans"
        if victim != "shim":  # a start is a start, and takes its time
            wait_for(lambda: lyc.status(NAME)["state"] == "ready", 180, f"an endpoint after a killed {victim}")
            assert answers(deployed)
            assert lyc.engine_pid(NAME) == again
    logs = lyc.run("logs", NAME, "--tail", "5000").stdout
    assert logs.count("Application startup complete") >= 3  # the logs of the dead ones are there too


def started(lyc: Lyc, dead: list[int]) -> int | None:
    """The pid of the engine that comes up in place of one that is dead."""
    (replica,) = lyc.status(NAME)["replica_list"]
    return None if replica["pid"] in (None, *dead) else int(replica["pid"])


def phase_is(lyc: Lyc, state: str) -> Callable[[], bool]:
    def reached() -> bool:
        deployments = lyc.json("ls")["deployments"]
        replicas = [r["state"] for d in deployments for r in lyc.status(d["name"])["replica_list"]]
        return state in replicas or (state == "any" and bool(deployments))

    return reached


def test_a_deploy_outlives_the_command_and_the_controller(lyc: Lyc, deployed: Any) -> None:
    """One and the same: killed with its controller, it goes on without a command; the next one takes part in it."""
    lyc.run("down", NAME, "--yes")
    words = ("deploy", TINY, "--name", NAME, *FAST, "--json")
    command = lyc.start(*words)
    for moment in ("any", "starting", "loading"):
        reached = phase_is(lyc, moment)
        wait_for(lambda: reached() or command.poll() is not None, 240, moment)  # noqa: B023  called before the next
        if moment == "loading" and command.poll() is not None:
            break  # it was over before anybody could look
        assert command.poll() is None
        kill(lyc.controller_pid())
        lyc.run("ls")
        if moment != "loading":
            wait_for(lambda: bool(lyc.status(NAME)), 60)
            assert command.poll() is None, "the controller's death is not its own"
            kill(command.pid)
            command.communicate()
            wait_for(phase_is(lyc, "starting"), 240, "that it goes on without a command")
            command = lyc.start(*words)
    out, err = command.communicate(timeout=480)
    assert command.returncode == 0, out + err
    assert json.loads(out)["release"] == 1
    assert lyc.status(NAME)["state"] == "ready"
    assert len(lyc.status(NAME)["replica_list"]) == 1
    assert families(lyc) == 2
    again = lyc.json(*words[:-1])
    assert again["changed"] is False
    deployed |= again | {"key": json.loads(out)["key"] or lyc.json("keys", "create", NAME)["key"]}
    assert answers(deployed)


def test_the_controller_dies_while_it_takes_down(lyc: Lyc, deployed: Any) -> None:
    del deployed
    command = lyc.start("down", NAME, "--yes")
    wait_for(lambda: lyc.status(NAME)["state"] == "stopping", 60, "stopping")
    kill(lyc.controller_pid())
    command.communicate(timeout=60)
    wait_for(lambda: not lyc.json("ls")["deployments"], 60, "the end")
    wait_for(lambda: not lyc.pids(), 30, "no orphans")


def test_a_second_controller_refuses(lyc: Lyc) -> None:
    lyc.run("controller", "start")
    second = subprocess.run(
        [sys.executable, "-m", "lyc.controller"], env=lyc.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == 7
    assert "controller-runs-already" in second.stderr
