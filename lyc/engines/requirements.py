"""What the pinned engine needs of a machine. Each figure with where it comes from."""

from __future__ import annotations

import re

from lyc.engines.versions import recipe
from lyc.records.plan import EngineBuild

GLIBC = {"x86_64": (2, 31), "aarch64": (2, 34)}
"""Least glibc, by machine: the newest manylinux tag in the lock for which there is no older wheel. Found by resolving
the lock for each tag: llguidance has wheels for 2.31 and not for 2.28; on aarch64 tilelang has none for 2.31."""
DRIVERS = {12: (525, 60), 13: (580, 65)}
"""Least Linux driver, by the major version of CUDA (CUDA's release notes, minor version compatibility)."""
LEAST_CAPABILITY = 75
"""CUDA 13 compiles for no card before Turing (its release notes), so the pinned PyTorch does not either."""
SYSTEMD = 247
"""Since when systemd hands a unit its secrets (`LoadCredential=`; its NEWS)."""
CPU_FLAGS = ("amx_tile", "avx512f", "avx2", "asimd")
"""One of these is needed where the engine runs on the CPU (https://docs.vllm.ai, Installation, CPU); best first."""


def cuda(build: EngineBuild) -> tuple[int, int] | None:
    """The CUDA that the build's PyTorch is made with; None for the CPU build."""
    match = re.search(r"^nvidia-cuda-runtime==(\d+)\.(\d+)", recipe(build).requirements, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match and not build.on_cpu else None


def installed_bytes(build: EngineBuild) -> int:
    """Disk that its environment takes, with what is downloaded for it."""
    found = recipe(build)
    return found.installed_bytes + found.download_bytes
