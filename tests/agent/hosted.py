"""The program on a host of the lab, called as the controller calls it but without SSH; and what it is given to run."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import queue
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lyc.agent.units import UNIT_PATH, template
from lyc.hosts.remote.program import agent_zip
from tests.lab.machine import Machine

ROOT = "/var/lib/lyc"
PROGRAM = f"{ROOT}/agent/lyc.pyz"
ENGINE = '''
import http.server, os, subprocess, sys, urllib.parse
port, key = int(sys.argv[1]), open(sys.argv[2]).read()
class Asked(http.server.BaseHTTPRequestHandler):
    """Does what it is told: Python by the path of the URL, whose value or error it tells."""
    def do_GET(self):
        answer = repr(tried([urllib.parse.unquote(self.path[1:])])[0])
        self.send_response(200); self.end_headers(); self.wfile.write(answer.encode())
    def log_message(self, *words): pass
def tried(codes):
    told = []
    for code in codes:
        try:
            told.append(repr(eval(code)))
        except BaseException as error:
            told.append(f"{type(error).__name__}: {error}")
    return told
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Asked)
print("up", os.getpid(), flush=True)
server.serve_forever()
'''
ASK = "import sys, urllib.parse, urllib.request as r; u = 'http://127.0.0.1:%s/' % sys.argv[1]\n"
ASK += "sys.stdout.write(r.urlopen(u + urllib.parse.quote(sys.stdin.read()), timeout=20).read().decode())"
V1 = Path("/sys/fs/cgroup/memory")
SECRET = "sk-very-secret-0123456789"


class Refusal(Exception):
    """The agent refused. ref: of its error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(json.dumps(error))
        self.ref = str(error["ref"])


