"""`lyc deploy --provider`: the fake cloud's machines are real hosts with systemd and sshd, the engine on them is real.

One home lives through all of it, in the order of this file. What is rented is given back before the next test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from lyc.testing.clouds import aws, moto
from lyc.testing.clouds.aws_cloud import KEY_ID, SECRET_KEY, AwsCloud
from lyc.testing.clouds.core import FakeMachine
from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.lyceum import CPU, KEY, lyceum_app, lyceum_cloud
from lyc.testing.clouds.server import App, serve
from tests.e2e.harness import FAST, LYC, Lyc, make, wait_for
from tests.e2e.rack import Rack
from tests.lab.fixtures import lab
from tests.lab.lab import Lab

__all__ = ["lab"]
pytestmark = pytest.mark.engine
SMOL, TINY = "sample:smollm2-135m", "sample:tiny"
M7I = "eu-north-1/m7i.4xlarge"
RENT = ("--gpu", "cpu", "--yes")


@dataclass
class Market:
    """Two providers and a home that may rent of them."""

    lyc: Lyc
    lyceum: App
    ec2: App
    racks: tuple[Rack, Rack]

    def alive(self) -> list[FakeMachine]:
        return [one for app in (self.lyceum, self.ec2) for one in app.cloud.alive()]

    def ever(self) -> int:
        return sum(len(app.cloud.ever) for app in (self.lyceum, self.ec2))

    def nothing_left(self) -> None:
        """No machine in any cloud, none standing, no host in lyc's list, nothing for `lyc gc`, the ledger closed."""
        assert self.alive() == []
        wait_for(lambda: not any(rack.hosts() for rack in self.racks), 30, "the end of all hosts")
        assert self.lyc.json("hosts", "ls")["hosts"] == []
        found = self.lyc.json("gc")["providers"]
        assert [(one["ended"], one["leftovers"], one["error"]) for one in found] == [([], [], None)] * 2
        assert self.lyc.json("cost")["per_hour"] == {}


@pytest.fixture(scope="module")
def market(lab: Lab, weights_cache: Path) -> Iterator[Market]:
    folder = Path(tempfile.mkdtemp(prefix="lyc-rented-"))
    racks = Rack(lab, "lyceum"), Rack(lab, "ubuntu")
    with moto.start() as server:
        here, there = lyceum_app(lyceum_cloud(cpu=True)), aws.app(AwsCloud(server, {M7I: 1}))[0]
        with serve(here) as lyceum, serve(there) as ec2:
            for rack, app in zip(racks, (here, there), strict=True):
                rack.hold(app.cloud)
            made = make(folder / "lyc", weights_cache)
            made.env |= {
                "LYC_SSH_CONFIG": str(folder / "config"),
                "LYC_LYCEUM_ENDPOINT": lyceum,
                "LYC_AWS_ENDPOINT": ec2,
            }
            head = f"UserKnownHostsFile {folder}/known\nKexAlgorithms curve25519-sha256\n"
            (folder / "config").write_text(head + racks[0].ssh_config())
            yield Market(made, here, there, racks)
            for rack in racks:
                rack.power.set()
            made.close()
            for rack in racks:
                rack.close()
    shutil.rmtree(folder)


