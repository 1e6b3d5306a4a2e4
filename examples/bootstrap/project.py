"""lyc's own environment: `.venv`, as `uv.lock` says."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from bootstrap.machine import mirror
from bootstrap.steps import ROOT, run, step

BIN = ROOT / ".venv" / "bin"


def sync(uv: Path, env: Mapping[str, str], *, dev: bool) -> None:
    """Make the environment what the lock says; without dev, leave the tools that may be there. Raises SetupError."""
    fresh = [] if (BIN / "python").exists() else ["--python", sys.executable]
    with step("lyc and its dependencies, as locked in uv.lock"):
        if mirror(env):
            _sync_from_mirror(uv, env, fresh, dev=dev)
        else:
            run([uv, "sync", "--frozen", *fresh, *([] if dev else ["--no-dev", "--inexact"])], env)


def _sync_from_mirror(uv: Path, env: Mapping[str, str], fresh: list[str], *, dev: bool) -> None:
    """The same files by the same hashes from another index: the lock's own addresses all lead to PyPI."""
    requirements = ROOT / "build" / "requirements.txt"
    requirements.parent.mkdir(exist_ok=True)
    groups = [] if dev else ["--no-dev"]
    run([uv, "export", "--quiet", "--frozen", "--no-emit-project", *groups, "--output-file", requirements], env)
    if fresh:
        run([uv, "venv", *fresh], env)
    target: list[str | Path] = ["--python", BIN / "python"]
    run([uv, "pip", "install", *target, "--require-hashes", "--requirements", requirements], env)
    run([uv, "pip", "install", *target, "--no-deps", "--editable", "."], env)
