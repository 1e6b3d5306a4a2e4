#!/usr/bin/env python3
"""How long a user waits for `lyc --help` and `lyc ls`, beside `python -c pass`.

    .venv/bin/python tests/bench/startup.py [--rounds 15]

    warm   everything in the page cache
    cold   the files of Python and of the environment dropped from the page cache before each run
    first  cold, and no bytecode: as after an installation that compiled nothing

Rounds are interleaved; medians; printed as ratio and difference. `lyc ls` talks to a controller that is running.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

LYC = Path(sys.executable).with_name("lyc")
COMMANDS: Mapping[str, list[str]] = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "lyc --help": [str(LYC), "--help"],
    "lyc ls": [str(LYC), "ls"],
}


def seconds(argv: list[str], env: Mapping[str, str]) -> float:
    """Wall time of one run; it must succeed."""
    began = time.perf_counter()
    subprocess.run(argv, env=env, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - began


def drop_from_page_cache(places: list[Path]) -> None:
    """Ask the kernel to forget what it holds of these folders. Clean pages only, which is what they are."""
    for path in (file for place in places for file in place.rglob("*") if file.is_file()):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(rounds: int, env: Mapping[str, str], before: Callable[[], None]) -> dict[str, float]:
    """Median seconds of each command, over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, argv in COMMANDS.items():
            before()
            times[name].append(seconds(argv, env))
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, medians: Mapping[str, float]) -> None:
    base = medians["python -c pass"]
    for name, value in medians.items():
        print(f"{title:6} {name:16} {value * 1000:8.0f} ms   {value / base:5.1f}x   {(value - base) * 1000:+7.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    places = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")] + [Path(__file__).parents[2] / "lyc"]
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "LYC_HOME": f"{home}/lyc", "LYC_GATEWAY_PORT": "0"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            for argv in COMMANDS.values():  # starts the controller, writes the bytecode
                seconds(argv, env)
            report("warm", measure(rounds, env, lambda: None))
            report("cold", measure(max(3, rounds // 3), env, lambda: drop_from_page_cache(places)))
            bare = {**env, "PYTHONPYCACHEPREFIX": f"{home}/none", "PYTHONDONTWRITEBYTECODE": "1"}
            report("first", measure(max(3, rounds // 3), bare, lambda: drop_from_page_cache(places)))
        finally:
            subprocess.run([LYC, "controller", "stop"], env=env, check=False, capture_output=True)


if __name__ == "__main__":
    main()
