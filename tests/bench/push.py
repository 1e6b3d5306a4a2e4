#!/usr/bin/env python3
"""Weights onto a host beside `scp` and `rsync`: a machine of the lab with systemd, sshd and a disk of its own.

    .venv/bin/python tests/bench/push.py [--rounds 3] [--mib 2048] [--files 1]

What is pushed is verified by SHA-256 over there and on disk before it counts; scp and rsync do neither. They use their
defaults; lyc picks its cipher. Rounds are interleaved; medians of the rates, and of the processor's seconds of both
sides together, which say more where other things run beside. rsync is that of this machine, on the host too; without
it, the comparison is left out, and that is said.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lyc.hosts.remote.push import Missing, Push
from lyc.sources.cache import ContentCache
from tests.hosts.remote.far_store import FarStore
from tests.hosts.ssh.test_real_hosts import Place
from tests.lab.lab import Lab
from tests.lab.machine import Machine

MIB = 1 << 20
LENT = "/opt/lent"
ACCOUNTING = Path("/sys/fs/cgroup/cpuacct")


class Clock:
    """Seconds of the wall, and of the processor for this process and all that it starts, where the kernel tells."""

    def __init__(self) -> None:
        self._group = ACCOUNTING / f"lyc-bench-{os.getpid()}"
        if (ACCOUNTING / "cgroup.procs").exists():
            self._group.mkdir()
            (self._group / "cgroup.procs").write_text(str(os.getpid()))

    def spent(self) -> float:
        file = self._group / "cpuacct.usage"
        return int(file.read_text()) / 1e9 if file.exists() else float("nan")

    def of(self, act: Callable[[], object]) -> tuple[float, float]:
        """Wall and processor of one call."""
        began, before = time.perf_counter(), self.spent()
        act()
        return time.perf_counter() - began, self.spent() - before

    def close(self) -> None:
        if self._group.exists():
            (ACCOUNTING / "cgroup.procs").write_text(str(os.getpid()))
            self._group.rmdir()


def noise(folder: Path, count: int, mib: int) -> dict[str, Path]:
    """Digest → file of random bytes."""
    made = {}
    for number in range(count):
        path, digest = folder / f"w{number}", hashlib.sha256()
        with path.open("wb") as file:
            for _ in range(mib):
                chunk = os.urandom(MIB)
                digest.update(chunk)
                file.write(chunk)
        made[f"sha256:{digest.hexdigest()}"] = path
    return made


def bare(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def push(far: FarStore, files: dict[str, Path]) -> None:
    """As `lyc.hosts.remote.weights` does it."""
    rows = [{"path": path.name, "size": path.stat().st_size, "digest": digest} for digest, path in files.items()]
    absent = far.agent.call("missing", request={"files": rows})["missing"]
    Push(
        far.agent,
        [Missing(row["digest"], row["size"], row["offset"], files[row["digest"]]) for row in absent],
        lambda _: None,
    ).run()
    if far.agent.call("missing", request={"files": rows})["missing"]:
        raise SystemExit("something is missing")


def lend(machine: Machine, program: Path) -> None:
    """Put a program of this machine with its libraries on the host, which is of the same kind but bare."""
    place = machine.root / LENT[1:]
    place.mkdir()
    told = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for library in (line.split("=>")[1].split()[0] for line in told.splitlines() if "=> /" in line):
        shutil.copy2(library, place)
    shutil.copy2(program, place / "program")
    (place / program.name).write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={LENT} exec {LENT}/program "$@"\n')
    (place / program.name).chmod(0o755)


def measure(
    clock: Clock, machine: Machine, far: FarStore, files: dict[str, Path], config: Path, rounds: int
) -> dict[str, tuple[float, float]]:
    """name → medians (wall, processor)."""
    acts: dict[str, Callable[[], None]] = {
        "lyc": lambda: push(far, files),
        "scp": lambda: bare("scp", "-q", "-F", config, *files.values(), "gpu1:/var/tmp/"),
    }
    if program := shutil.which("rsync"):
        lend(machine, Path(program))
        there = f"{LENT}/rsync"
        acts["rsync"] = lambda: bare(
            "rsync", "-e", f"ssh -F {config}", f"--rsync-path={there}", *files.values(), "gpu1:/var/tmp/"
        )
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            times[name].append(clock.of(act))
            machine.shell("rm -rf /var/tmp/w* /var/lib/lyc/store/blobs/sha256/*; sync")
    return {
        name: (statistics.median(wall for wall, _ in found), statistics.median(spent for _, spent in found))
        for name, found in times.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--files", type=int, default=1)
    wanted = parser.parse_args()
    clock = Clock()
    lab = Lab()
    folder = Path(tempfile.mkdtemp(prefix="lyc-b-"))
    try:
        machine = lab.borrow()[0]
        place = Place(lab, folder)
        place.knows("gpu1", machine)
        remote = place.pinned("gpu1")
        (folder / "user_known_hosts").write_text((folder / "lyc" / "known_hosts").read_text())
        root = "/var/lib/lyc"
        far = FarStore(remote, root, machine.root / root[1:], ContentCache(folder / "cache"), python="/usr/bin/python3")
        far.install()
        files = noise(folder, wanted.files, wanted.mib // wanted.files)
        found = measure(clock, machine, far, files, place.config, wanted.rounds)
        remote.close()
    finally:
        lab.close()
        shutil.rmtree(folder)
        clock.close()
    wall, spent = found["lyc"]
    print(f"lyc    {wanted.mib / wall:5.0f} MiB/s, {spent:.1f} s of the processor    ({wanted.mib} MiB)")
    for name in ("scp", "rsync"):
        if name in found:
            other, cost = found[name]
            figures = f"{wanted.mib / other:.0f} MiB/s, {cost:.1f} s of the processor"
            print(f"{name:6} {other / wall:5.2f} × its rate at {spent / cost:.2f} × its processor    ({figures})")
        else:
            print(f"{name:6} left out, for it is not installed here: apt-get install -y rsync")
    return 0


if __name__ == "__main__":
    sys.exit(main())
