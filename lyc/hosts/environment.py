"""Engine environments on this machine, made as `lyc.hosts.making` tells.

root/<build>/<digest of recipe and Python>/     a virtual environment; complete when its marker says so
root/<build>/.lock                              held while one is made, also by uv itself
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lyc.engines.versions import PYTHON_NEWEST, PYTHON_OLDEST, Recipe, recipe
from lyc.errors import Failed, LycError
from lyc.hosts.making import MARKER, Say, distribution, folder_name, make, no_space, site_packages, uv_failed
from lyc.hosts.pip_places import uv_places
from lyc.hosts.uv_run import Uv, UvFailed
from lyc.records.plan import EngineBuild

__all__ = ["MARKER", "UvInstaller"]


class UvInstaller:
    """Implements `lyc.ports.EngineInstaller`.

    root: folder of all environments, made when needed. environ: the environment to run uv with (its own variables,
    proxies and the places that pip is told of are obeyed). uv: the binary; None = the one of the `uv` package.
    recipes: what each build is made of.
    """

    def __init__(
        self,
        root: Path,
        environ: Mapping[str, str],
        *,
        uv: Path | None = None,
        recipes: Callable[[EngineBuild], Recipe] = recipe,
    ) -> None:
        self._root = root
        self._environ = environ
        self._uv = uv
        self._recipes = recipes

    def bin_dir(self, build: EngineBuild) -> Path | None:
        """`bin` of the environment if it is complete and its Python is still there, else None."""
        folder = self._folder(self._recipes(build))
        return folder / "bin" if _complete(folder) else None

    def distributions(self, build: EngineBuild) -> frozenset[str]:
        """Normalized names of what the environment has installed; empty when it is not complete."""
        if self.bin_dir(build) is None:
            return frozenset()
        packages = self._folder(self._recipes(build)) / site_packages(_python()[1])
        return frozenset(distribution(path.name) for path in packages.glob("*.dist-info"))

    def install(self, build: EngineBuild, say: Say) -> Path:
        """See the port. Waits while another process makes the same environment.

        Raises Failed (no space, a folder that cannot be written, uv's refusal) or Unreachable (nothing to download
        from). After either, a next call starts clean.
        """
        ready = self.bin_dir(build)
        if ready is not None:
            return ready
        wanted = self._recipes(build)
        folder = self._folder(wanted)
        places, told = uv_places(self._environ, Path(sys.prefix))
        at = _Here(folder, Uv(self._uv, cwd=folder.parent, environ=dict(self._environ) | places))
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder.parent / ".lock", say) as at.uv.lock:
                if not _complete(folder):
                    make(wanted, at, told, say)
        except UvFailed as failed:
            raise uv_failed(failed, wanted, at) from None
        except OSError as error:
            raise _os_failed(error, at) from error
        return folder / "bin"

    def _folder(self, wanted: Recipe) -> Path:
        return self._root / folder_name(wanted, _python()[1])


class _Here:
    """Implements `lyc.hosts.making.Place`."""

    mend = "free some space, or point LYC_HOME at a larger disk"

    def __init__(self, folder: Path, uv: Uv) -> None:
        self.folder = folder
        self.uv = uv
        self.python, self.version = _python()

    def clear(self) -> bool:
        if not self.folder.exists():
            return False
        shutil.rmtree(self.folder)
        return True

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def mark(self) -> None:
        partial = self.folder / f".{MARKER}"
        with partial.open("w", encoding="utf-8") as file:
            file.write(self.folder.name + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / MARKER)

    def free(self) -> int:
        return shutil.disk_usage(self.folder).free


def _python() -> tuple[str, tuple[int, int]]:
    """(what uv is asked for, version): this interpreter when engines run on it, else the newest that they run on."""
    version = (sys.version_info.major, sys.version_info.minor)
    if PYTHON_OLDEST <= version <= PYTHON_NEWEST:
        return sys.executable, version
    return ".".join(map(str, PYTHON_NEWEST)), PYTHON_NEWEST


def _complete(folder: Path) -> bool:
    return (folder / MARKER).is_file() and (folder / "bin" / "python").exists()


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[int]:
    """Hold the lock and give its file descriptor: uv inherits it, so it stays locked until uv has ended too.

    That is why this is flock(2) itself: when lyc is killed, a uv that still writes must keep the next one out.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        waiting = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    say("another run is installing this engine; waiting for it")
                waiting = True
                time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


def _os_failed(error: OSError, at: _Here) -> LycError:
    folder = at.folder
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_space(at, str(error.strerror))
    return Failed(
        "engine-folder-unusable",
        "the folder of the engines cannot be used",
        why=f"{error.strerror or error}: {error.filename or folder.parent}",
        where=str(folder.parent),
        hint="make it writable for your account, or point LYC_HOME at another folder",
    )
