"""Hosts with real systemd and sshd, engines that are stand-ins: two serve one deployment, and one is enough. One that
is lost while its engine wakes costs nobody an answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.away import Home, Served, home
from tests.e2e.harness import wait_for
from tests.lab.fixtures import ENGINE_DISK, lab
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.stand_in import loads_for, stand_in_layer
from tests.replicas.load import burst
from tests.replicas.stand_in import write_model

__all__ = ["lab"]
pytestmark = pytest.mark.slow
SECONDS = 240.0


@pytest.fixture
def two(lab: Lab) -> Iterator[list[Machine]]:
    lent = lab.borrow(2, over=(stand_in_layer(lab.folder / "stand-in"),), disk=ENGINE_DISK)
    yield lent
    lab.give_back(lent, spoiled=True)


@pytest.fixture
def place(lab: Lab, two: list[Machine], tmp_path: Path) -> Iterator[Home]:
    with home(tmp_path / "cache") as made:
        for alias, machine in zip(("one", "two"), two, strict=True):
            made.knows(lab, alias, machine)
        yield made
        for machine in two:
            machine.restore()


def ready(served: Served) -> dict[str, int]:
    """Replicas that serve, by host."""
    listed = served.lyc.status(served.name)["replica_list"]
    hosts = [one["host"] for one in listed if one["state"] == "ready"]
    return {host: hosts.count(host) for host in sorted(hosts)}


def engines(machine: Machine) -> int:
    """How many run on it."""
    return int(machine.shell("systemctl list-units --no-legend 'lyc-replica@*' | wc -l"))


def asked(served: Served, count: int) -> list[int]:
    """What so many requests came to, one after the other."""
    body = {"model": served.name, "prompt": "hello", "max_tokens": 2}
    with served.client(60) as client:
        return [client.post("/completions", json=body).status_code for _ in range(count)]


def test_two_hosts_serve_it_and_one_is_enough(place: Home, two: list[Machine], tmp_path: Path) -> None:
    lyc, model = place.lyc, str(write_model(tmp_path / "model"))
    hosts = ("--host", "ssh://root@one", "--host", "ssh://root@two", "--accept-host-key", "accept-new")
    deployed: dict[str, Any] = lyc.json("deploy", model, "--name", "tiny", *hosts, "--gpu", "cpu", "--max", "2")
    served = Served(lyc, two[0], deployed)
    assert (deployed["host"], ready(served)) == ("one", {"one": 1})
    assert lyc.json("scale", "tiny")["policy"]["hosts"] == ["two"]

    lyc.run("scale", "tiny", "--min", "2")
    wait_for(lambda: ready(served) == {"one": 1, "two": 1}, SECONDS, "a replica on each host")
    assert re.search(r'"action": "expand".*"result": "done"', lyc.run("events", "tiny", "--json").stdout)
    assert asked(served, 20) == [200] * 20
    serving = {one["name"]: [r["state"] for r in one["replicas"]] for one in lyc.json("hosts", "ls")["hosts"]}
    assert serving["two"] == ["ready"]

    two[1].cut()
    wait_for(lambda: ready(served) == {"one": 1}, 60, "the silence of the second")
    assert asked(served, 10) == [200] * 10
    wait_for(lambda: ready(served) == {"one": 2}, SECONDS, "another one where there is room")
    two[1].join()
    wait_for(lambda: ready(served) == {"one": 1, "two": 1}, SECONDS, "a replica on each host again")
    assert asked(served, 10) == [200] * 10
    wait_for(lambda: [engines(machine) for machine in two] == [1, 1], SECONDS, "the end of the surplus")

    lyc.run("scale", "tiny", "--min", "1", "--max", "1", "--no-host")
    wait_for(lambda: ready(served) == {"one": 1}, SECONDS, "only the first one")


def boot(machine: Machine) -> None:
    machine.start()
    machine.wait()


@pytest.mark.parametrize(("befalls", "mends"), [(Machine.cut, Machine.join), (Machine.power_cut, boot)])
def test_a_host_that_is_lost_while_it_wakes(
    place: Home,
    two: list[Machine],
    tmp_path: Path,
    befalls: Callable[[Machine], None],
    mends: Callable[[Machine], None],
) -> None:
    lyc, machine = place.lyc, two[0]
    words = (
        "--host",
        "ssh://root@one",
        "--accept-host-key",
        "accept-new",
        "--gpu",
        "cpu",
        "--min",
        "0",
        "--idle",
        "2s",
    )
    deployed = lyc.json("deploy", str(write_model(tmp_path / "model")), "--name", "chat", *words)
    wait_for(lambda: engines(machine) == 0, SECONDS, "sleep")
    lyc.run("scale", "chat", "--idle", "15m")
    loads_for(machine, 3600)
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(burst, deployed["url"], deployed["key"], 20, timeout=2 * SECONDS)
        wait_for(lambda: engines(machine) == 1, SECONDS, "the engine to start")
        befalls(machine)
        wait_for(lambda: "watching: " in (lyc.home / "controller.log").read_text(), SECONDS, "the silence to be seen")
        assert not waiting.done()
        loads_for(machine, 0)
        mends(machine)
        if befalls is Machine.cut:  # what began to load goes on; its end makes its host start it once more
            machine.shell("systemctl kill --signal=KILL 'lyc-replica@*'")
        outcome = waiting.result(SECONDS)
    assert outcome.perfect(), outcome
