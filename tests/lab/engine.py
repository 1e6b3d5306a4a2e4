"""A ready engine on hosts of the lab, which have no way out to download one: this machine's own environment, as a layer
of their file system.

A layer is a tree of hard links below the lab's folder (seconds, no space), between the bare root file system and the
host's own disk. For the host its files are plain files: they can be deleted, and the other hosts keep theirs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

NUMA = "libnuma.so.1"
"""What the CPU build of vLLM needs of a system; a bare host does not have it."""
LIBRARIES = "usr/lib/x86_64-linux-gnu"
PYTHON = "/opt/lab-python"
LEFT_OUT = ("site-packages", "test", "share", "idlelib")
"""Of a Python: what an engine's environment does not use."""


def engine_layer(into: Path, env: Path, at: str, base: Path) -> Path:
    """Put the environment `env` into a new layer as folder `at`, with the Python that it was made from in `PYTHON`, as
    no engine may look into a home, and libnuma. base: the root file system below. Returns `into`.

    Raises RuntimeError where the environment's Python is of another version than the hosts' own, for which lyc would
    make one of another name.
    """
    ours, theirs = (env / "bin" / "python").resolve(), (base / "usr/bin/python3").resolve()
    if ours.name != theirs.name:
        raise RuntimeError(f"the engine here runs on {ours.name}, and hosts of the lab have {theirs.name}")
    place = into / at.lstrip("/")
    _tree(env, place)
    for script in (place / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            _move(script, str(env), at)
    _python(into, place, ours)
    libraries = into / LIBRARIES
    libraries.mkdir(parents=True)
    shutil.copy2(_library(NUMA), libraries / NUMA)
    for library in (into / PYTHON.lstrip("/") / "lib").glob("libpython*.so.*"):
        (libraries / library.name).symlink_to(f"{PYTHON}/lib/{library.name}")  # where the loader looks for it
    return into


def _tree(source: Path, target: Path, ignore: Callable[[str, list[str]], set[str]] | None = None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True, ignore=ignore, copy_function=_link)


def _link(source: str, target: str, *, follow_symlinks: bool = True) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another disk
        shutil.copy2(source, target, follow_symlinks=follow_symlinks)


def _move(script: Path, was: str, now: str) -> None:
    """Write a script anew that names the environment's own path. Never through the link, whose other end is in use."""
    text = script.read_bytes()
    if was.encode() not in text or b"\0" in text:
        return
    mode = script.stat().st_mode
    script.unlink()
    script.write_bytes(text.replace(was.encode(), now.encode()))
    script.chmod(mode)


def _python(into: Path, place: Path, python: Path) -> None:
    prefix = python.parent.parent
    if prefix in (Path("/usr"), Path("/")):
        return
    _tree(prefix, into / PYTHON.lstrip("/"), ignore=shutil.ignore_patterns(*LEFT_OUT))
    link = place / "bin" / "python"
    link.unlink()
    link.symlink_to(f"{PYTHON}/bin/{python.name}")
    config = place / "pyvenv.cfg"
    text = config.read_text().replace(str(prefix), PYTHON)
    config.unlink()
    config.write_text(text)


def _library(name: str) -> Path:
    for folder in (Path("/") / LIBRARIES, Path("/lib/x86_64-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib")):
        if (folder / name).exists():
            return (folder / name).resolve()
    raise RuntimeError(f"{name} is not installed here (apt-get install libnuma1)")
