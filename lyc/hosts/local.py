"""Processes on this machine that outlive the controller: `lyc.ports.Supervisor` with one shim for each.

A process is known as ours, after any crash, by two signs rather than by a list of pids: it carries
`LYC_SUPERVISED=<its directory>` in its environment, as all its descendants do; or it is in the session that the
recorded process began (a process that sets its own title, as vLLM's workers do, overwrites its environment).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from lyc.agent import shim
from lyc.errors import Failed
from lyc.records.process import ProcessSpec, ProcessStatus

MARK = "LYC_SUPERVISED"
START_SECONDS = 20.0
GONE_SECONDS = 15.0


class LocalSupervisor:
    """Keeps processes whose directories lie under `root`.

    `root` also tells our processes from those of another lyc home on the same machine.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def start(self, spec: ProcessSpec) -> None:
        """See `lyc.ports.Supervisor.start`. Raises Failed `process-not-started` with what the shim said."""
        directory = spec.directory.resolve()
        if not directory.is_relative_to(self.root):
            raise ValueError(f"{directory} is outside of {self.root}")
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.status(directory).state == "running":
            return
        for path, content in spec.files.items():
            _write_private(path, content.reveal())
        env = spec.env | {MARK: str(directory)}
        shim.write_atomically(directory / "spec.json", {"id": spec.id, "argv": list(spec.argv), "env": env})
        self._spawn(spec.id, directory)

    def _spawn(self, name: str, directory: Path) -> None:
        reader, writer = os.pipe()
        try:
            with (directory / "shim.log").open("wb") as log:
                launcher = subprocess.Popen(
                    [sys.executable, "-I", "-S", shim.__file__, str(directory), str(writer)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(writer,),
                    env={MARK: str(directory), "PATH": os.defpath},
                    cwd="/",
                )
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb") as ready:
            launcher.wait(START_SECONDS)
            answer = ready.read(1)
        if answer == b"h":  # a start that a crash of ours interrupted is still on its way
            _wait(lambda: self.status(directory).state != "absent", START_SECONDS)
        elif answer != b"r":
            said = (directory / "shim.log").read_text(errors="replace").strip().splitlines()
            raise Failed("process-not-started", f"could not start {name}", detail=tuple(said[-5:]))

    def status(self, directory: Path) -> ProcessStatus:
        """See `lyc.ports.Supervisor.status`."""
        record = _read(directory / "process.json")
        if record is None:
            return ProcessStatus("absent")
        pid = int(record["pid"])
        end = _read(directory / "exit.json")
        if end is not None and end["pid"] == pid:
            return ProcessStatus("exited", pid, int(end["code"]), float(end["at"]))
        if _is(record, pid) or self._shim_lives(record, directory):
            return ProcessStatus("running", pid)
        return ProcessStatus("exited", pid)  # killed together with its shim, or the machine went down: nobody saw how

    def _shim_lives(self, record: dict[str, Any], directory: Path) -> bool:
        """While its shim lives the end is not yet noted: exit code and burial are still to come."""
        if record["boot_id"] != shim.boot_id() or shim.start_ticks(int(record["shim"])) is None:
            return False
        return _mark(int(record["shim"])) == str(directory.resolve())

    def stop(self, directory: Path, *, grace: float) -> None:
        """See `lyc.ports.Supervisor.stop`."""
        record = _read(directory / "process.json")
        pid = int(record["pid"]) if record else 0
        if record and _is(record, pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            _wait(lambda: self.status(directory).state != "running", grace)
            if _is(record, pid):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            _wait(lambda: self.status(directory).state != "running", GONE_SECONDS)
        self.reap([pid for pid, owner in self._owned().items() if owner == str(directory.resolve())])

    def stray(self, known: Sequence[Path]) -> list[int]:
        """See `lyc.ports.Supervisor.stray`."""
        directories = {str(path.resolve()) for path in known}
        return [pid for pid, owner in self._owned().items() if owner not in directories]

    def _owned(self) -> dict[int, str]:
        """Every live process below `root`, by the directory that it belongs to."""
        sessions = {}
        for path in self.root.rglob("process.json"):
            record = _read(path)
            if record is not None and _session_is_ours(record):
                sessions[int(record["pid"])] = str(path.parent)
        found: dict[int, str] = {}
        for pid in psutil.pids():
            owner = _mark(pid) or sessions.get(_session(pid))
            if owner and Path(owner).is_relative_to(self.root) and pid != os.getpid():
                found[pid] = owner
        return found

    def reap(self, pids: Sequence[int]) -> None:
        """See `lyc.ports.Supervisor.reap`."""
        processes = []
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                process.kill()
                processes.append(process)
        psutil.wait_procs(processes, timeout=GONE_SECONDS)

    def forget(self, directory: Path) -> None:
        """See `lyc.ports.Supervisor.forget`: all that there is lies in the folder itself."""


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return document


def _is(record: dict[str, Any], pid: int) -> bool:
    return bool(record["boot_id"] == shim.boot_id() and shim.start_ticks(pid) == record["start_ticks"])


def _session_is_ours(record: dict[str, Any]) -> bool:
    """The kernel gives no pid away that still names a session, so only a leader of another start is a stranger."""
    leader = shim.start_ticks(int(record["pid"]))
    return bool(record["boot_id"] == shim.boot_id() and leader in (None, record["start_ticks"]))


def _session(pid: int) -> int:
    try:
        return 0 if shim.start_ticks(pid) is None else os.getsid(pid)
    except OSError:
        return 0


def _mark(pid: int) -> str | None:
    """Read raw: a title that a process wrote over the beginning of its environment must not hide the rest."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    begin = f"{MARK}=".encode()
    return next((os.fsdecode(entry[len(begin) :]) for entry in entries if entry.startswith(begin)), None)


def _wait(gone: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not gone() and time.monotonic() < deadline:
        time.sleep(0.02)


def _write_private(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
