"""The lock of a host: one owner at a time, whoever comes at once, whoever is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lyc.agent.lock import age, shown, state
from lyc.agent.root import Root
from lyc.hosts.remote.program import agent_zip


class Agent:
    """The program, with a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "lyc"
        self.root.mkdir()
        self.program = folder / "agent.pyz"
        self.program.write_bytes(agent_zip()[0])

    def begin(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-I", str(self.program), "--root", str(self.root), command, *arguments]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, command: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer; of a refusal its error."""
        out, _ = self.begin(command).communicate(json.dumps(request).encode(), timeout=30)
        answer: dict[str, Any] = json.loads(out.splitlines()[-1])
        return answer.get("error", answer)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def asks(owner: str, reason: str = "deploy chat") -> dict[str, str]:
    return {"owner": owner, "who": f"{owner}@box", "reason": reason}


def test_one_owner_at_a_time(agent: Agent) -> None:
    assert agent.call("lock", asks("a")) == {}
    assert agent.call("lock", asks("a", "deploy more")) == {}
    refusal = agent.call("lock", asks("b"))
    assert (refusal["ref"], refusal["kind"]) == ("host-locked", "Locked")
    assert refusal["what"].startswith("a@box")
    assert "deploy more" in refusal["why"]
    assert refusal["hint"].startswith("lyc hosts unlock NAME")
    assert agent.call("unlock", {"owner": "b"})["ref"] == "host-locked"
    assert agent.call("unlock", {"owner": "a"})["was"]["who"] == "a@box"
    assert agent.call("unlock", {"owner": "a"}) == {"was": None}
    assert agent.call("lock", asks("b")) == {}
    assert agent.call("unlock", {"force": True})["was"]["owner"] == "b"
    assert agent.call("lock", {"who": "nobody"})["ref"] == "bad-request"


def test_of_many_at_once_one_has_it(agent: Agent) -> None:
    running = [agent.begin("lock") for _ in range(6)]
    for number, process in enumerate(running):
        assert process.stdin
        process.stdin.write(json.dumps(asks(str(number))).encode())
    answers = [json.loads(process.communicate(timeout=30)[0]) for process in running]
    (first,) = (number for number, answer in enumerate(answers) if answer == {})
    assert all(answer["error"]["what"].startswith(f"{first}@box") for answer in answers if answer)
    held = state(Root(agent.root, systemd=False))
    assert held
    assert held["owner"] == str(first)
    assert 0 <= held["age"] < 60
    assert sorted(path.name for path in agent.root.iterdir()) == ["lock.guard", "lock.json"]


def test_what_a_killed_one_left_keeps_nobody_out(agent: Agent) -> None:
    (agent.root / ".lock.json.new").write_text("{")  # between its link and its end
    assert agent.call("lock", asks("a")) == {}
    assert not (agent.root / ".lock.json.new").exists()


def test_a_lock_that_nobody_can_read_is_held_all_the_same(agent: Agent) -> None:
    (agent.root / "lock.json").write_text("")
    assert agent.call("lock", asks("a"))["ref"] == "host-locked"
    assert agent.call("unlock", {"force": True})["was"]["owner"] == ""
    assert agent.call("lock", asks("a")) == {}


@pytest.mark.parametrize(
    ("boot", "now", "clock", "expected"),
    [
        ("b1", 160.0, 5000.0, 60.0),  # as the machine counts
        ("b1", 160.0, 5.0e9, 60.0),  # and not as its clock says, which was set
        ("b2", 30.0, 1600.0, 600.0),  # before the last boot: as the clock says
        ("b2", 30.0, 900.0, 30.0),  # unless that was set back: since the boot at least
    ],
)
def test_its_age(boot: str, now: float, clock: float, expected: float) -> None:
    held = {"boot_id": "b1", "boottime": 100.0, "since": 1000.0}
    assert age(held, now, boot, clock) == expected


def test_ages_in_words() -> None:
    assert [shown(seconds) for seconds in (3, 130, 7300, 200_000)] == ["3 s", "2 min", "2 h", "2 d"]


def test_the_file_is_private(agent: Agent) -> None:
    agent.call("lock", asks("a"))
    assert (agent.root / "lock.json").stat().st_mode & 0o777 == 0o600
    assert time.time() - json.loads((agent.root / "lock.json").read_text())["since"] < 60
