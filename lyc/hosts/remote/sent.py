"""What goes along with the steps of bootstrapping: a .tar.gz for each, made here."""

from __future__ import annotations

import io
import platform
import shlex
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from uv import find_uv_bin

from lyc.errors import Failed, Unreachable
from lyc.hosts.pip_places import uv_places
from lyc.hosts.remote.program import agent_zip
from lyc.hosts.remote.steps import Ground
from lyc.hosts.uv_run import Uv, UvFailed
from lyc.records.host import RemoteFacts

_LEVEL = 1
"""Of gzip: uv (38 MB) becomes 48 % of its size in 0.75 s; level 9 takes 7 s for 44 %."""


def packed(contents: Mapping[str, bytes]) -> bytes:
    """A .tar.gz of files, private until the step puts them where they belong."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=_LEVEL) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def sent(
    kind: str, ground: Ground, facts: RemoteFacts, environ: Mapping[str, str], variables: Mapping[str, str]
) -> bytes:
    """What goes along with a step, by its `sent`; nothing for "".

    environ: of this machine, to fetch uv with. variables: for uv on the host.
    """
    if kind == "uv":
        return _own_uv(find_uv_bin()) if _alike(facts) else packed({"uv": fetched_uv(facts, environ)})
    found = contents(kind, ground, variables)
    return packed(found) if found else b""


@lru_cache(maxsize=1)
def _own_uv(path: str) -> bytes:
    return packed({"uv": Path(path).read_bytes()})


def contents(kind: str, ground: Ground, variables: Mapping[str, str]) -> dict[str, bytes]:
    """The files of the other steps."""
    if kind == "python":
        return {"fit.py": files("lyc.hosts.remote").joinpath("fit.py").read_bytes(), "env": shell_variables(variables)}
    if kind == "agent":
        return {ground.program: agent_zip()[0]}
    if kind == "units":
        return {name: text.encode() for name, text in ground.units.items()}
    return {}


def shell_variables(variables: Mapping[str, str]) -> bytes:
    """Assignments that a POSIX shell reads."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())).encode()


def _alike(facts: RemoteFacts) -> bool:
    """Whether this machine's uv runs there."""
    return sys.platform == "linux" and platform.machine() == facts.machine and _glibc(facts)


def _glibc(facts: RemoteFacts) -> bool:
    return (facts.libc or "").startswith("glibc")


def fetched_uv(facts: RemoteFacts, environ: Mapping[str, str]) -> bytes:
    """uv's binary for a host of another kind, from the wheel of the version that runs here.

    Raises Unreachable `uv-download-failed` and Failed `no-uv-for-host`.
    """
    with tempfile.TemporaryDirectory(prefix="lyc-uv-") as folder:
        target = Path(folder) / "uv"
        places, _ = uv_places(environ, Path(sys.prefix))
        uv = Uv(None, cwd=Path(folder), environ=dict(environ) | places)
        try:
            uv("pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(target),
               "--python-platform", f"{facts.machine}-unknown-linux-{'gnu' if _glibc(facts) else 'musl'}",
               f"uv=={version('uv')}")  # fmt: skip
        except UvFailed as failed:
            if failed.no_network():
                raise Unreachable(
                    "uv-download-failed",
                    f"uv for {facts.machine} cannot be fetched",
                    why="the package index does not answer",
                    hint="check the network, or name a mirror with UV_DEFAULT_INDEX or PIP_INDEX_URL",
                    detail=failed.decisive(),
                ) from None
            raise Failed(
                "no-uv-for-host",
                f"there is no uv {version('uv')} for {facts.machine} with {facts.libc or 'an unknown C library'}",
                hint="lyc hosts check NAME",
                detail=failed.decisive(),
            ) from None
        return (target / "bin" / "uv").read_bytes()
