#!/usr/bin/env python3
"""From a fresh machine to passed tests: `python3 tests/run.py [--fast] [arguments of pytest]`.

Sets up everything (uv, lyc with its tools, and unless `--fast` an engine for the CPU), with the checks beside it: ruff,
the formatter, mypy, the import contracts. Then pytest, two files at a time, as most tests wait more than they compute:
the fast tests first, the ones that start a real engine last. `--fast` leaves those and the slow ones out; `-n 0` runs
one after the other. A test that fails is run again, at most twice, and told of; more than a few of those fail the run.
Ends with pytest's closing line; exit code 0 only if all passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import bootstrap

CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
    ("lint-imports", "--no-logo"),
)
INSTALL_ENGINE = """
import os, sys
from lyc.engines.versions import pinned
from lyc.hosts.environment import UvInstaller
from lyc.spec.settings import load

def say(line):
    print("   ", line, file=sys.stderr, flush=True)

say(UvInstaller(load(os.environ).engines, os.environ).install(pinned(on_cpu=True), say))
"""
"""Run inside the environment: what is put there is what `lyc deploy` would put there."""
SIDE_BY_SIDE = ("--numprocesses", str(min(os.cpu_count() or 1, 2)), "--dist", "loadfile", "--no-loadscope-reorder")
"""A file is one worker's, which shares its fixtures; files are begun in their order. More than two would start more
than two engines at a time, each of which fills a core.
"""


def main(arguments: list[str]) -> int:
    """Set up, check, test. Returns pytest's exit code, or 1 when only a check failed."""
    fast = "--fast" in arguments
    rest = [argument for argument in arguments if argument != "--fast"]
    try:
        env = bootstrap.prepare(dev=True)
        with ThreadPoolExecutor() as beside:
            checked = beside.submit(lambda: [" ".join(check) for check in CHECKS if not passes(check, env)])
            if not fast:
                beside.submit(prepare_lab, env)
                with bootstrap.step("an engine for the CPU"):
                    bootstrap.run([bootstrap.BIN / "python", "-c", INSTALL_ENGINE], env)
            failed = checked.result()
    except bootstrap.SetupError as error:
        bootstrap.say(f"error: {error}")
        return 1
    with bootstrap.step("pytest"):
        select = ["-m", "not engine and not slow"] if fast else []
        words = [bootstrap.BIN / "pytest", *SIDE_BY_SIDE, "--reruns", "2", *select, *rest]
        tests = subprocess.run(words, cwd=bootstrap.ROOT, env=env, check=False)
    if failed:
        bootstrap.say(f"error: failed before the tests: {', '.join(failed)}")
    return tests.returncode or (1 if failed else 0)


def prepare_lab(env: Mapping[str, str]) -> None:
    """Make what hosts of the lab start from, if this machine can have a lab. If not, the tests that need it say why."""
    made = subprocess.run(
        [bootstrap.BIN / "python", "-m", "tests.lab.podman"],
        cwd=bootstrap.ROOT, env=env, check=False, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines = made.stdout.splitlines()
    if made.returncode == 0 and lines:
        bootstrap.say(f"    ok     {lines[-1]}")


def passes(check: tuple[str, ...], env: Mapping[str, str]) -> bool:
    """Run one check; its output is shown only if it fails."""
    began = time.monotonic()
    done = subprocess.run(
        [bootstrap.BIN / check[0], *check[1:]],
        cwd=bootstrap.ROOT, env=env, check=False, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    verdict = "ok" if done.returncode == 0 else "FAILED"
    bootstrap.say(f"    {verdict:6} {' '.join(check)} ({time.monotonic() - began:.1f}s)")
    if done.returncode != 0:
        bootstrap.say(done.stdout)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
