"""Engine environments on this machine, made by uv from the locked recipe of `lyc.engines.versions`.

    root/<build>/<digest of recipe and Python>/     a virtual environment; complete when its marker says so
    root/<build>/.lock                              held while one is made, also by uv itself

An environment is never changed once it is complete, so a running engine keeps the files that it started from. One
that was left half-made is deleted and made again; what uv has downloaded by then is in its cache.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lyc.engines.versions import PYTHON_NEWEST, PYTHON_OLDEST, Recipe, recipe
from lyc.errors import Failed, LycError, Unreachable
from lyc.hosts.pip_places import uv_places
from lyc.hosts.uv_run import Uv, UvFailed
from lyc.records.plan import EngineBuild
from lyc.units import show_bytes

MARKER = "lyc-complete"
Say = Callable[[str], None]


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
        found = _site_packages(self._folder(self._recipes(build))).glob("*.dist-info")
        return frozenset(path.name.split("-", 1)[0].replace("_", "-").lower() for path in found)

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
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder.parent / ".lock", say) as lock:
                if not _complete(folder):
                    self._make(wanted, folder, lock, say)
        except OSError as error:
            raise _os_failed(error, folder) from error
        return folder / "bin"

    def _folder(self, wanted: Recipe) -> Path:
        python = ".".join(map(str, _python()[1]))
        digest = hashlib.sha256(f"{wanted.digest} python {python}".encode()).hexdigest()
        return self._root / wanted.build_id / digest[:16]

    def _make(self, wanted: Recipe, folder: Path, lock: int, say: Say) -> None:
        if folder.exists():
            say("removing what an interrupted installation left")
            shutil.rmtree(folder)
        places, told = uv_places(self._environ, Path(sys.prefix))
        uv = Uv(self._uv, cwd=folder.parent, environ=dict(self._environ) | places, lock=lock)
        try:
            self._run(uv, wanted, folder, told, say)
        except UvFailed as failed:
            raise _uv_failed(failed, wanted, folder) from None

    def _run(self, uv: Uv, wanted: Recipe, folder: Path, told: str, say: Say) -> None:
        started = time.monotonic()
        uv("venv", "--quiet", "--no-project", "--python", _python()[0], str(folder))
        lock_file = folder / "requirements.lock"
        lock_file.write_text(wanted.requirements, encoding="utf-8")
        arguments = ("pip", "install", "--python", str(folder / "bin" / "python"), "--no-deps", "-r", str(lock_file))
        say(f"resolving {wanted.packages} packages of {wanted.build_id}")
        backend = self._torch_from(uv, wanted, arguments, told, say)
        missing = _would_download(uv("--color", "never", *arguments, *backend, "--dry-run"))
        _need_space(folder, wanted, missing)
        if missing:
            most = show_bytes(wanted.download_bytes)
            say(f"downloading {missing} of {wanted.packages} packages, {most} at most")
        uv("--color", "never", *arguments, *backend, "--compile-bytecode", say=say)
        if wanted.stub is not None:
            _write_stub(folder, *wanted.stub)
        _mark(folder)
        say(f"{wanted.build_id} installed in {time.monotonic() - started:.0f} s")

    def _torch_from(self, uv: Uv, wanted: Recipe, arguments: tuple[str, ...], told: str, say: Say) -> tuple[str, ...]:
        """uv's words that make torch come from the right place; says which place that is."""
        if wanted.torch_backend is None:
            return ()
        if told:
            try:
                uv("--color", "never", *arguments, "--dry-run")
            except UvFailed:
                say(f"{told} has no fitting torch")
            else:
                say(f"torch comes from {told}")
                return ()
        say(f"torch comes from PyTorch's own index ({wanted.torch_backend})")
        return ("--torch-backend", wanted.torch_backend)


def _python() -> tuple[str, tuple[int, int]]:
    """(what uv is asked for, version): this interpreter when engines run on it, else the newest that they run on."""
    version = (sys.version_info.major, sys.version_info.minor)
    if PYTHON_OLDEST <= version <= PYTHON_NEWEST:
        return sys.executable, version
    return ".".join(map(str, PYTHON_NEWEST)), PYTHON_NEWEST


def _complete(folder: Path) -> bool:
    return (folder / MARKER).is_file() and (folder / "bin" / "python").exists()


def _mark(folder: Path) -> None:
    partial = folder / f".{MARKER}"
    with partial.open("w", encoding="utf-8") as file:
        file.write(folder.name + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MARKER)


def _site_packages(folder: Path) -> Path:
    return next(folder.glob("lib/python3*/site-packages"))


def _write_stub(folder: Path, name: str, version: str, requires: str) -> None:
    """Metadata of a distribution without any code. Last before the marker, so that uv never sees it."""
    info = _site_packages(folder) / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requires}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "INSTALLER").write_text("lyc\n", encoding="utf-8")
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/INSTALLER,,\n{info.name}/RECORD,,\n")


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


def _would_download(lines: list[str]) -> int:
    """From uv's dry run: `Would download 147 packages`."""
    for line in lines:
        words = line.split()
        if words[:2] == ["Would", "download"] and words[2].isdigit():
            return int(words[2])
    return 0


def _need_space(folder: Path, wanted: Recipe, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    # What is in uv's cache already is linked, not copied.
    needed = wanted.installed_bytes * missing // max(wanted.packages, 1)
    if free < needed:
        raise _no_space(folder, f"about {show_bytes(needed)} are needed, {show_bytes(free)} are free")


def _no_space(folder: Path, why: str) -> Failed:
    return Failed(
        "no-space-for-engine",
        "there is not enough space for the engine",
        why=why,
        where=str(folder.parent),
        hint="free some space, or point LYC_HOME at a larger disk",
    )


def _os_failed(error: OSError, folder: Path) -> LycError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _no_space(folder, str(error.strerror))
    return Failed(
        "engine-folder-unusable",
        "the folder of the engines cannot be used",
        why=f"{error.strerror or error}: {error.filename or folder.parent}",
        where=str(folder.parent),
        hint="make it writable for your account, or point LYC_HOME at another folder",
    )


def _uv_failed(failed: UvFailed, wanted: Recipe, folder: Path) -> LycError:
    detail = failed.decisive()
    if any("os error 28" in line or "os error 122" in line for line in detail):
        return _no_space(folder, "the disk became full while the engine was installed")
    if failed.no_network():
        return Unreachable(
            "engine-download-failed",
            f"{wanted.build_id} cannot be downloaded",
            why="the package index does not answer",
            hint="check the network, or name a mirror with UV_DEFAULT_INDEX or PIP_INDEX_URL; then run it again",
            detail=detail,
        )
    return Failed(
        "engine-install-failed",
        f"{wanted.build_id} cannot be installed",
        why=f"uv ended with {failed.code}",
        where=str(folder),
        hint="see the lines above; after mending it, run the same command again",
        detail=detail,
    )
