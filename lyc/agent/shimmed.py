"""Keeps processes without systemd: one shim for each, whose parent it is. Also lyc's supervisor of its own machine.

A process is known as ours, after any crash, by two signs rather than by a list of pids: it carries
`LYC_SUPERVISED=<its directory>` in its environment, as all its descendants do; or it is in the session that the
recorded process began (a process that sets its own title, as vLLM's workers do, overwrites its environment).
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lyc.agent import cards
from lyc.agent.answer import Refused
from lyc.agent.folder import Document, Folder, lives, read, write
from lyc.agent.root import ACCOUNT
from lyc.agent.shim import boot_id, start_ticks, write_atomically
from lyc.agent.status import document

MARK = "LYC_SUPERVISED"
START_SECONDS = 20.0
GONE_SECONDS = 15.0


class NotStarted(Exception):
    """The shim did not start. lines: what it said."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("the shim did not start")
        self.lines = tuple(lines)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is true of the process of a directory. Fields as in `lyc.records.process.ProcessStatus`."""

    state: str
    pid: int | None = None
    exit_code: int | None = None
    ended_at: float | None = None
    rebooted: bool = False


# -- one directory


def spawn(directory: Path, program: Path) -> None:
    """Start the shim (its source is `program`) for what `spec.json` in `directory` says. When this returns, the
    process is on record. Raises NotStarted.
    """
    reader, writer = os.pipe()
    try:
        with (directory / "shim.log").open("wb") as log:
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(program), str(directory), str(writer)],
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
        _wait(lambda: seen(directory).state != "absent", START_SECONDS)
    elif answer != b"r":
        raise NotStarted((directory / "shim.log").read_text(errors="replace").strip().splitlines()[-5:])


def seen(directory: Path) -> Seen:
    """Running also while its end is not noted yet."""
    record = read(directory / "process.json")
    if record is None:
        return Seen("absent")
    pid, rebooted = int(record["pid"]), record["boot_id"] != boot_id()
    end = read(directory / "exit.json")
    if end is not None and end["pid"] == pid:
        return Seen("exited", pid, int(end["code"]), float(end["at"]), rebooted)
    if lives(record) or _shim_lives(record, directory):
        return Seen("running", pid)
    return Seen("exited", pid, rebooted=rebooted)  # killed with its shim, or with the machine: nobody saw how


def end(directory: Path, root: Path, grace: float) -> None:
    """SIGTERM to the process, after `grace` seconds SIGKILL to all of it. Returns when none is left.

    root: the folder below which the directories of all processes lie.
    """
    record = read(directory / "process.json")
    pid = int(record["pid"]) if record else 0
    if record and lives(record):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        _wait(lambda: seen(directory).state != "running", grace)
        if lives(record):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        _wait(lambda: seen(directory).state != "running", GONE_SECONDS)
    kill(pid for pid, owner in owned(root).items() if owner == str(directory.resolve()))


def owned(root: Path) -> dict[int, str]:
    """Every live process below `root`, by the directory that it belongs to."""
    sessions = {}
    for folder, _, names in os.walk(root):  # which does not mind that folders go away meanwhile
        record = read(Path(folder) / "process.json") if "process.json" in names else None
        if record is not None and _session_is_ours(record):
            sessions[int(record["pid"])] = folder
    found: dict[int, str] = {}
    for pid in [int(place.name) for place in Path("/proc").iterdir() if place.name.isdigit()]:
        owner = _mark(pid) or sessions.get(_session(pid))
        if owner and Path(owner).is_relative_to(root) and pid != os.getpid():
            found[pid] = owner
    return found


def kill(pids: Iterable[int]) -> None:
    """SIGKILL, and wait until they are gone."""
    begun = {pid: ticks for pid in pids if (ticks := start_ticks(pid)) is not None}
    for pid in begun:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    _wait(lambda: all(start_ticks(pid) != ticks for pid, ticks in begun.items()), GONE_SECONDS)


def _shim_lives(record: Document, directory: Path) -> bool:
    """While its shim lives the end is not yet noted: exit code and burial are still to come."""
    if record["boot_id"] != boot_id() or start_ticks(int(record["shim"])) is None:
        return False
    return _mark(int(record["shim"])) == str(directory.resolve())


def _session_is_ours(record: Document) -> bool:
    """The kernel gives no pid away that still names a session, so only a leader of another start is a stranger."""
    leader = start_ticks(int(record["pid"]))
    return bool(record["boot_id"] == boot_id() and leader in (None, record["start_ticks"]))


def _session(pid: int) -> int:
    try:
        return 0 if start_ticks(pid) is None else os.getsid(pid)
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


def _wait(over: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not over() and time.monotonic() < deadline:
        time.sleep(0.02)


# -- a replica on a host


def start(folder: Folder, spec: Document, secrets: Mapping[str, str], root: Path) -> None:
    """Start it: as the account `lyc` where this is root and there is one. spec: with `run` for a container, whose files
    are there already. Raises Refused `process-not-started`.
    """
    if "run" in spec:
        wanted = spec | {"argv": spec["run"], "env": spec["run_env"], "user": None, "group": None}
        return _shim(folder, wanted, root)
    user, group = account()
    home = folder.path / "home"
    folder.path.mkdir(mode=0o700, exist_ok=True)
    home.mkdir(mode=0o700, exist_ok=True)
    drops = user is not None and group is not None
    if drops:  # it may read what is its own here, and write only into its home
        os.chown(folder.path, 0, group or 0)
        folder.path.chmod(0o750)
        os.chown(home, user or 0, group or 0)
    for secret, content in secrets.items():
        write(folder.path / secret, content, mode=0o640 if drops else 0o600, group=group if group is not None else -1)
    own = {MARK: str(folder.path.resolve())} | cards.variables(spec["devices"], confined=False)
    env = ({"HOME": str(home)} | spec["env"]) | ({"HOME": str(home)} if drops else {}) | own
    return _shim(folder, spec | {"env": env, "user": user, "group": group}, root)


def _shim(folder: Folder, spec: Document, root: Path) -> None:
    write_atomically(folder.path / "spec.json", spec)
    try:
        spawn(folder.path, _program(root))
    except NotStarted as error:
        raise Refused("process-not-started", f"could not start {folder.identity}", detail=error.lines) from error


def account() -> tuple[int | None, int | None]:
    """User and group that engines run as, where this process may choose; else None."""
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(ACCOUNT)
            return entry.pw_uid, entry.pw_gid
    return None, None


def _program(root: Path) -> Path:
    """The shim as a file of its own, since it outlives this program's zip."""
    # `importlib.resources` would cost each call a third of its time.
    source = (pkgutil.get_data("lyc.agent", "shim.py") or b"").decode()
    place = root / "agent" / "shim.py"
    if not place.exists() or place.read_text(encoding="utf-8") != source:
        place.parent.mkdir(parents=True, exist_ok=True)
        write(place, source, mode=0o644)
    return place


def stop(folder: Folder, grace: float) -> None:
    """See `end`. Raises Refused `process-not-stopped`."""
    end(folder.path, folder.path.parent, grace)
    if kept(folder):
        raise Refused("process-not-stopped", f"{folder.identity} does not end", why="it survived SIGKILL")


def kept(folder: Folder) -> bool:
    """Whether it runs. Nothing starts it again here."""
    return seen(folder.path).state == "running"


class Look:
    """Looks at processes again and again. Their folders and /proc tell all."""

    def statuses(self, found: Sequence[tuple[Folder, Document]]) -> list[Document]:
        """What is true of each now. Nothing here is started again by the machine."""
        return [_status(folder, spec) for folder, spec in found]


def _status(folder: Folder, spec: Document) -> Document:
    now = seen(folder.path)
    known = {"pid": now.pid, "exit_code": now.exit_code, "ended_at": now.ended_at, "rebooted": now.rebooted}
    return document(folder.identity, spec, now.state, None, **known, gave_up=now.state == "exited")
