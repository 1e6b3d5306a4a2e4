"""What this machine has, read anew each time: the kernel's files, and nvidia-smi where it is."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
from pathlib import Path

import psutil

from lyc.hosts import nvidia
from lyc.records.plan import Accelerator, HostFacts

_SMI_SECONDS = 20.0
_UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2**63 for "no limit"."""


class LocalProbe:
    """Implements `lyc.ports.HostProbe` for the machine it runs on.

    disk_at: where the weights will lie; the free space is of that filesystem, whether the folder exists yet or not.
    root: where `/proc`, `/sys` and `/etc` are read from.
    """

    def __init__(self, disk_at: Path, root: Path = Path("/")) -> None:
        self._disk_at = disk_at
        self._root = root

    def facts(self) -> HostFacts:
        """Costs milliseconds without a GPU. Never raises: what cannot be read is left out."""
        memory = psutil.virtual_memory()
        limit, used = self._cgroup_memory()
        cards, driver = self._cards()
        return HostFacts(
            name=socket.gethostname(),
            os=self._os_name(),
            machine=platform.machine(),
            cpus=self._cpus(),
            memory_total=min(memory.total, limit or memory.total),
            memory_available=min(memory.available, max(limit - used, 0) if limit else memory.available),
            disk_free=self._disk_free(),
            cpu_flags=self._cpu_flags(),
            accelerators=cards,
            driver=driver,
            node_memory_available=self._node_memory(),
        )

    def _cards(self) -> tuple[tuple[Accelerator, ...], str | None]:
        smi = shutil.which("nvidia-smi")
        if smi is None:
            return (), None
        try:
            done = subprocess.run(
                [smi, *nvidia.QUERY],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SMI_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return (), None
        return nvidia.parse(done.stdout)

    def _os_name(self) -> str:
        fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', self._text("etc/os-release"), re.MULTILINE))
        return fields.get("PRETTY_NAME") or platform.system()

    def _cpus(self) -> int:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        quota = self._cgroup_cpus()
        return max(1, min(allowed, quota)) if quota else allowed

    def _cpu_flags(self) -> frozenset[str]:
        match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", self._text("proc/cpuinfo"), re.MULTILINE)
        return frozenset(match[1].split()) if match else frozenset()

    def _disk_free(self) -> int:
        path = self._disk_at.absolute()
        while not path.exists() and path != path.parent:
            path = path.parent
        try:
            return shutil.disk_usage(path).free
        except OSError:
            return 0

    def _node_memory(self) -> int | None:
        """Free memory of the roomiest memory node, counted as vLLM counts it: free, file cache, reclaimable slabs."""
        found = []
        for meminfo in sorted((self._root / "sys/devices/system/node").glob("node[0-9]*/meminfo")):
            rows = dict(re.findall(r"^Node \d+ (\S+):\s+(\d+) kB", _read(meminfo), re.MULTILINE))
            names = ("MemFree", "Active(file)", "Inactive(file)", "SReclaimable")
            if "MemFree" in rows:
                found.append(sum(int(rows.get(name, 0)) for name in names) * 1024)
        return max(found, default=None)

    def _cgroup_cpus(self) -> int | None:
        for folder in self._cgroups("cpu"):
            quota, _, period = _read(folder / "cpu.max").partition(" ")
            if not period:
                quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
            if quota.strip().isdigit() and period.strip().isdigit() and int(period) > 0:
                return max(1, int(quota) // int(period))
        return None

    def _cgroup_memory(self) -> tuple[int | None, int]:
        """(limit, used) in bytes of the tightest group above this process; limit None = no limit.

        used is without the file cache, which the kernel gives back when it is needed.
        """
        best: tuple[int | None, int] = (None, 0)
        for folder in self._cgroups("memory"):
            limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
            if not limit.strip().isdigit() or int(limit) >= _UNLIMITED:
                continue
            used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
            cached = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
            net = max(int(used.strip() or 0) - int(cached[1] if cached else 0), 0)
            if best[0] is None or int(limit) - net < best[0] - best[1]:
                best = (int(limit), net)
        return best

    def _cgroups(self, controller: str) -> list[Path]:
        """Folders of this process's groups for a controller, innermost first, up to the mount (v2, then v1)."""
        base = self._root / "sys/fs/cgroup"
        found: list[Path] = []
        for line in self._text("proc/self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, inner = rest.partition(":")
            if controllers == "":
                top = base
            elif controller in controllers.split(","):
                top = base / controllers
            else:
                continue
            path = top / inner.strip("/")
            # In a container the path is that of the host, and the mount shows the group itself.
            while True:
                if path.is_dir():
                    found.append(path)
                if path == top:
                    break
                path = path.parent
        return found

    def _text(self, path: str) -> str:
        return _read(self._root / path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
