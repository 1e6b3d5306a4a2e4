"""The parent of one supervised process: runs it, timestamps its output, buries it and its children, notes its end.

Standard library only and a single file, because it is started as `python -I -S shim.py DIRECTORY` on machines where
nothing else may be installed, and lives as long as an engine does (about 8 MB). The controller may die and come back:
the shim is nobody's child, and all that a supervisor needs to know lies in DIRECTORY:

    spec.json      argv and env to run, and user and group if not its own (written by the supervisor, 0600); `after`:
                   argv to run at its end, for the client of a container, which may leave that behind
    process.json   pid, start time, boot id of the process and pid of its shim; on disk before the process executes
    output.log     its stdout and stderr, one `<RFC 3339 time> <line>` a line; rotated to output.log.1 … .3
    exit.json      exit code and time, once it has ended and no child of it is left

A process whose shim is killed is killed by the kernel (PR_SET_PDEATHSIG): nothing runs unseen.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

LOG_BYTES = 20 << 20
LOG_FILES = 3
LINE_BYTES = 16 << 10
KILL_WAIT_SECONDS, AFTER_SECONDS = 10.0, 60.0
KILLED_FOR_MEMORY = "lyc: killed for memory (OOM)"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_LINE_END = re.compile(rb"\r\n|\n|\r")


def boot_id() -> str:
    """The kernel's id of this boot: a pid means nothing across boots."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot; None if there is no such live process (a zombie is not alive)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since boot, on the whole machine."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def write_atomically(path: Path, document: dict[str, Any]) -> None:
    """Write JSON that a reader sees whole or not at all, 0600, on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Log:
    """Timestamps lines and rotates by size. A carriage return ends a line too, so that progress bars can be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab", buffering=0)
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Stamp and write the whole lines; keep the rest for the next call."""
        *lines, self.rest = _LINE_END.split(self.rest + data)
        if len(self.rest) > LINE_BYTES:
            lines.append(self.rest)
            self.rest = b""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)).encode() + b".%03dZ " % int(now % 1 * 1000)
        text = b"".join(stamp + line[:LINE_BYTES] + b"\n" for line in lines if line.strip())
        with contextlib.suppress(OSError):  # a full disk must not stop the engine; the lines are lost
            self.file.write(text)
            if self.file.tell() > LOG_BYTES:
                self.rotate()

    def rotate(self) -> None:
        for number in range(LOG_FILES, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path if number == 1 else self.path.with_name(f"{self.path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)
        self.file.close()
        self.file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        if self.rest:
            self.feed(b"\n")
        self.file.close()


def children() -> list[int]:
    """Pids of this process's own children."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def bury() -> None:
    """Kill and reap all that is left. As subreaper this process inherits every orphan, so no descendant escapes."""
    deadline = time.monotonic() + KILL_WAIT_SECONDS
    while time.monotonic() < deadline:
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            time.sleep(0.01)


def engine_code(code: int) -> int:
    """The exit code of what ran in a container, negative for a signal: its client tells of it as a shell does."""
    return 128 - code if 128 < code <= 128 + 64 else code


def clean(argv: list[str], env: dict[str, str]) -> None:
    """Run a command to its end, if that comes."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    except OSError:
        return
    finally:
        os.close(null)
    deadline = time.monotonic() + AFTER_SECONDS
    while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < deadline:
        time.sleep(0.02)


def execute(spec: dict[str, Any], output: int, go: int) -> None:
    """In the child: become the process, once the parent has recorded it."""
    os.setsid()
    if spec.get("user") is not None:
        os.setgroups([spec["group"]])
        os.setgid(spec["group"])
        os.setuid(spec["user"])  # clears what tells the kernel to kill it with its parent, so that comes after
        os.umask(0o077)
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if os.read(go, 1) != b"g":  # the parent died before it could record us
        os._exit(125)
    try:
        os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - a shell here would be the mistake
    except OSError as error:
        os.write(2, f"cannot execute {spec['argv'][0]}: {error}\n".encode())
        os._exit(127)


def supervise(directory: Path, ready: int) -> None:
    """Run the process of `directory` to its end. `ready` gets `r` once it is recorded, `h` if it runs already."""
    lock = os.open(directory / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held for life: one process a directory, whoever asks twice
    except BlockingIOError:
        os.write(ready, b"h")
        return
    spec = json.loads((directory / "spec.json").read_text())
    for stale in ("process.json", "exit.json"):
        (directory / stale).unlink(missing_ok=True)
    contained = "after" in spec
    if not contained:  # of its user's containers Podman keeps one process in common, which must not end with this one
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reader, writer = os.pipe()
    go_reader, go_writer = os.pipe()
    kills = oom_kills()
    leader = os.fork()
    if leader == 0:
        os.close(reader)
        os.close(go_writer)
        os.close(ready)
        execute(spec, writer, go_reader)
    os.close(writer)
    os.close(go_reader)

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    record = {"pid": leader, "start_ticks": start_ticks(leader), "boot_id": boot_id(), "shim": os.getpid()}
    write_atomically(directory / "process.json", record)
    os.write(go_writer, b"g")
    os.close(go_writer)
    os.write(ready, b"r")
    os.close(ready)
    code = follow(leader, reader, Log(directory / "output.log"), kills, contained=contained)
    if contained:
        clean(spec["after"], spec["env"])
    bury()
    write_atomically(directory / "exit.json", {"pid": leader, "code": code, "at": time.time()})


def follow(leader: int, reader: int, log: Log, kills: int, *, contained: bool = False) -> int:
    """Copy the output until the leader ends, though its children may hold the pipe. Exit code; negative = signal.

    kills: `oom_kills` before its start. contained: the leader is the client of a container.
    """
    import select  # noqa: PLC0415 - needed here alone, and the child must not pay for it

    ended = os.pidfd_open(leader)
    while True:
        readable, _, _ = select.select([reader, ended], [], [])
        if reader in readable:
            data = os.read(reader, 65536)
            log.feed(data)
            if not data:
                break
        elif ended in readable:
            break
    _, status = os.waitpid(leader, 0)
    os.set_blocking(reader, False)
    with contextlib.suppress(BlockingIOError):
        while data := os.read(reader, 65536):
            log.feed(data)
    code = os.waitstatus_to_exitcode(status)
    code = engine_code(code) if contained else code
    if code == -signal.SIGKILL and oom_kills() > kills:
        log.feed(f"\n{KILLED_FOR_MEMORY}\n".encode())
    log.close()
    return code


def main() -> None:
    """`shim.py DIRECTORY FD`: detach, then supervise; the fd hears when the record is on disk."""
    directory, ready = Path(sys.argv[1]), int(sys.argv[2])
    if os.fork():  # so that the shim is nobody's child and its end leaves no zombie with the controller
        os._exit(0)
    os.setsid()
    supervise(directory, ready)


if __name__ == "__main__":
    main()
