#!/usr/bin/env python3
"""What the SSH transport costs beside bare `ssh` and `scp`, against an sshd on 127.0.0.1.

    .venv/bin/python tests/bench/ssh.py [--rounds 7] [--mib 256]

    connect   the first command on a host, beside `ssh HOST true`
    next      another command, beside `ssh HOST true` over a shared connection of its own
    put       a file with its checksum, beside `scp`, which compares nothing

Rounds are interleaved; medians; printed as a ratio to the bare tool (for put: of the rates).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lyc.hosts.ssh.known import pin
from lyc.hosts.ssh.scan import scan
from tests.hosts.ssh.server import Account, Server

MIB = 1 << 20


def seconds(act: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def bare(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def measure(home: Path, rounds: int, mib: int) -> dict[str, tuple[float, float]]:
    """name → (median seconds of lyc, of the bare tool)."""
    account = Account(home)
    server = Server(home / "box", account.public)
    server.start()
    account.knows("box", server)
    target = account.target("box")
    pin(target, scan(target))
    account.user_known_hosts.write_text(account.lyc_known_hosts.read_text())
    remote = account.remote("box")
    config = ("-F", account.config)
    shared = (*config, "-o", f"ControlPath={home}/bare", "-o", "ControlMaster=auto", "-o", "ControlPersist=60")
    big = home / "big"
    with big.open("wb") as file, Path("/dev/urandom").open("rb") as noise:
        for _ in range(mib):
            file.write(noise.read(MIB))
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "connect": (lambda: remote.run(["true"]), lambda: bare("ssh", *config, "box", "true")),
        "next": (lambda: remote.run(["true"]), lambda: bare("ssh", *shared, "box", "true")),
        "put": (lambda: remote.put(big, f"{home}/there"), lambda: bare("scp", *config, big, f"box:{home}/there2")),
    }
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in pairs}
    subprocess.run(
        ["ssh", *shared, "box", "true"], check=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(rounds):
            for name, (ours, theirs) in pairs.items():
                if name == "connect":
                    remote.close()
                times[name][0].append(seconds(ours))
                times[name][1].append(seconds(theirs))
    finally:
        remote.close()
        bare("ssh", *shared, "-O", "exit", "box")
        server.stop(connections=True)
    return {name: (statistics.median(ours), statistics.median(theirs)) for name, (ours, theirs) in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=256)
    wanted = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="lyc-b-"))
    try:
        found = measure(home, wanted.rounds, wanted.mib)
    finally:
        shutil.rmtree(home)
    for name in ("connect", "next"):
        ours, theirs = found[name]
        print(f"{name:8} {ours / theirs:5.2f} × bare ssh    ({ours * 1e3:.0f} ms, {theirs * 1e3:.0f} ms)")
    ours, theirs = found["put"]
    rates = f"{wanted.mib / ours:.0f} MiB/s, {wanted.mib / theirs:.0f} MiB/s"
    print(f"put      {theirs / ours:5.2f} × the rate of scp    ({rates}; {wanted.mib} MiB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
