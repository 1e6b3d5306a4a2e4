#!/usr/bin/env python3
"""From a fresh machine to passed tests: `python3 tests/run.py [--fast] [arguments of pytest]`.

Sets up everything (uv, lyc with its tools, and unless `--fast` an engine for the CPU), then runs the checks and the
tests: ruff, the formatter, mypy, the import contracts, and pytest with the fast tests first and the ones that start a
real engine last. `--fast` leaves those out. Ends with pytest's closing line; exit code 0 only if all passed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
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


def main(arguments: list[str]) -> int:
    """Set up, check, test. Returns pytest's exit code, or 1 when only a check failed."""
    fast = "--fast" in arguments
    rest = [argument for argument in arguments if argument != "--fast"]
    try:
        env = bootstrap.prepare(dev=True)
        if not fast:
            with bootstrap.step("an engine for the CPU"):
                bootstrap.run([bootstrap.BIN / "python", "-c", INSTALL_ENGINE], env)
    except bootstrap.SetupError as error:
        bootstrap.say(f"error: {error}")
        return 1
    failed = [" ".join(check) for check in CHECKS if not passes(check, env)]
    with bootstrap.step("pytest"):
        select = ["-m", "not engine and not slow"] if fast else []
        tests = subprocess.run([bootstrap.BIN / "pytest", *select, *rest], cwd=bootstrap.ROOT, env=env, check=False)
    if failed:
        bootstrap.say(f"error: failed before the tests: {', '.join(failed)}")
    return tests.returncode or (1 if failed else 0)


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
