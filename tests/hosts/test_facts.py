"""What a machine has: this one, and others whose files of the kernel are laid out in a folder."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import psutil
import pytest

from lyc.hosts.facts import LocalProbe
from lyc.units import GIB


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine(tmp_path: Path) -> None:
    facts = LocalProbe(tmp_path).facts()
    assert facts.name
    assert facts.machine == os.uname().machine
    assert 1 <= facts.cpus <= (os.cpu_count() or 1)
    assert 0 < facts.memory_available <= facts.memory_total <= psutil.virtual_memory().total
    assert facts.disk_free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert facts.cpu_flags


def test_fewer_cpus_when_only_some_are_allowed() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert LocalProbe(Path("/")).facts().cpus == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_space_where_a_folder_will_be_made(tmp_path: Path) -> None:
    assert LocalProbe(tmp_path / "not" / "yet" / "there").facts().disk_free > 0


def test_the_name_of_the_system(tmp_path: Path) -> None:
    root = write(tmp_path, **{"etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'})
    assert LocalProbe(tmp_path, root).facts().os == "Debian GNU/Linux 12 (bookworm)"
    assert LocalProbe(tmp_path, tmp_path / "none").facts().os == "Linux"


def test_the_flags_of_the_first_cpu(tmp_path: Path) -> None:
    root = write(tmp_path, **{"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu avx2 avx512f\n\nflags\t\t: fpu\n"})
    assert LocalProbe(tmp_path, root).facts().cpu_flags == {"fpu", "avx2", "avx512f"}


def test_a_container_with_a_limit(tmp_path: Path) -> None:
    """cgroup v2 as a container sees it: its own group is the mount."""
    root = write(
        tmp_path,
        **{
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{GIB}\n",
            "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {GIB // 2}\n",
            "sys/fs/cgroup/cpu.max": "100000 100000\n",
        },
    )
    facts = LocalProbe(tmp_path, root).facts()
    assert facts.memory_total == 2 * GIB
    assert facts.memory_available == min(2 * GIB - GIB // 2, psutil.virtual_memory().available)
    assert facts.cpus == 1


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    """cgroup v2 with systemd: the slice has a limit, the service none."""
    root = write(
        tmp_path,
        **{
            "proc/self/cgroup": "0::/user.slice/a.service\n",
            "sys/fs/cgroup/user.slice/memory.max": f"{GIB}\n",
            "sys/fs/cgroup/user.slice/memory.current": "0\n",
            "sys/fs/cgroup/user.slice/a.service/memory.max": "max\n",
            "sys/fs/cgroup/user.slice/a.service/cpu.max": "max 100000\n",
        },
    )
    facts = LocalProbe(tmp_path, root).facts()
    assert facts.memory_total == GIB
    assert facts.cpus == len(os.sched_getaffinity(0))


def test_the_older_groups(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        **{
            "proc/self/cgroup": "9:name=systemd:/\n4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{GIB // 4}\n",
            "sys/fs/cgroup/memory/box/memory.stat": "total_inactive_file 0\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
        },
    )
    facts = LocalProbe(tmp_path, root).facts()
    assert (facts.memory_total, facts.memory_available, facts.cpus) == (GIB, GIB - GIB // 4, 1)


def test_the_roomiest_memory_node(tmp_path: Path) -> None:
    rows = "Node {} MemTotal:  2000 kB\nNode {} MemFree:  {} kB\nNode {} Active(file):  10 kB\n"
    root = write(
        tmp_path,
        **{
            "sys/devices/system/node/node0/meminfo": rows.format(0, 0, 100, 0),
            "sys/devices/system/node/node1/meminfo": rows.format(1, 1, 700, 1),
        },
    )
    assert LocalProbe(tmp_path, root).facts().node_memory_available == 710 * 1024
    assert LocalProbe(tmp_path, tmp_path / "none").facts().node_memory_available is None


def smi(folder: Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_cards_come_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(
        tmp_path,
        'test "$1" = --query-gpu=name,memory.total,memory.free,compute_cap,uuid,driver_version || exit 6\n'
        'echo "NVIDIA L4, 23034, 22563, 8.9, GPU-1, 550.54.15"\n',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    facts = LocalProbe(tmp_path).facts()
    assert [card.name for card in facts.accelerators] == ["l4"]
    assert facts.driver == "550.54.15"


@pytest.mark.parametrize("script", ["exit 9\n", "echo No devices were found; exit 6\n", "kill -9 $$\n"])
def test_a_driver_that_does_not_work_is_no_card(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert LocalProbe(tmp_path).facts().accelerators == ()
