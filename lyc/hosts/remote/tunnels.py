"""Tunnels to engines on one host: a unix socket here, a port of that host's loopback there, one `ssh -N -L` each.

    <home>/tunnels/<id>/    the process of one tunnel, as `lyc.hosts.local` keeps it, and
        tunnel.json         where it leads: host, socket, port

The process is a loop around ssh, so that a tunnel outlives the controller and mends itself without it. A controller
adopts the tunnels that lead where they should, replaces the others, and begins anew those whose process is gone.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lyc.agent.shim import write_atomically
from lyc.errors import Failed, LycError
from lyc.hosts.local import LocalSupervisor
from lyc.hosts.remote.probe import Probe
from lyc.hosts.ssh.target import Target, effective, insisted, options
from lyc.records.process import ProcessSpec

log = logging.getLogger(__name__)

LONGEST_PATH = 103
"""Bytes of a unix socket's path, for every system that OpenSSH runs on."""
FOLDER, RECORD = "tunnels", "tunnel.json"
STOP_SECONDS = 1.0
INHERITED = frozenset({
    "HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "KRB5CCNAME", "KRB5_CONFIG", "AWS_PROFILE", "AWS_REGION",
    "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "CLOUDSDK_CONFIG", "TELEPORT_HOME",
})  # fmt: skip
"""What ssh and a proxy command may need, and which holds no secret: a process's environment is written to the disk."""
LOOP = (
    'n=0; while :; do t=$(date +%s); "$@"; [ $(($(date +%s) - t)) -lt 30 ] || n=0; '
    'n=$((n + 1)); if [ "$n" -lt 60 ]; then sleep 0.2; else sleep 5; fi; done'
)
"""Again and again, at first at once. One that has failed sixty times is tried each 5 s, as a refused login must be."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Seconds. look: between two looks at each tunnel. settle: a connection through a tunnel that holds so long has
    reached somebody; a refusal from afar is here by then. mend: a tunnel that is down for longer begins anew when its
    host is heard again. stuck: one that is down for longer begins anew in any case, then after twice that.
    """

    look: float = 0.2
    settle: float = 1.0
    mend: float = 3.0
    stuck: float = 60.0


ATTENTION = Attention()
AGAIN_SECONDS = 1.0
"""After a failure of this machine: a full disk, a configuration that ssh does not accept."""


@dataclass(slots=True)
class _Tunnel:
    """One that is wanted. stuck: how long it may be down next. placed: its process was begun, or found to be right.

    mend: it shall begin anew. said: the last complaint; not_before: when to try again after it.
    """

    port: int
    probe: Probe
    stuck: float
    placed: bool = False
    mend: bool = False
    said: str = ""
    not_before: float = 0.0