def typed(lyc: Lyc, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A verb that reads `text` from its standard input."""
    done = subprocess.run(
        [LYC, *words], env=lyc.env, input=text, text=True, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def chat(deployed: dict[str, Any], patience: float = 60) -> str:
    client = OpenAI(base_url=deployed["url"], api_key=deployed["key"], max_retries=0, timeout=patience)
    messages: Any = [{"role": "user", "content": "Say hello"}]
    answer = client.chat.completions.create(model=deployed["name"], messages=messages, max_tokens=8)
    return answer.choices[0].message.content or ""


def overhead(market: Market, rented: FakeMachine) -> tuple[float, float]:
    """Seconds from the first word over SSH to the start of the engine there, which was bare; and of `scp` and
    `systemd-run` alone, with the same weights to the same machine.
    """
    lyc, machine = market.lyc, market.racks[0].host(rented)
    (line,) = [
        one for one in (lyc.home / "controller.log").read_text().splitlines() if f"rented {rented.run_id} as" in one
    ]
    reached = datetime.strptime(" ".join(line.split()[:2]), "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
    micro = machine.shell("systemctl show -p ExecMainStartTimestampMonotonic --value 'lyc-replica@*'").split()[-1]
    started = time.time() - time.monotonic() + int(micro) / 1e6
    weights = max(Path(lyc.env["LYC_CACHE"]).glob("snapshots/*/*.safetensors"), key=lambda one: one.stat().st_size)
    way = [
        "-F",
        lyc.env["LYC_SSH_CONFIG"],
        "-i",
        str(lyc.home / "ssh" / "id_ed25519"),
        "-o",
        "StrictHostKeyChecking=no",
    ]
    there = f"lyceum@{machine.address}"
    began = time.monotonic()
    subprocess.run(["scp", "-q", *way, weights.resolve(), f"{there}:/tmp/weights"], check=True)
    subprocess.run(["ssh", *way, there, "rm /tmp/weights; sudo systemd-run --quiet true"], check=True)
    return started - reached, time.monotonic() - began


def kill_controller(lyc: Lyc) -> None:
    pid = lyc.controller_pid()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 10, "the controller's end")


def test_a_login_and_what_is_for_sale(market: Market) -> None:
    lyc = market.lyc
    said = typed(lyc, f"{KEY}\n", "providers", "login", "lyceum")
    assert KEY not in said.stdout + said.stderr
    typed(lyc, f"{KEY_ID}\n{SECRET_KEY}\n\n\n\n", "providers", "login", "aws")
    listed = {one["name"]: one["source"] for one in lyc.json("providers", "ls")["providers"]}
    assert [name for name, source in listed.items() if source] == ["aws", "lyceum"]
    offers = lyc.json("gpus", "cpu", "--available")["offers"]
    assert {(one["provider"], one["id"], one["count"]) for one in offers} == {
        ("aws", M7I, 0),
        ("lyceum", CPU, 0),
    }


def test_a_machine_that_is_never_ready_goes_back(market: Market) -> None:
    rack = market.racks[0]
    rack.power.clear()
    words = ("--provider", "lyceum", "--ready-timeout", "4s")
    error = market.lyc.error("deploy", TINY, "--name", "never", *RENT, *words, code=5)
    assert "did not answer over SSH within 4.0s" in " ".join(error["detail"])
    wait_for(lambda: not market.alive(), 20, "the machine's end")
    rack.power.set()
    assert market.lyc.json("ls")["deployments"] == []
    market.nothing_left()


def test_time_that_is_up_ends_a_deployment(market: Market) -> None:
    rack = market.racks[0]
    rack.power.clear()
    begun = market.lyc.start("deploy", TINY, "--name", "brief", *RENT, "--provider", "lyceum", "--ttl", "6s", "--json")
    wait_for(market.lyceum.cloud.alive, 30, "the machine")
    out, err = begun.communicate(timeout=90)
    assert json.loads(out)["error"]["ref"] == "taken-down", err
    wait_for(lambda: not market.alive(), 20, "the machine's end")
    rack.power.set()
    market.nothing_left()


def test_from_nothing_to_an_answer_and_back_though_the_controller_is_killed(market: Market) -> None:
    lyc, cloud, rack, before = market.lyc, market.lyceum.cloud, market.racks[0], market.ever()
    words = ("deploy", SMOL, "--name", "smol", *RENT, "--provider", "lyceum", *FAST)
    rack.power.clear()
    begun = lyc.start(*words, "--json")
    (rented,) = wait_for(cloud.alive, 30, "the machine")
    kill_controller(lyc)
    rack.power.set()  # the command starts a controller again, which takes up what the other had begun
    out, err = begun.communicate(timeout=240)
    assert begun.returncode == 0, err + lyc.log()
    deployed = json.loads(out)
    assert chat(deployed)
    assert market.alive() == [rented]
    lycs, bare = overhead(market, rented)
    print(f"\n{err}from SSH to the engine's start: {lycs:.1f} s; scp and systemd-run alone: {bare:.1f} s")
    assert market.ever() == before + 1

    (host,) = lyc.json("hosts", "ls")["hosts"]
    assert (host["name"], host["state"], host["lease_seconds"]) == (deployed["host"], "ready", 900)
    assert (host["rented"]["provider"], host["rented"]["per_hour"]) == ("lyceum", "0.07")
    assert lyc.status("smol")["host"] == host["name"]
    assert [one["host"] for one in lyc.json("ls")["deployments"]] == [host["name"]]
    cost = lyc.json("cost")
    assert cost["per_hour"] == {"USD": "0.07"}
    assert float(cost["total"]["cost"]["amount"]) > 0

    began = time.monotonic()
    again = lyc.json(*words)
    print(f"a deploy that changes nothing: {time.monotonic() - began:.2f} s")
    assert again["changed"] is False
    assert market.ever() == before + 1

    fresh = given_back_and_woken(market, deployed)
    done = lyc.json("down", "smol", "--yes")
    assert done["released"] == [fresh.run_id]
    market.nothing_left()


def given_back_and_woken(market: Market, deployed: dict[str, Any]) -> FakeMachine:
    """Nobody asks, so its machine goes; then somebody does. The machine that comes."""
    lyc, cloud, ever = market.lyc, market.lyceum.cloud, market.ever()
    lyc.run("scale", "smol", "--min", "0", "--idle-stop", "1s", "--idle-release", "1s")

    def gone() -> bool:
        lyc.run("gc")  # it would look by itself, but later
        return not cloud.alive()

    wait_for(gone, 120, "the end of a machine for which nobody asks")
    wait_for(lambda: lyc.json("hosts", "ls")["hosts"] == [], 30, "the end of its host")
    assert lyc.status("smol")["state"] == "idle"
    began = time.monotonic()
    assert chat(deployed, patience=300)
    took = time.monotonic() - began
    (fresh,) = market.alive()
    assert market.ever() == ever + 1
    status = lyc.status("smol")
    assert (status["state"], status["release"], status["host"].startswith("lyceum-")) == ("ready", 1, True)
    assert status["host"] != deployed["host"]
    wakes = lyc.json("scale", "smol")["wakes"]
    assert {"new", "released"} <= set(wakes)
    print(f"from a request to its answer, with a machine rented meanwhile: {took:.1f} s; as lyc measured it: {wakes}")
    return fresh


def test_sold_out_meanwhile_the_next_serves_and_dies_with_its_controller(market: Market) -> None:
    lyc, cloud, rack = market.lyc, market.ec2.cloud, market.racks[1]
    market.lyceum.faults.add(Fault("create", "no-capacity"))
    done = lyc.run("deploy", TINY, "--name", "tiny", "--host", "rent", *RENT, *FAST, "--json")
    deployed = json.loads(done.stdout)
    assert "Lyceum has no" in done.stderr
    assert chat(deployed)
    (rented,) = market.alive()
    assert rented.offer == M7I
    machine = rack.host(rented)

    # Nobody comes back to it: its own lease ends it.
    kill_controller(lyc)
    agent = machine.shell("echo /var/lib/lyc/agent/*.pyz").split()[-1]
    short = json.dumps({"seconds": 1, "action": "poweroff"})
    machine.shell(f"python3 -I {agent} --root /var/lib/lyc lease", stdin=short)
    wait_for(lambda: machine.leader() is None, 90, "the end by its lease")
    cloud.end(rented.id)  # as EC2 does with what has switched itself off
    wait_for(lambda: lyc.json("hosts", "ls")["hosts"] == [], 60, "the end of its host")
    lyc.run("down", "tiny", "--yes")
    market.nothing_left()
