"""What happens to hosts, done to real ones that serve: the endpoint answers again, and nobody is lied to meanwhile.

One deployment lives through all of it, in the order of this file; each test leaves it serving.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.e2e.away import Home, Served, Visitor, home
from tests.e2e.harness import FAST, wait_for
from tests.lab.fixtures import lab, lend_engines
from tests.lab.lab import Lab
from tests.lab.machine import Machine

__all__ = ["lab"]
pytestmark = pytest.mark.engine
TINY = "sample:tiny"
NOTICED_SECONDS = 20.0
"""Within which `lyc status` tells that a host is away: 8 s of silence, and what a busy machine takes to say so."""
EATER = """
import os, sys, time
eaten = []
while os.path.exists("/proc/" + sys.argv[1]):
    eaten.append(b"x" * (16 << 20))
    time.sleep(0.02)
"""
"""Takes memory until the process of the pid is gone."""
ENGINE = "systemctl show -p MainPID --value 'lyc-replica@*'"


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    (lent,) = lend_engines(lab, 1)
    yield lent
    lab.give_back([lent], spoiled=True)


@pytest.fixture(scope="module")
def place(lab: Lab, machine: Machine, weights_cache: Path) -> Iterator[Home]:
    with home(weights_cache) as made:
        made.knows(lab, "box", machine)
        yield made
        machine.restore()


@pytest.fixture(scope="module")
def served(place: Home, machine: Machine) -> Served:
    words = ("--host", "ssh://root@box", "--accept-host-key", "accept-new", *FAST)
    return Served(place.lyc, machine, place.lyc.json("deploy", TINY, "--name", "tiny", *words))


def engine(machine: Machine) -> int:
    """Its pid on the host, 0 if none runs."""
    return sum(map(int, machine.shell(ENGINE).split()))


def wait(seconds: float) -> None:
    """Let so much time go by, for what is about time."""
    until = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= until, seconds + 1)


def told(what: str, visitor: Visitor) -> None:
    print(
        f"\n{what}: {visitor.answered} answered, {visitor.refused} not, longest without an answer "
        f"{visitor.longest:.1f} s, called {', '.join(visitor.states)}"
    )


def test_a_link_that_is_cut_for_five_seconds(served: Served, machine: Machine) -> None:
    before = engine(machine)
    replica = served.well()
    with Visitor(served) as visitor:
        wait_for(lambda: visitor.answered > 2)
        machine.cut()
        wait(5)
        machine.join()
        wait_for(served.answers, 30)
        wait_for(lambda: time.monotonic() - visitor.last < 1)
    told("cut for 5 s", visitor)
    after = served.well()
    assert engine(machine) == before
    assert (after["id"], after["attempts"]) == (replica["id"], replica["attempts"])


def test_a_link_that_is_cut_for_longer_than_it_takes_to_notice(served: Served, machine: Machine) -> None:
    before = engine(machine)
    seconds = float(os.environ.get("LYC_TEST_CUT_SECONDS", "25"))
    with Visitor(served) as visitor:
        wait_for(lambda: visitor.answered > 2)
        machine.cut()
        began = time.monotonic()
        away = wait_for(lambda: _unreachable(served), NOTICED_SECONDS, "that the host is away")
        print(f"\nnoticed after {time.monotonic() - began:.1f} s")
        assert away["pid"] is None
        assert away["error"]["ref"] == "host-unreachable"
        assert "Starting vLLM server" in served.logs()
        assert "unreachable" in served.lyc.run("status", served.name).stdout
        os.kill(served.lyc.controller_pid(), signal.SIGKILL)
        assert _unreachable(served), "the next controller knows no better"
        wait(seconds - (time.monotonic() - began))
        machine.join()
        back = time.monotonic()
        wait_for(served.answers, 60)
        print(f"answers {time.monotonic() - back:.1f} s after the link was back")
        served.well()
    told(f"cut for {seconds:.0f} s", visitor)
    assert visitor.states[:2] == ["ready", "degraded"]
    assert engine(machine) == before


def _unreachable(served: Served) -> dict[str, object] | None:
    status = served.lyc.status(served.name)
    (replica,) = (one for one in status["replica_list"] if one["state"] != "stopped")  # what ended keeps its log
    if replica["state"] != "unreachable":
        return None
    assert (status["state"], status["replicas"]["ready"]) == ("degraded", 0)
    return dict(replica)


def test_a_controller_that_is_killed_while_all_is_well(served: Served, machine: Machine) -> None:
    """What serves goes on serving: the next controller, which knows nothing of the host yet, takes nothing away."""
    served.well()
    with Visitor(served) as visitor:
        wait_for(lambda: visitor.answered > 2)
        os.kill(served.lyc.controller_pid(), signal.SIGKILL)
        assert served.lyc.status(served.name)["state"] == "ready"
        wait_for(lambda: served.replica()["pid"], 30, "word of the host")
    told("controller killed", visitor)
    assert (visitor.states, visitor.refused) == (["ready"], 0)


def test_sshd_that_is_killed(served: Served, machine: Machine) -> None:
    before = engine(machine)
    with Visitor(served) as visitor:
        wait_for(lambda: visitor.answered > 2)
        machine.kill_sshd()
        began = time.monotonic()
        wait_for(lambda: visitor.last > began + 0.5 and served.answers(), 30)
        print(f"\nsshd killed: answers {time.monotonic() - began:.1f} s later")
        served.well()
    told("sshd killed", visitor)
    assert engine(machine) == before


def test_a_slow_link_that_loses_packets(served: Served, machine: Machine) -> None:
    served.well()
    machine.shape(delay_ms=100, loss_percent=5)
    try:
        client = OpenAI(base_url=served.deployed["url"], api_key=served.deployed["key"], max_retries=0, timeout=60)
        ask = {"model": served.name, "prompt": "a b c", "max_tokens": 32, "temperature": 0}
        with Visitor(served) as visitor:
            whole = client.completions.create(**ask).choices[0].text
            parts = [chunk.choices[0].text for chunk in client.completions.create(**ask, stream=True) if chunk.choices]
            wait_for(lambda: visitor.answered > 5, 60)
        assert len(parts) > 4
        assert "".join(parts) == whole
        told("200 ms and 5 % loss", visitor)
    finally:
        machine.shape()
    served.well()


def test_a_disk_that_is_full_while_it_serves(served: Served, machine: Machine) -> None:
    """Serving goes on, and so does what is told of it, whichever controller asks; only lines of the log may be lost."""
    before = engine(machine)
    with Visitor(served) as visitor:
        machine.fill()
        try:
            wait_for(lambda: visitor.answered > 10)
            os.kill(served.lyc.controller_pid(), signal.SIGKILL)
            assert served.lyc.status(served.name)["state"] == "ready"
            wait_for(lambda: served.replica()["pid"] == before, 30, "word of the host")
        finally:
            machine.unfill()
    told("full disk", visitor)
    assert (visitor.states, visitor.refused) == (["ready"], 0)
    assert engine(machine) == before


def test_a_host_that_is_rebooted(served: Served, machine: Machine) -> None:
    before = served.well()
    boot = machine.boot_id()
    with Visitor(served) as visitor:
        began = time.monotonic()
        machine.reboot()
        print(f"\nrebooted in {time.monotonic() - began:.1f} s")
        after = served.well(180)
        print(f"serves again after {time.monotonic() - began:.1f} s")
    told("reboot", visitor)
    assert machine.boot_id() != boot
    assert "degraded" in visitor.states
    assert (after["id"], after["attempts"]) == (before["id"], before["attempts"]), "systemd has started it, not lyc"
    assert served.logs().count("Starting vLLM server on") >= 2


def test_a_host_that_loses_power_while_nobody_controls_it(served: Served, machine: Machine) -> None:
    """systemd, the tunnel and the gateway bring the endpoint back alone."""
    before = served.well()
    os.kill(served.lyc.controller_pid(), signal.SIGKILL)
    machine.power_cut()
    assert not served.answers()
    machine.start()
    machine.wait()
    began = time.monotonic()
    wait_for(served.answers, 180, "an answer without a controller")
    print(f"\nno controller: answers {time.monotonic() - began:.1f} s after sshd")
    after = served.well()
    assert (after["id"], after["attempts"]) == (before["id"], before["attempts"])


def test_an_engine_that_is_killed_for_memory(served: Served, machine: Machine) -> None:
    before = served.well()
    pid = engine(machine)
    with Visitor(served) as visitor:
        machine.limit_memory(machine.memory() + (64 << 20))
        try:
            machine.shell(f"systemd-run --quiet --unit=eater -p OOMScoreAdjust=-1000 python3 -c '{EATER}' {pid}")
            wait_for(lambda: engine(machine) != pid, 60, "the end of the engine")
        finally:
            machine.limit_memory(None)
        error = wait_for(lambda: served.replica()["error"], 30, "why it ended")
        after = served.well(180)
    told("killed for memory", visitor)
    assert error["ref"] == "engine-killed-out-of-memory"
    assert "for memory (OOM)" in served.logs()
    assert (after["id"], after["error"]) == (before["id"], None)


def test_a_host_that_was_installed_anew_under_its_name(served: Served, machine: Machine) -> None:
    """Nothing is sent to it before its key is accepted; then the same deploy makes all that it had."""
    served.well()
    machine.unmake()
    machine.make()
    machine.start()
    machine.wait()
    assert wait_for(lambda: _said(served, "host-key-changed"), 60, "that the key is another")
    error = served.lyc.error("hosts", "check", "box", code=1)
    assert error["ref"] == "host-key-changed"
    (command,) = re.findall(r"lyc (hosts add \S+ --accept-host-key \S+)", error["hint"])
    assert machine.shell("ls /var/lib/lyc/agent 2>&1 || true").startswith("ls: cannot access")
    served.lyc.run(*command.split())
    words = ("--host", "ssh://root@box", *FAST)
    deployed = served.lyc.json("deploy", TINY, "--name", served.name, *words)
    assert (deployed["release"], deployed["url"]) == (served.deployed["release"], served.deployed["url"])
    served.well()


def _said(served: Served, ref: str) -> bool:
    (replica,) = served.lyc.status(served.name)["replica_list"]
    assert replica["state"] in ("ready", "unreachable")
    return bool(replica["error"] and replica["error"]["ref"] == ref)


def test_going_down_while_the_host_is_off(served: Served, machine: Machine) -> None:
    """It is waited for unless that is not wished; what its systemd starts again at boot is ended then."""
    served.well()
    machine.power_cut()
    wait_for(lambda: _unreachable(served), NOTICED_SECONDS, "that the host is away")
    began = served.lyc.run("down", served.name, "--yes", "--no-wait", code=8)
    assert f"box does not answer, and is waited for: lyc down {served.name} --force" in began.stderr
    assert served.lyc.status(served.name)["state"] == "stopping"
    served.lyc.run("down", served.name, "--yes", "--force")
    assert served.lyc.json("ls")["deployments"] == []
    machine.start()
    machine.wait()
    back = time.monotonic()
    wait_for(lambda: machine.shell("ls /var/lib/lyc/replicas").strip() == "", 60, "the end of what nobody knows")
    print(f"\nswept {time.monotonic() - back:.1f} s after sshd")
    assert engine(machine) == 0