class Tunnels:
    """All tunnels of one lyc home to one host. home: lyc's; supervisor: of this machine, for that home.

    One thread looks after them, from the first `ensure` until `close`; the tunnels themselves go on.
    """

    def __init__(
        self,
        home: Path,
        supervisor: LocalSupervisor,
        target: Target,
        environ: Mapping[str, str],
        *,
        attention: Attention = ATTENTION,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._supervisor = supervisor
        self._target = target
        self._environ = {name: value for name, value in environ.items() if name in INHERITED}
        self._attention = attention
        self._clock = clock
        self._wanted: dict[str, _Tunnel] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._acting = threading.Lock()
        self._closed = threading.Event()
        self._kick = threading.Event()

    def ensure(self, identity: str, path: Path, port: int) -> None:
        """Have a tunnel from the socket `path` to `port` of the host from now on. Returns at once.

        Another tunnel that ends in the same socket goes.
        """
        with self._lock:
            if self._closed.is_set():
                return
            known = self._wanted.get(identity)
            if known is not None and (known.probe.path, known.port) == (path, port):
                return
            for other in [name for name, one in self._wanted.items() if name == identity or one.probe.path == path]:
                self._wanted.pop(other).probe.close()
            probe = Probe(path, self._attention.settle, self._clock())
            self._wanted[identity] = _Tunnel(port, probe, self._attention.stuck)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="tunnels", daemon=True)
                self._thread.start()
        self._kick.set()

    def drop(self, identity: str) -> None:
        """End a tunnel and leave nothing of it. Nothing happens where there is none."""
        with self._lock:
            tunnel = self._wanted.pop(identity, None)
        if tunnel is not None:
            tunnel.probe.close()
        elif not self._folder(identity).exists():
            return
        with self._acting:
            self._remove(self._folder(identity))

    def down(self, identity: str) -> float:
        """For how many seconds there has been no connection to the host for this tunnel; 0 if there is one, or if no
        such tunnel is wanted.
        """
        tunnel = self._wanted.get(identity)
        return 0.0 if tunnel is None or tunnel.probe.up else self._clock() - tunnel.probe.down_since

    def alive(self, identity: str) -> bool:
        """Whether somebody listens at the far end, as of the last look. Costs nothing."""
        tunnel = self._wanted.get(identity)
        return tunnel is not None and tunnel.probe.reaches

    def mend(self) -> None:
        """The host has just been heard again: tunnels that are down need not wait."""
        with self._lock:
            for identity, tunnel in self._wanted.items():
                tunnel.mend = self.down(identity) > self._attention.mend
        self._kick.set()

    def directories(self) -> list[Path]:
        """Folders of all tunnels of this home, to whichever host."""
        return directories(self._home)

    def here(self) -> list[str]:
        """Ids of the tunnels to this host that are there, wanted or not."""
        return [path.name for path in self.directories() if (_record(path) or {}).get("host") == self._host]

    def close(self) -> None:
        """Look after them no more."""
        with self._lock:
            self._closed.set()
        self._kick.set()
        if self._thread is not None:
            self._thread.join()
        for tunnel in self._wanted.values():
            tunnel.probe.close()

    @property
    def _host(self) -> str:
        return f"{self._target.shown} {self._target.known_hosts}"

    def _folder(self, identity: str) -> Path:
        return self._home / FOLDER / identity

    def _keep(self) -> None:
        while not self._closed.is_set():
            for identity, tunnel in list(self._wanted.items()):
                try:
                    self._tend(identity, tunnel)
                except (LycError, OSError, subprocess.SubprocessError) as error:
                    if str(error) != tunnel.said:
                        log.warning("the tunnel of %s: %s", identity, error)
                    tunnel.said, tunnel.not_before = str(error), self._clock() + AGAIN_SECONDS
            self._kick.wait(self._attention.look)
            self._kick.clear()

    def _tend(self, identity: str, tunnel: _Tunnel) -> None:
        tunnel.probe.look(self._clock())
        if tunnel.placed and tunnel.probe.up:
            tunnel.stuck, tunnel.mend = self._attention.stuck, False
            return
        with self._acting:
            if self._wanted.get(identity) is tunnel and self._clock() >= tunnel.not_before:
                self._place(identity, tunnel)

    def _place(self, identity: str, tunnel: _Tunnel) -> None:
        """Leave the process that is there if it is the right one and may yet do; else begin anew."""
        folder, path = self._folder(identity), tunnel.probe.path
        record = {"host": self._host, "socket": str(path), "port": tunnel.port}
        running = self._supervisor.status(folder).state == "running"
        waits = path.exists() if not tunnel.placed else not tunnel.mend and self.down(identity) < tunnel.stuck
        if running and waits and not tunnel.probe.unlinked and _record(folder) == record:
            tunnel.placed = True
            return
        if tunnel.placed:
            tunnel.stuck *= 2
        for other in self.directories():
            if other == folder or (_record(other) or {}).get("socket") == str(path):
                self._remove(other)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(folder / RECORD, record)
        self._supervisor.start(self._process(identity, tunnel))
        tunnel.placed, tunnel.mend, tunnel.probe.unlinked, tunnel.said = True, False, False, ""

    def _process(self, identity: str, tunnel: _Tunnel) -> ProcessSpec:
        config = effective(self._target)
        forward = f"{_escaped(tunnel.probe.path)}:127.0.0.1:{tunnel.port}"
        own = options(
            ControlMaster="no",
            ControlPath="none",
            ClearAllForwardings="no",
            # Where the user's own configuration forwards ports for this host, one that is taken must not end ours.
            ExitOnForwardFailure="no" if config.forwards else "yes",
            StreamLocalBindUnlink="yes",
            StreamLocalBindMask="0177",
        )
        ssh = self._target.argv("-N", *own, *insisted(self._target, config), "-L", forward)
        env = self._environ | {"SSH_ASKPASS_REQUIRE": "never"}
        return ProcessSpec(identity, self._folder(identity), ("/bin/sh", "-c", LOOP, "tunnel", *ssh), env)

    def _remove(self, folder: Path) -> None:
        """The process, the folder, and the socket unless another tunnel ends in it by now."""
        record = _record(folder)
        if not folder.exists():
            return
        self._supervisor.stop(folder, grace=STOP_SECONDS)
        if record is not None and all(str(one.probe.path) != record["socket"] for one in self._wanted.values()):
            Path(record["socket"]).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def check_path(path: Path) -> None:
    """Raises Failed `socket-path-too-long` for a socket that no tunnel can end in."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise Failed(
            "socket-path-too-long",
            f"a unix socket cannot have the path {path}",
            why=f"it has more than {LONGEST_PATH} bytes",
            hint="set LYC_HOME to a shorter path",
        )


def directories(home: Path) -> list[Path]:
    """Folders of all tunnels of a lyc home: processes there are accounted for."""
    try:
        return sorted(path for path in (home / FOLDER).iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record


def _escaped(path: Path) -> str:
    """As `-L` reads it: `:` ends a part, and `%` begins a token."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace("%", "%%")
