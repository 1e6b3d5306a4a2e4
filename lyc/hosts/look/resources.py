"""CPUs, memory and disks, as this account may use them. Pure."""

from __future__ import annotations

import re

from lyc.hosts.look.sections import Section
from lyc.records.host import Disk
from lyc.units import KIB

_UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2**63 for "no limit"."""

Level = dict[str, str]


def levels(section: Section) -> list[Level]:
    """The groups above the probe, each as `{file: content}`; a statistic stands under its own name."""
    found: list[Level] = []
    for line in section.lines:
        name, _, value = line.partition(" ")
        if name == "level":
            found.append({})
        elif found:
            found[-1][name] = value.strip()
    return found


def cpus(section: Section, groups: list[Level]) -> int | None:
    """Cores that may be used: those of the affinity, and of the tightest quota."""
    values = section.values()
    listed = next((int(values[name]) for name in ("nproc", "listed") if values.get(name, "").isdigit()), 0)
    quotas = [quota for quota in map(_quota, groups) if quota is not None]
    found = min([listed, *quotas]) if listed else 0
    return max(1, found) if listed else None


def cpu_flags(section: Section) -> frozenset[str]:
    """As the kernel names them (`flags` on x86, `Features` on ARM); empty where it does not."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", section.text, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def cpu_model(section: Section) -> str:
    """The processor's own name; empty on ARM, where the kernel tells none."""
    match = re.search(r"^model name\s*:\s*(.*?)\s*$", section.text, re.MULTILINE)
    return match[1] if match else ""


def memory(section: Section, groups: list[Level]) -> tuple[int | None, int | None]:
    """(total, available) in bytes, within the tightest limit."""
    rows = dict(re.findall(r"^(\w+):\s+(\d+) kB", section.text, re.MULTILINE))
    kilobytes = {name: int(value) for name, value in rows.items()}
    if "MemTotal" not in kilobytes:
        return None, None
    # Kernels before 3.14 do not say what is available.
    roughly = sum(kilobytes.get(name, 0) for name in ("MemFree", "Buffers", "Cached", "SReclaimable"))
    total, available = kilobytes["MemTotal"] * KIB, kilobytes.get("MemAvailable", roughly) * KIB
    for group in groups:
        limit, used = _memory(group)
        if limit is not None:
            total, available = min(total, limit), min(available, max(limit - used, 0))
    return total, available


def disks(section: Section) -> tuple[Disk, ...]:
    """What `df -P -k` says of each path that was asked for; of one that it cannot tell there is no entry."""
    found: dict[str, Disk] = {}
    path = ""
    for line in section.lines:
        if line.startswith("path "):
            path = line.removeprefix("path ")
        elif match := re.search(r"\s(\d+)\s+(\d+)\s+(-?\d+)\s+(?:\d+%|-)\s+/.*$", line):
            found.setdefault(path, Disk(path, int(match[1]) * KIB, max(int(match[3]), 0) * KIB))
    return tuple(found.values())


def _quota(group: Level) -> int | None:
    quota, _, period = group.get("cpu.max", "").partition(" ")
    if not period:
        quota, period = group.get("cpu.cfs_quota_us", ""), group.get("cpu.cfs_period_us", "")
    return max(1, int(quota) // int(period)) if quota.isdigit() and period.isdigit() and int(period) else None


def _memory(group: Level) -> tuple[int | None, int]:
    """(limit, used): used is without the file cache, which the kernel gives back when it is needed."""
    limit = group.get("memory.max") or group.get("memory.limit_in_bytes") or ""
    if not limit.isdigit() or int(limit) >= _UNLIMITED:
        return None, 0
    used = _number(group.get("memory.current") or group.get("memory.usage_in_bytes"))
    return int(limit), max(used - _number(group.get("total_inactive_file") or group.get("inactive_file")), 0)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
