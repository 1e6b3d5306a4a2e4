"""How an engine environment is made from its locked recipe by uv, on whichever machine: `make`, and what goes wrong.

An environment is never changed once it is complete, so a running engine keeps the files that it started from. One that
was left half-made is deleted and made again; what uv has downloaded by then is in its cache.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Protocol

from lyc.engines.versions import Recipe
from lyc.errors import Failed, LycError, Unreachable
from lyc.hosts.uv_run import UvFailed
from lyc.units import show_bytes

MARKER = "lyc-complete"
"""A file in each environment that is whole, written last."""
_DISK_FULL = ("os error 28", "os error 122")
Say = Callable[[str], None]


class Place(Protocol):
    """The folder of one environment on one machine, held by nobody else as long as this is used.

    folder: its absolute path there. python, version: what uv is asked for, and which version that is. mend: what to
    type where there is too little room.
    """

    @property
    def folder(self) -> PurePath: ...

    @property
    def python(self) -> str: ...

    @property
    def version(self) -> tuple[int, int]: ...

    @property
    def mend(self) -> str: ...

    def uv(self, *arguments: str, say: Say | None = None) -> list[str]:
        """uv's lines; `say` hears its progress. Raises UvFailed."""
        ...

    def clear(self) -> bool:
        """Remove all that is there. Whether anything was."""
        ...

    def write(self, files: Mapping[str, str]) -> None:
        """Files below the folder, by their path in it; missing folders are made."""
        ...

    def mark(self) -> None:
        """Write the marker: on disk when this returns."""
        ...

    def free(self) -> int:
        """Bytes that may still be written there."""
        ...


def make(wanted: Recipe, at: Place, told: str, say: Say) -> None:
    """Make the environment, whatever was left there. told: places that the user named for wheels, in words, or "".

    Raises Failed `no-space-for-engine`, UvFailed, and what the place raises.
    """
    started = time.monotonic()
    if at.clear():
        say("removing what an interrupted installation left")
    folder = at.folder
    at.uv("venv", "--quiet", "--no-project", "--python", at.python, str(folder))
    at.write({"requirements.lock": wanted.requirements})
    lock, python = str(folder / "requirements.lock"), str(folder / "bin" / "python")
    arguments = ("--color", "never", "pip", "install", "--python", python, "--no-deps", "-r", lock)
    say(f"resolving {wanted.packages} packages of {wanted.build_id}")
    backend = _torch_from(at, wanted, arguments, told, say)
    missing = _would_download(at.uv(*arguments, *backend, "--dry-run"))
    _need_space(at, wanted, missing)
    if missing:
        most = show_bytes(wanted.download_bytes)
        say(f"downloading {missing} of {wanted.packages} packages, {most} at most")
    at.uv(*arguments, *backend, "--compile-bytecode", say=say)
    if wanted.stub is not None:
        at.write(_stub(site_packages(at.version), *wanted.stub))
    at.mark()
    say(f"{wanted.build_id} installed in {time.monotonic() - started:.0f} s")


def folder_name(wanted: Recipe, version: tuple[int, int]) -> str:
    """`<build>/<digest of recipe and Python>`, below the folder of all environments."""
    digest = hashlib.sha256(f"{wanted.digest} python {'.'.join(map(str, version))}".encode()).hexdigest()
    return f"{wanted.build_id}/{digest[:16]}"


def site_packages(version: tuple[int, int]) -> str:
    """Where the packages lie in an environment."""
    return f"lib/python{version[0]}.{version[1]}/site-packages"


def distribution(dist_info: str) -> str:
    """Normalized name of an installed package, from the name of its `.dist-info` folder."""
    return dist_info.split("-", 1)[0].replace("_", "-").lower()


def no_space(at: Place, why: str) -> Failed:
    """The error of a disk that is full, or would be."""
    return Failed(
        "no-space-for-engine",
        "there is not enough space for the engine",
        why=why,
        where=str(at.folder.parent),
        hint=at.mend,
    )


def uv_failed(failed: UvFailed, wanted: Recipe, at: Place) -> LycError:
    """What a refusal of uv means."""
    detail = failed.decisive()
    if any(words in line for line in detail for words in _DISK_FULL):
        return no_space(at, "the disk became full while the engine was installed")
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
        where=str(at.folder),
        hint="see the lines above; after mending it, run the same command again",
        detail=detail,
    )


def _torch_from(at: Place, wanted: Recipe, arguments: tuple[str, ...], told: str, say: Say) -> tuple[str, ...]:
    """uv's words that make torch come from the right place; says which place that is."""
    if wanted.torch_backend is None:
        return ()
    if told:
        try:
            at.uv(*arguments, "--dry-run")
        except UvFailed:
            say(f"{told} has no fitting torch")
        else:
            say(f"torch comes from {told}")
            return ()
    say(f"torch comes from PyTorch's own index ({wanted.torch_backend})")
    return ("--torch-backend", wanted.torch_backend)


def _stub(packages: str, name: str, version: str, requires: str) -> dict[str, str]:
    """Metadata of a distribution without any code. Last before the marker, so that uv never sees it."""
    info = f"{name}-{version}.dist-info"
    return {
        f"{packages}/{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requires}\n"
        ),
        f"{packages}/{info}/INSTALLER": "lyc\n",
        f"{packages}/{info}/RECORD": f"{info}/METADATA,,\n{info}/INSTALLER,,\n{info}/RECORD,,\n",
    }


def _would_download(lines: list[str]) -> int:
    """From uv's dry run: `Would download 147 packages`."""
    for line in lines:
        words = line.split()
        if words[:2] == ["Would", "download"] and words[2].isdigit():
            return int(words[2])
    return 0


def _need_space(at: Place, wanted: Recipe, missing: int) -> None:
    free = at.free()
    # What is in uv's cache already is linked, not copied.
    needed = wanted.installed_bytes * missing // max(wanted.packages, 1)
    if free < needed:
        raise no_space(at, f"about {show_bytes(needed)} are needed, {show_bytes(free)} are free")
