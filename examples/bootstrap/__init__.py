"""What a fresh machine lacks, brought in: uv, and lyc's own environment in `.venv`.

Standard library only, so that it runs where nothing else has been installed: no pip, no ensurepip, no uv. Both
commands of the README begin here. Everything is idempotent; a run that finds all in place takes a fraction of a second.

    steps     what the user sees of a step, and how a command is run
    machine   the Python, the system's packages and the settings of this machine
    uv        the uv that `uv.lock` pins, fetched as a wheel and checked against the lock's sha256
    project   `.venv`, as `uv.lock` says

The usual settings are honoured: `UV_DEFAULT_INDEX`, `UV_INDEX_URL` or `PIP_INDEX_URL` (a mirror of PyPI),
`SSL_CERT_FILE` or `PIP_CERT`, `HTTPS_PROXY`.
"""

from __future__ import annotations

import os

from bootstrap.machine import check_python, ensure_packages, settings
from bootstrap.project import BIN, sync
from bootstrap.steps import ROOT, SetupError, run, say, step
from bootstrap.uv import ensure_uv

__all__ = ["BIN", "ROOT", "SetupError", "prepare", "run", "say", "step"]


def prepare(*, dev: bool) -> dict[str, str]:
    """Make `.venv` hold lyc and its dependencies as locked (with dev: its tools too). Returns the environment to use.

    Without dev, tools that an earlier run put there stay. Raises SetupError.
    """
    check_python()
    env = settings(os.environ)
    ensure_packages(env)
    sync(ensure_uv(env), env, dev=dev)
    return {**env, "PATH": f"{BIN}{os.pathsep}{env.get('PATH', os.defpath)}", "VIRTUAL_ENV": str(BIN.parent)}
