"""What a replica's unit runs before its engine, in the same process, and after it.

`launch ID` waits out a back-off after a crash, notes which process it is, and becomes the engine, which so is the main
process of the unit. `ended ID` notes how it ended. Both run as the engine's account, inside of its sandbox.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from lyc.agent import cards, containers
from lyc.agent.answer import Refused
from lyc.agent.folder import Document, Folder, named, number, read
from lyc.agent.root import ACCOUNT, Root
from lyc.agent.shim import KILLED_FOR_MEMORY, engine_code, oom_kills, start_ticks, write_atomically
from lyc.agent.units import GAVE_UP

CRASHES = 5
"""Ends in a row after which it is not started again."""
CLEAN_SECONDS = 120.0
"""Who has lived this long has no crashes behind it."""
LONGEST_WAIT = 60.0
AGAIN_SECONDS = 2.0


def wait_seconds(crashes: int) -> float:
    """How long to wait before the next start: 1, 2, 4 … 60 s."""
    return min(LONGEST_WAIT, 2.0 ** (crashes - 1)) if crashes else 0.0


def crashes(record: Document | None, end: Document | None, boot: str, uptime: float) -> int:
    """How many ends in a row were crashes when a replica is to be started once more, at `uptime` of boot `boot`.

    record, end: as `launch` and `ended` left them. An end with the machine, seen or not, is none of its own.
    """
    before = number(record, "crashes")
    if record is None or record.get("state") != "running":
        return before
    if record.get("boot_id") != boot:
        return 0
    lived = uptime - float(record.get("uptime") or 0.0)
    if end is not None and end.get("starts") == record.get("starts"):
        lived = float(end.get("seconds") or 0.0)
    return 1 if lived >= CLEAN_SECONDS else before + 1


def uptime() -> float:
    """Seconds since this machine's boot, suspended or not; setting the clock does not change it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def launch(root: Root, arguments: list[str]) -> NoReturn:
    """`ID BOOT`: become the engine of the replica. Exits with GAVE_UP where it is to run no more.

    BOOT: the id of this boot as systemd knows it (32 digits): within the sandbox /proc is another one, which in a
    container tells the boot of the machine that this one runs on.
    """
    folder, boot = named(root, arguments[0]), str(uuid.UUID(arguments[1]))
    spec, before = folder.spec(), folder.process() or {}
    if spec is None:
        sys.exit(GAVE_UP)
    failed = crashes(before, folder.end(), boot, uptime())
    record: Document = {
        "pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "boot_id": boot,
        "starts": number(before, "starts"), "crashes": failed,
    }  # fmt: skip
    if failed >= CRASHES:
        if before.get("state") != "gave-up":
            _say(f"lyc: it ended {failed} times in a row and is not started again")
        _note(folder, record | {"state": "gave-up"})
        sys.exit(GAVE_UP)
    if failed:
        seconds = wait_seconds(failed)
        _note(folder, record | {"state": "waiting"})
        _say(f"lyc: crash {failed} of {CRASHES}; it is started again in {seconds:g} s")
        time.sleep(seconds)
    with contextlib.suppress(Refused):  # where one is left, its name cannot be had, and that is said then
        containers.remove(folder, spec)
    now = {"state": "running", "starts": record["starts"] + 1, "uptime": uptime(), "oom_kills": oom_kills()}
    _note(folder, record | now)
    _ready()
    if "run" in spec:
        _execute(spec["run"], spec["run_env"])
    _become(folder, spec)


def _note(folder: Folder, record: Document) -> None:
    """On disk, however long that takes: what is not on record must not run."""
    said = ""
    while True:
        try:
            return write_atomically(folder.path / "process.json", record)
        except OSError as error:
            if error.strerror != said:
                _say(f"lyc: it is not started, for nothing can be written to {folder.path}: {error.strerror}")
            said = error.strerror or ""
            time.sleep(AGAIN_SECONDS)


def _say(line: str) -> None:
    """Into the replica's log; whether somebody keeps it does not matter."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


def _ready() -> None:
    """Say so to systemd, whose `start` returns then."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)


def _become(folder: Folder, spec: Document) -> NoReturn:
    credentials = Path(os.environ.get("CREDENTIALS_DIRECTORY", folder.path))
    moved = {str(folder.path / name): str(credentials / name) for name in spec["files"]}
    argv = [redirected(word, moved) for word in spec["argv"]]
    env = {name: redirected(word, moved) for name, word in spec["env"].items()}
    env |= {"HOME": str(folder.path), "USER": ACCOUNT, "LOGNAME": ACCOUNT} | cards.variables(
        spec.get("devices"), confined=True
    )
    for name, value in LOOPBACK.items():
        env.setdefault(name, value)
    _execute(argv, env)


def _execute(argv: list[str], env: Mapping[str, str]) -> NoReturn:
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)  # Python ignores them, and an ignored signal stays so
    try:
        os.execve(argv[0], argv, env)  # noqa: S606 - a shell here would be the mistake
    except OSError as error:
        _say(f"cannot execute {argv[0]}: {error.strerror}")
        sys.exit(127)


LOOPBACK = {"NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo", "VLLM_HOST_IP": "127.0.0.1"}
"""Processes of one engine talk to one another over loopback: the unit reaches nothing else."""


def redirected(word: str, moved: Mapping[str, str]) -> str:
    """`word` with each path of `moved` in it replaced by where it is now."""
    if not moved:
        return word
    pattern = rf"({'|'.join(map(re.escape, moved))})(?![\w.-])"
    return re.sub(pattern, lambda found: moved[found[0]], word)


def ended(root: Root, arguments: list[str]) -> NoReturn:
    """Note how the engine ended, as systemd tells it (ExecStopPost). Says nothing but why, where that is known."""
    folder = named(root, arguments[0])
    spec = folder.spec() or {}
    try:  # of a client that was killed, its container is left
        containers.remove(folder, spec)
    except Refused as refused:
        _say(f"lyc: {refused.document['what']}: {refused.document['why']}")
    record = read(folder.path / "process.json")
    if record is None or record.get("state") != "running":
        sys.exit(0)
    code = exit_code(os.environ.get("EXIT_CODE", ""), os.environ.get("EXIT_STATUS", ""))
    code = engine_code(code) if "run" in spec and code is not None else code
    result = os.environ.get("SERVICE_RESULT", "")
    short = oom_kills() > number(record, "oom_kills")
    if result == "oom-kill" or (short and code == -signal.SIGKILL):
        _say(KILLED_FOR_MEMORY)
    elif short:
        _say("lyc: meanwhile the kernel killed a process of this machine for memory (OOM)")
    lived = uptime() - float(record.get("uptime") or 0.0)
    end = {
        "pid": record["pid"], "starts": record["starts"], "code": code, "at": time.time(), "seconds": lived,
    }  # fmt: skip
    with contextlib.suppress(OSError):  # systemd remembers the exit code until the next start
        write_atomically(folder.path / "exit.json", end)
    sys.exit(0)


def exit_code(kind: str, status: str) -> int | None:
    """systemd's EXIT_CODE and EXIT_STATUS → an exit code, negative for a signal."""
    if kind == "exited":
        return int(status) if status.isdigit() else None
    found = getattr(signal, f"SIG{status}", None)
    if isinstance(found, signal.Signals):
        return -found
    return -int(status) if status.isdigit() else None
