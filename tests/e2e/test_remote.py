"""`lyc deploy --host`: bare machines with real sshd and systemd, the real engine on them, requests through tunnels."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.e2e.harness import FAST, Lyc, make
from tests.lab.fixtures import engine_machines, lab
from tests.lab.lab import Lab
from tests.lab.machine import Machine

__all__ = ["engine_machines", "lab"]
pytestmark = pytest.mark.engine
MODEL = "sample:smollm2-135m"
Borrow = Callable[..., list[Machine]]
FILES = "find / -xdev -path /proc -prune -o -path /tmp -prune -o -path /var/log -prune -o -path /run -prune -o -print"
"""All that is on a host's disk but for what every login changes."""


@pytest.fixture
def away(engine_machines: Borrow, weights_cache: Path) -> Iterator[Lyc]:
    """A home whose SSH configuration knows hosts of the lab, which outlive it."""
    folder = Path(tempfile.mkdtemp(prefix="lyc-away-"))
    made = make(folder / "lyc", weights_cache)
    made.env["LYC_SSH_CONFIG"] = str(folder / "config")
    (folder / "config").write_text(f"UserKnownHostsFile {folder}/known\nKexAlgorithms curve25519-sha256\n")
    yield made
    made.close()
    shutil.rmtree(folder)


def knows(lyc: Lyc, lab: Lab, alias: str, machine: Machine, *lines: str) -> None:
    with Path(lyc.env["LYC_SSH_CONFIG"]).open("a") as file:
        file.write(lab.host_block(alias, machine, *lines))


def chat(deployed: dict[str, str], words: str = "Say hello") -> str:
    client = OpenAI(base_url=deployed["url"], api_key=deployed["key"], max_retries=0, timeout=60)
    answer = client.chat.completions.create(
        model=deployed["name"], messages=[{"role": "user", "content": words}], max_tokens=8
    )
    return answer.choices[0].message.content or ""


def files(machine: Machine) -> set[str]:
    return set(machine.shell(FILES).splitlines())


def test_two_bare_hosts(away: Lyc, lab: Lab, engine_machines: Borrow) -> None:
    one, two = engine_machines(2)
    before = {machine.name: files(machine) for machine in (one, two)}
    users = one.shell("cat /etc/passwd /etc/group")
    knows(away, lab, "one", one)
    knows(away, lab, "two", two, "User ubuntu")

    wishes = {
        "first": ("--host", "ssh://root@one", "--accept-host-key", "accept-new", *FAST),
        "second": ("--host", "ssh://ubuntu@two", "--accept-host-key", "accept-new", *FAST),
    }
    begun = [away.start("deploy", MODEL, "--name", name, *words, "--json") for name, words in wishes.items()]
    ended = [(*process.communicate(timeout=600), process.returncode) for process in begun]
    assert [code for _, _, code in ended] == [0, 0], ended
    first, second = (json.loads(out) for out, _, _ in ended)
    assert (first["host"], second["host"]) == ("one", "two")
    assert chat(first)
    assert chat(second)

    follower = away.start("logs", "first", "-f", "--tail", "5")
    try:
        chat(first)
        assert follower.stdout
        assert follower.stdout.readline()
    finally:
        follower.kill()
        follower.communicate()
    assert "Starting vLLM server" in away.run("logs", "second").stdout

    # Its own account, loopback only, the engine's key in no list.
    key = (away.home / "deployments" / "first" / "engine.key").read_text()
    told = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; systemctl show '*'; journalctl -o cat"
    assert key not in one.shell(told + " | tr '\\0' '\\n'")
    listening = [line for line in one.shell("ss -ltnpH").splitlines() if "vllm" in line.lower()]
    assert listening
    assert [line for line in listening if "127.0.0.1:" not in line] == []
    pids = {line.partition("pid=")[2].partition(",")[0] for line in listening}
    assert {one.shell(f"stat -c %U /proc/{pid}").strip() for pid in pids} == {"lyc"}

    began = time.monotonic()
    again = away.json("deploy", MODEL, "--name", "first", *wishes["first"])
    assert again["changed"] is False
    print(f"a deploy that changes nothing: {time.monotonic() - began:.2f} s")

    for name in ("first", "second"):
        away.run("down", name, "--yes")
    for host, machine in (("one", one), ("two", two)):
        away.run("hosts", "rm", host, "--purge", "--yes")
        gone = files(machine) - before[machine.name]
        assert not [path for path in gone if "lyc" in path]
    assert one.shell("cat /etc/passwd /etc/group") == users
    assert one.shell("systemctl list-units --all --no-legend 'lyc*'").strip() == ""
    assert json.loads(away.run("hosts", "ls", "--json").stdout)["hosts"] == []
