"""A controller's side of one host, as the real one puts it together, and a process that plays an engine there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from lyc.hosts.local import LocalSupervisor
from lyc.hosts.remote.calls import Agent
from lyc.hosts.remote.mirror import identity_of
from lyc.hosts.remote.supervisor import RemoteSupervisor
from lyc.hosts.remote.tunnels import Tunnels
from lyc.hosts.remote.watching import Pace
from lyc.hosts.ssh.target import Target
from lyc.records.process import PORT, ProcessSpec, ProcessStatus
from lyc.records.secret import Secret
from tests.hosts.named import named

ENGINE = """
import os, socket, sys, threading, time
pause, end, port = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
listening = socket.create_server(("127.0.0.1", port))
def serve():
    while True:
        client, _ = listening.accept()
        threading.Thread(target=answer, args=(client,), daemon=True).start()
def answer(client):
    with client:
        while data := client.recv(4096):
            client.sendall(str(os.getpid()).encode() + b" " + data)
threading.Thread(target=serve, daemon=True).start()
number = 0
while True:
    number += 1
    print("line", number, flush=True)
    if end.startswith(str(number) + ":"):
        print("last words", file=sys.stderr, flush=True)
        os._exit(int(end.partition(":")[2]))
    time.sleep(pause)
"""
"""`PAUSE N:CODE PORT`: says a line each PAUSE seconds, ends with CODE after the Nth, and answers who says a line."""


class Controller:
    """One life of a controller. home: lyc's; another life of it may have the same."""

    def __init__(
        self,
        agent: Callable[[], Agent],
        target: Target,
        home: Path,
        owner: str,
        pace: Pace | None = None,
        python: str = "/usr/bin/python3",
    ) -> None:
        self.agent = agent
        self.home = home
        self.owner = owner
        self.python = python
        self.woken = 0
        self.local = LocalSupervisor(home)
        self.tunnels = Tunnels(home, self.local, target, os.environ)
        (home / "run").mkdir(exist_ok=True, mode=0o700)
        self.supervisor = RemoteSupervisor(
            agent, owner, home / "deployments", self.tunnels, wake=self._wake, name="box", pace=pace or Pace()
        )

    def _wake(self) -> None:
        self.woken += 1

    def spec(self, replica: str = "support-1-a1b2c3", *, pause: float = 0.05, end: str = "never", attempt: int = 1,
             root: str = "/var/lib/lyc") -> ProcessSpec:  # fmt: skip
        """An engine of a replica."""
        directory = self.home / "deployments" / "support" / "replicas" / replica / str(attempt)
        private = Path(root) / "replicas" / identity_of(directory)
        return ProcessSpec(
            replica,
            directory,
            (self.python, "-c", ENGINE, str(pause), end, PORT),
            env={"LANG": "C.UTF-8"},
            files={private / "engine.yaml": Secret("api-key: secret-of-the-engine\n")},
            socket=self.home / "run" / f"{replica[-10:]}.sock",
        )

    def status(self, spec: ProcessSpec) -> ProcessStatus:
        return self.supervisor.status(spec.directory)

    def state(self, spec: ProcessSpec) -> str:
        return self.status(spec).state

    def ssh(self) -> list[psutil.Process]:
        """The `ssh` of all tunnels of this home."""
        return named("ssh", self.local.stray([]))

    def end(self) -> None:
        """Nothing that it runs on this machine is left."""
        self.supervisor.close()
        self.local.reap(self.local.stray([]))
        assert self.local.stray([]) == []


def pid_behind(spec: ProcessSpec, seconds: float = 2.0) -> int:
    """The pid that the engine answers with through its tunnel; 0 if it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        try:
            client.connect(str(spec.socket))
            client.sendall(b"hello\n")
            said = client.recv(100).split()
        except OSError:
            return 0
    return int(said[0]) if said else 0


def texts(spec: ProcessSpec) -> list[str]:
    """The log that is kept here, without times."""
    path = spec.directory / "output.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(" ")[2] for line in lines]


def numbers(spec: ProcessSpec) -> list[int]:
    """Of the lines that the engine counts."""
    return [int(text.split()[1]) for text in texts(spec) if text.startswith("line ")]


def held(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition holds for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not condition():
            return False
        time.sleep(0.02)
    return True
