"""Runs on a host, by a Python of that host: prints its own real path if engines can run on it, else ends with 1.

`python -I fit.py ACCOUNT any|headers ROOT OLDEST NEWEST`: ACCOUNT is `user` for the one who runs this; another must be
let in by everybody's rights, which below ROOT it is. One too old to read this file ends with 1 too.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

NEEDED = ("bz2", "ctypes", "lzma", "sqlite3", "ssl", "venv", "zlib")


def open_to_all(path: Path, root: Path) -> bool:
    """Whether any account may read what is at the path: each folder above it can be entered."""
    path, wanted = path.resolve(), 0o004
    while path not in (Path("/"), root):
        if path.stat().st_mode & wanted != wanted:
            return False
        path, wanted = path.parent, 0o001
    return True


def fits(account: str, wish: str, root: str, oldest: str, newest: str) -> bool:
    """See the module. Raises ImportError for a Python that lacks parts of the standard library."""
    for name in NEEDED:
        __import__(name)
    if sys.prefix != sys.base_prefix or not oldest <= f"{sys.version_info[0]}.{sys.version_info[1]:02}" <= newest:
        return False
    paths = [Path(sys.executable).resolve(), Path(os.__file__).resolve()]
    if wish == "headers":
        paths.append(Path(sysconfig.get_path("include")) / "Python.h")
    if not all(path.exists() for path in paths):
        return False
    at_home = paths[0].parts[1] in ("root", "home")
    return account == "user" or (not at_home and all(open_to_all(path, Path(root).resolve()) for path in paths))


if __name__ == "__main__":
    if not fits(*sys.argv[1:]):
        sys.exit(1)
    sys.stdout.write(f"{Path(sys.executable).resolve()}\n")
