"""Control groups of the lab: how every process of a host is found, frozen and killed, with nobody else's among them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
V1 = ("unified", "systemd", "freezer", "pids", "memory", "cpu", "cpuacct", "devices", "blkio", "cpuset")
"""Hierarchies of a machine with v1 (or hybrid) control groups in which a host has a group of its own."""
WRITABLE = f"""[Unit]
Description=The control groups of this host, which nspawn shows read-only
ConditionPathIsMountPoint=/sys/fs/cgroup/memory
DefaultDependencies=no
Before=sysinit.target systemd-journald.service
[Service]
Type=oneshot
ExecStart=sh -c 'for kind in {" ".join(V1[2:])}; do mount -o remount,bind,rw /sys/fs/cgroup/$$kind; done'
ExecStart=kill -TERM 1
"""
"""A unit of hosts, with which MemoryMax=, CPUQuota= and DeviceAllow= hold in them. SIGTERM: systemd starts over, and
sees what it may write.
"""
ENTER = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done; shift; '
"""Shell: takes the folders before `--` and puts itself into each."""


class ControlGroup:
    """`name` is a path, as `lab-12/h1`, in each hierarchy."""

    def __init__(self, name: str) -> None:
        self.name = name
        found = [ROOT / kind / name for kind in V1 if (ROOT / kind / "cgroup.procs").exists()]
        self.folders = found or [ROOT / name]
        freezer = [folder for folder in self.folders if folder.parts[4] == "freezer"]
        self._main = freezer[0] if freezer else self.folders[0]

    def make(self) -> None:
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
            for kind in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group, which no process can enter then
                for group in (folder.parent, folder):
                    if _text(group / kind) == "\n":
                        (group / kind).write_text(_text(ROOT / "cpuset" / kind))

    def pids(self) -> list[int]:
        """All processes in it and below."""
        files = list(self._main.rglob("cgroup.procs")) if self._main.is_dir() else []
        return [int(word) for path in files for word in _text(path).split()]

    def memory(self) -> int:
        """Bytes that all its processes hold together, with what the kernel keeps of files for them."""
        v1 = ROOT / "memory" / self.name / "memory.usage_in_bytes"
        return int((v1 if v1.exists() else self._main / "memory.current").read_text())

    def limit_memory(self, size: int | None) -> None:
        """All its processes together get so many bytes, and beyond that the kernel kills one. None: no limit."""
        v1, v2 = ROOT / "memory" / self.name / "memory.limit_in_bytes", self._main / "memory.max"
        if v1.exists():
            v1.write_text(str(-1 if size is None else size))
        else:
            v2.write_text("max" if size is None else str(size))

    def freeze(self, frozen: bool) -> None:
        """Stop all its processes where they are, or let them go on. Returns when it is so."""
        v1, v2 = self._main / "freezer.state", self._main / "cgroup.freeze"
        if v1.exists():
            v1.write_text("FROZEN" if frozen else "THAWED")
            _await(lambda: _text(v1).strip() == ("FROZEN" if frozen else "THAWED"), "the host is frozen, or thawed")
        elif v2.exists():
            v2.write_text("1" if frozen else "0")
            _await(
                lambda: f"frozen {int(frozen)}" in _text(self._main / "cgroup.events"), "the host is frozen, or thawed"
            )

    def kill(self) -> None:
        """SIGKILL to all, until none is left; what was frozen too."""
        self.freeze(False)
        end = time.monotonic() + 20
        while pids := self.pids():
            if time.monotonic() > end:
                raise RuntimeError(f"processes {pids} of {self._main} cannot be killed")
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)

    def remove(self) -> None:
        """Kill what is in it and take the groups away."""
        self.kill()
        for top in self.folders:
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError:
                    continue  # a process on its way out; the next start of a lab finds it


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _await(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"after 10 s still not: {what}")
        time.sleep(0.01)
