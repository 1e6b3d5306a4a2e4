"""Processes where there is no systemd: the program as a zip, with its own shim, on this machine."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lyc.agent.shimmed import owned
from lyc.hosts.remote.program import agent_zip
from tests.agent.hosted import ENGINE, SECRET, Hosted, await_

UNDER_SYSTEMD = os.geteuid() == 0 and Path("/run/systemd/system").is_dir()
here = pytest.mark.skipif(UNDER_SYSTEMD, reason="as root of this machine the program would use its systemd")


class Here:
    """The program on this machine."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.program = folder / "lyc.pyz"
        self.program.write_bytes(agent_zip()[0])
        (folder / "engine.py").write_text(ENGINE)
        self.folder = folder

    def argv(self, command: str, *arguments: str) -> list[str]:
        return [sys.executable, "-I", str(self.program), "--root", str(self.root), command, *arguments]

    def call(self, command: str, *arguments: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        stdin = json.dumps(request or {}).encode()
        done = subprocess.run(self.argv(command, *arguments), input=stdin, capture_output=True, check=False)
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def request(self, identity: str, code: str = "") -> dict[str, Any]:
        key = str(self.root / "replicas" / identity / "engine.yaml")
        argv = [sys.executable, "-c", code] if code else [sys.executable, str(self.folder / "engine.py"), "{port}", key]
        return {"id": identity, "owner": "me", "argv": argv, "files": {"engine.yaml": SECRET}, "devices": [0]}

    def status(self, identity: str) -> dict[str, Any]:
        return next(one for one in self.call("list", "me")["processes"] if one["id"] == identity)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    for pid in owned(made.root.resolve()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@here
def test_started_once_asked_stopped_and_removed(program: Here) -> None:
    port = program.call("start", request=program.request("a.1"))["port"]
    assert program.call("start", request=program.request("a.1")) == {"port": port}
    status = program.status("a.1")
    assert (status["state"], status["port"], status["starts"], status["gave_up"]) == ("running", port, 1, False)
    seen = await_(lambda: _asked(port, "key,os.environ['CUDA_VISIBLE_DEVICES'],os.getpid()"), "it answers")
    assert seen == repr((SECRET, "0", status["pid"]))
    assert program.call("remove", "a.1")["error"]["ref"] == "still-running"
    stopped = program.call("stop", "a.1", "--grace", "5")["process"]
    assert (stopped["state"], stopped["exit_code"], stopped["gave_up"]) == ("exited", -15, True)
    assert program.call("start", request=program.request("a.1")) == {"port": port}
    program.call("stop", "a.1", "--grace", "5")
    assert program.call("remove", "a.1", "never-was.1") == {}
    assert program.call("list", "me") == {"processes": []}
    assert [path.name for path in (program.root / "replicas").iterdir()] == [".lock"]


def _asked(port: int, code: str) -> str:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/{code}") as answer:
        return str(ast.literal_eval(answer.read().decode()))
    return ""


@here
def test_a_killed_start_is_done_by_the_next(program: Here) -> None:
    began = time.monotonic()
    program.call("list", "me")
    took = time.monotonic() - began
    for part in range(1, 8):
        with subprocess.Popen(program.argv("start"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as start:
            assert start.stdin
            start.stdin.write(json.dumps(program.request("a.1")).encode())
            start.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                start.wait(took * part / 5)
            start.kill()
    port = program.call("start", request=program.request("a.1"))["port"]
    assert await_(lambda: _asked(port, "os.getpid()"), "it answers") == str(program.status("a.1")["pid"])
    engines = [pid for pid in owned(program.root.resolve()) if "engine.py" in _command(pid)]
    assert engines == [program.status("a.1")["pid"]]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


LINES, LENGTH = 50_000, 1200
WRITER = f"""
import sys
for number in range({LINES}):
    sys.stdout.write(f"number {{number}} " + "x" * {LENGTH} + "\\n")
sys.stdout.flush()
"""


@here
def test_each_line_once_over_three_rotations_and_killed_watches(program: Here) -> None:
    """60 MB, of which the shim keeps 80."""
    program.call("start", request=program.request("a.1", WRITER))
    mark, got, watches = "", 0, 0
    while got < LINES:
        watches += 1
        assert watches < 200
        with subprocess.Popen(program.argv("watch", "me"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watch:
            assert watch.stdin
            assert watch.stdout
            watch.stdin.write(json.dumps({"marks": {"a.1": mark} if mark else {}}).encode())
            watch.stdin.close()
            most = got + 9000
            for line in watch.stdout:
                document = json.loads(line)
                if document["t"] == "log":
                    for _, text in document["lines"]:
                        assert text.startswith(f"number {got} ")
                        assert len(text) == len(f"number {got} ") + LENGTH
                        got += 1
                    mark = document["mark"]
                if got >= most or got == LINES:
                    break
            watch.kill()
    assert watches > 4
    assert len(list((program.root / "replicas/a.1").glob("output.log*"))) >= 3


@here
def test_the_end_is_told_after_the_last_words(program: Here) -> None:
    code = "print('first'); print('last words', end='', flush=True); raise SystemExit(3)"
    program.call("start", request=program.request("a.1", code))
    await_(lambda: program.status("a.1")["state"] == "exited", "it ended")
    with subprocess.Popen(program.argv("watch", "me"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as watch:
        assert watch.stdout
        assert "error" in json.loads(watch.stdout.readline())  # no request
    with subprocess.Popen(program.argv("watch", "me"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watch:
        assert watch.stdin
        assert watch.stdout
        watch.stdin.write(b"{}")
        watch.stdin.close()
        said = [json.loads(watch.stdout.readline()) for _ in range(3)]
        watch.kill()
    assert [one["t"] for one in said] == ["beat", "log", "status"]
    assert [text for _, text in said[1]["lines"]] == ["first", "last words"]
    status = said[2]["processes"][0]
    assert (status["state"], status["exit_code"], status["gave_up"]) == ("exited", 3, True)


@pytest.mark.slow
def test_a_user_without_rights_on_a_host_with_systemd(hosted: Hosted) -> None:
    user = Hosted(hosted.machine, "su plain -c", "/home/plain/.local/share/lyc")
    port = user.start("user-1.1", owner="me")
    assert user.ask(port, "(os.getuid() > 0, key, os.environ['HOME'])").startswith(f"(True, '{SECRET}', '/home/plain/")
    hosted.machine.shell(f"kill -KILL {user.status('user-1.1')['pid']}")
    ended = user.reaches("user-1.1", state="exited")
    assert (ended["exit_code"], ended["gave_up"]) == (-9, True)
    assert user.call("remove", "user-1.1") == {}


@pytest.mark.slow
def test_root_without_systemd_gives_its_rights_away(hosted: Hosted) -> None:
    bare = "unshare --mount sh -c 'mount -t tmpfs none /run/systemd && exec \"$@\"' sh sh -c"
    root = Hosted(hosted.machine, bare)
    port = root.start("bare-1.1", owner="bare")
    said = root.ask(port, "[__import__('pwd').getpwuid(os.getuid()).pw_name, os.getgroups() == [os.getgid()], key]")
    assert said == f"['lyc', True, '{SECRET}']"
    assert root.ask(port, "open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0]") == "'1'"
    for path in ("spec.json", "engine.yaml", "mine"):
        assert root.ask(port, f"open('{root.root}/replicas/bare-1.1/{path}', 'w')").startswith("PermissionError")
    assert root.ask(port, "open(os.environ['HOME'] + '/mine', 'w').write('1')") == "1"
    assert root.call("stop", "bare-1.1", "--grace", "5")["process"]["exit_code"] == -15
    assert root.call("remove", "bare-1.1") == {}
