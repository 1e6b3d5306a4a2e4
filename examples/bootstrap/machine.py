"""The Python, the system's packages and the settings of this machine."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import ssl
import sys
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from bootstrap.steps import SetupError, run, step

LEAST_PYTHON = (3, 11)
INDEX_SETTINGS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


def check_python() -> None:
    """Say clearly which Python is needed, instead of failing somewhere inside. Raises SetupError."""
    if sys.version_info < LEAST_PYTHON:
        need = ".".join(map(str, LEAST_PYTHON))
        raise SetupError(
            f"lyc needs Python {need} or newer; this is {platform.python_version()} ({sys.executable}).\n"
            f"Install one (Ubuntu 22.04: `apt-get install python{need}`) and run: python{need} {' '.join(sys.argv)}"
        )


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for everything that follows, in which uv obeys pip's settings and trusts what Python trusts.

    uv's own list of authorities lacks those that a company added to its machines.
    """
    env = {name: value for name, value in environ.items() if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")}
    if env.get("PIP_CERT") and not env.get("SSL_CERT_FILE"):
        env["SSL_CERT_FILE"] = env["PIP_CERT"]
    index = mirror(env)
    if index:
        env["UV_DEFAULT_INDEX"] = index
    env.setdefault("UV_SYSTEM_CERTS", "true")
    env.setdefault("UV_NATIVE_TLS", "true")  # the same, as older ones call it
    return env


def mirror(env: Mapping[str, str]) -> str:
    """The package index that the user has set, or "" for PyPI itself."""
    index = next((env[name] for name in INDEX_SETTINGS if env.get(name)), "")
    return "" if urllib.parse.urlsplit(index).hostname == "pypi.org" else index


def ensure_packages(env: Mapping[str, str]) -> None:
    """What no wheel can bring: install it if we may, or say how. Raises SetupError."""
    wanted = [package for package, there in (("ca-certificates", certificates(env)), ("libnuma1", numa())) if not there]
    if not wanted:
        return
    command = f"apt-get install -y --no-install-recommends {' '.join(wanted)}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        what = " and ".join(wanted)
        raise SetupError(f"HTTPS or the engine cannot do without {what} (Debian's names), so, as root: {command}")
    with step(f"{' and '.join(wanted)}, by apt"):
        quiet = {**env, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], quiet)
        run([*command.split(), "-qq", "-o", "Dpkg::Use-Pty=0"], quiet)


def certificates(env: Mapping[str, str]) -> bool:
    """Whether there are certificate authorities; a bare Debian has none, and so no HTTPS."""
    paths = ssl.get_default_verify_paths()
    directory = Path(env.get("SSL_CERT_DIR") or paths.capath or "/nonexistent")
    return bool(env.get("SSL_CERT_FILE") or paths.cafile or (directory.is_dir() and any(directory.iterdir())))


def numa() -> bool:
    """Whether libnuma is there: vLLM's CPU build is linked against it, and its wheel does not carry it."""
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        return platform.system() != "Linux"
    return True