def await_(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true value of a condition."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value


class Hosted:
    """A machine with the agent, the account and the unit, as bootstrapping leaves them."""

    def __init__(self, machine: Machine, prefix: str = "", root: str = ROOT) -> None:
        self.machine = machine
        self.prefix = prefix
        self.root = root

    def install(self) -> None:
        """Once, for a bare machine."""
        for name in ("agent", "replicas", "compiled"):
            (self.machine.root / ROOT[1:] / name).mkdir(parents=True)
        (self.machine.root / PROGRAM[1:]).write_bytes(agent_zip()[0])
        (self.machine.root / UNIT_PATH[1:]).write_text(template(ROOT, "/usr/bin/python3", PROGRAM))
        (self.machine.root / "srv/engine.py").write_text(ENGINE)
        self.machine.shell(
            "useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin lyc && "
            f"chown lyc:lyc {ROOT}/compiled && systemctl daemon-reload"
        )

    def argv(self, command: str, *arguments: str) -> str:
        words = shlex.join(["/usr/bin/python3", "-I", PROGRAM, "--root", self.root, command, *arguments])
        return f"{self.prefix} {shlex.quote(words)}" if self.prefix else words

    def call(self, command: str, *arguments: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Raises Refusal."""
        script = f"{self.argv(command, *arguments)}; [ $? -le 3 ]"
        answer = json.loads(self.machine.shell(script, stdin=json.dumps(request or {})).splitlines()[-1])
        if "error" in answer:
            raise Refusal(answer["error"])
        return dict(answer)

    def start(self, identity: str, *, owner: str = "me", argv: list[str] | None = None, **more: Any) -> int | None:
        request = {"id": identity, "owner": owner, "socket": None, "env": {"PATH": "/usr/bin:/bin"}, "devices": []}
        request |= {"image": None, "argv": argv or self.engine(identity), "files": {"engine.yaml": SECRET}}
        port: int | None = self.call("start", request=request | more)["port"]
        return port

    def engine(self, identity: str) -> list[str]:
        return ["/usr/bin/python3", "/srv/engine.py", "{port}", f"{self.root}/replicas/{identity}/engine.yaml"]

    def status(self, identity: str, owner: str = "me") -> dict[str, Any]:
        found = self.call("list", owner)["processes"]
        return next((dict(one) for one in found if one["id"] == identity), {"state": "unknown here"})

    def reaches(self, identity: str, seconds: float = 20.0, **wanted: Any) -> dict[str, Any]:
        """Its status, as soon as it is as wanted."""
        end = time.monotonic() + seconds
        while not wanted.items() <= (now := self.status(identity)).items():
            if time.monotonic() > end:
                raise AssertionError(f"{identity} is not {wanted} within {seconds} s: {now}")
        return now

    def tell(self, port: int | None, code: str) -> str:
        """What the engine says of an expression; empty when it does not answer."""
        script = f"/usr/bin/python3 -I -c {shlex.quote(ASK)} {port}"
        said = self.machine.shell(f"{script} 2>/dev/null || true", stdin=code)
        return str(ast.literal_eval(said)) if said else ""

    def ask(self, port: int | None, code: str) -> str:
        """The same, as soon as it answers."""
        return str(await_(lambda: self.tell(port, code), f"the engine says what {code} is"))

    @contextlib.contextmanager
    def memory_limit(self, identity: str, size: int) -> Iterator[None]:
        """Of the process itself: from outside, where control groups are of the first version and a host has none."""
        if not V1.is_dir():
            unit, swap = f"lyc-replica@{identity}.service", "MemorySwapMax=0"
            self.machine.shell(f"systemctl set-property --runtime {unit} MemoryMax={size} {swap}")
            yield
            return
        group = V1 / f"{self.machine.network.name}-{identity}"
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(size))
        (group / "cgroup.procs").write_text(str(self._outside(int(self.status(identity)["pid"]))))
        try:
            yield
        finally:
            await_(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
            group.rmdir()

    def _outside(self, pid: int) -> int:
        """The number that a process of the host has on this machine."""
        for place in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                text = place.read_text()
                ids = next((line.split()[1:] for line in text.splitlines() if line.startswith("NSpid:")), [])
                if ids[1:] == [str(pid)] and self._is_ours(place.parent):
                    return int(ids[0])
        raise AssertionError(f"no process {pid} of {self.machine.name}")

    def _is_ours(self, process: Path) -> bool:
        leader = Path(f"/proc/{self.machine.leader()}")
        return (process / "ns/pid").readlink() == (leader / "ns/pid").readlink()

    @contextlib.contextmanager
    def watch(self, marks: Mapping[str, str] | None = None, owner: str = "me") -> Iterator[Watched]:
        leader = self.machine.leader()
        assert leader
        inside = ["nsenter", "-t", str(leader), *("-m", "-u", "-i", "-n", "-p", "-r", "-w"), "sh", "-c"]
        process = subprocess.Popen(
            [*inside, f"exec {self.argv('watch', owner)}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        watched = Watched(process)
        try:
            assert process.stdin
            process.stdin.write(json.dumps({"marks": dict(marks or {})}).encode())
            process.stdin.close()
            yield watched
        finally:
            assert process.stdout
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
            watched.thread.join(10)
            process.stdout.close()


class Watched:
    """What a `watch` says. lines, marks: by id."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.documents: list[dict[str, Any]] = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.documents.append(json.loads(line))

    def lines(self, identity: str) -> list[str]:
        return [text for one in self._logs(identity) for _, text in one["lines"]]

    def mark(self, identity: str) -> str:
        return str(self._logs(identity)[-1]["mark"])

    def listed(self) -> list[dict[str, Any]]:
        """The last list."""
        lists = [one["processes"] for one in [*self.documents] if one["t"] == "status"]
        return list(lists[-1]) if lists else []

    def statuses(self, identity: str) -> list[dict[str, Any]]:
        """Each status of one that differs from the one before."""
        found: list[dict[str, Any]] = []
        for document in [*self.documents]:
            for status in document.get("processes", ()):
                if status["id"] == identity and (not found or found[-1] != status):
                    found.append(status)
        return found

    def _logs(self, identity: str) -> list[dict[str, Any]]:
        return [one for one in [*self.documents] if one["t"] == "log" and one["id"] == identity]

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
        try:
            return await_(condition, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said {[one for one in self.documents if one['t'] != 'beat']}") from None
