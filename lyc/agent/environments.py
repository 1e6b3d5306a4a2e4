"""Engine environments on this host: the hands of whoever makes one from afar (`lyc.hosts.making` says how).

    engines/<build>/<digest>/     an environment; complete when `lyc-complete` is in it
    engines/<build>/.lock         held (flock) by `environment hold` while its caller waits; the holder's token in it
    engines/<build>/.busy         held by each uv that runs, so that the next holder waits for one whose caller is gone

Every change names the token of the hold that it belongs to, and is refused when another has come since.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lyc.agent.answer import Refused, read_request, say
from lyc.agent.root import Root

MARKER = "lyc-complete"
_FOLDER = re.compile(r"([a-z0-9][a-z0-9.+_-]*)/([0-9a-f]{16})")
Document = dict[str, Any]


def environment(root: Root, arguments: list[str]) -> Document:
    """`state | hold | clear | write | mark`, each with stdin `{"folder": "<build>/<digest>", "token", …}`.

    state → {"complete", "distributions": [names of .dist-info], "python": path, "free": bytes}. hold says
    {"t": "waiting"} if it must wait and {"t": "held", "token"} when it is held, and then does not end. clear → {"was"}:
    whether there was anything. write ({"files": {path in the folder: text}}) → {}. mark → {}.

    Raises Refused `bad-request`, `environment-taken`.
    """
    request = read_request()
    folder = _folder(root, request)
    os.umask(0o022)  # engines run as another account
    if arguments == ["state"]:
        return _state(root, folder)
    if arguments == ["hold"]:
        return _hold(folder)
    with _ours(folder, request):
        if arguments == ["clear"]:
            return _clear(folder)
        if arguments == ["write"]:
            return _write(folder, request.get("files") or {})
        if arguments == ["mark"]:
            return _mark(folder)
    raise Refused("bad-request", f"nothing is known of {' '.join(arguments)!r}")


def uv(root: Root, arguments: list[str]) -> Document:
    """stdin `{"folder", "token", "arguments": [...], "env": {...}}`: run uv to its end → {"code"}; its lines, of stdout
    and stderr, are said as {"t": "line", "text"}. When the caller is gone, uv ends.

    Raises Refused `bad-request`, `environment-taken`, `no-uv`.
    """
    request = read_request()
    folder = _folder(root, request)
    if arguments:
        raise Refused("bad-request", f"no arguments are taken, not {arguments}")
    with _ours(folder, request) as busy:
        os.umask(0o022)
        home = root.path / "uv"
        env = {
            "PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C.UTF-8", "UV_NO_CONFIG": "1",
            "UV_CACHE_DIR": str(home / "cache"), "UV_PYTHON_INSTALL_DIR": str(home / "python"),
        } | {str(name): str(value) for name, value in (request.get("env") or {}).items()}  # fmt: skip
        argv = [str(root.path / "bin" / "uv"), *map(str, request.get("arguments") or [])]
        try:
            process = subprocess.Popen(
                argv, cwd=folder.parent, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", pass_fds=(busy,),
            )  # fmt: skip
        except OSError as error:
            raise Refused(
                "no-uv", "uv does not run on the host", why=str(error), hint="lyc hosts prepare NAME"
            ) from error
        try:
            for line in process.stdout or ():
                say({"t": "line", "text": line.rstrip("\n")})
            return {"code": process.wait()}
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def complete(folder: Path) -> bool:
    """Whether it is whole, and its Python still there."""
    return (folder / MARKER).is_file() and (folder / "bin" / "python").exists()


def _state(root: Root, folder: Path) -> Document:
    whole = complete(folder)
    there = folder.glob("lib/python3*/site-packages/*.dist-info") if whole else ()
    return {
        "complete": whole,
        "distributions": sorted(path.name for path in there),
        "python": str((root.path / "python3").resolve()),
        "free": shutil.disk_usage(root.engines).free,
    }


def _hold(folder: Path) -> Document:
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = _opened(folder.parent / ".lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say({"t": "waiting"})
        fcntl.flock(lock, fcntl.LOCK_EX)
    token = secrets.token_hex(8)
    os.pwrite(lock, token.encode(), 0)
    busy = _opened(folder.parent / ".busy")
    fcntl.flock(busy, fcntl.LOCK_EX)  # a uv of before may still write
    os.close(busy)
    say({"t": "held", "token": token})
    while True:
        signal.pause()


@contextmanager
def _ours(folder: Path, request: Document) -> Iterator[int]:
    """Keeps the next holder waiting. Raises Refused `environment-taken` for the token of an earlier one."""
    busy = _opened(folder.parent / ".busy")
    try:
        fcntl.flock(busy, fcntl.LOCK_SH)
        try:
            token = (folder.parent / ".lock").read_text()
        except OSError:
            token = ""
        if not token or token != request.get("token"):
            raise Refused(
                "environment-taken",
                "another run has begun to install this engine on the host",
                hint="run the same command again: it waits for the other",
            )
        yield busy
    finally:
        os.close(busy)


def _clear(folder: Path) -> Document:
    if not folder.exists():
        return {"was": False}
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder)
    return {"was": True}


def _write(folder: Path, files: Document) -> Document:
    for name, text in files.items():
        path = folder / name
        if ".." in path.parts or not path.is_relative_to(folder):
            raise Refused("bad-request", f"{name!r} is not below the environment")
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(str(text), encoding="utf-8")
        path.chmod(0o644)
    return {}


def _mark(folder: Path) -> Document:
    """All files are on disk before the marker is."""
    os.sync()
    partial = folder / f".{MARKER}"
    with partial.open("w", encoding="utf-8") as file:
        file.write(folder.name + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.chmod(0o644)
    partial.replace(folder / MARKER)
    return {}


def _folder(root: Root, request: Document) -> Path:
    name = str(request.get("folder") or "")
    if not _FOLDER.fullmatch(name):
        raise Refused("bad-request", f"{name!r} is no environment", why=json.dumps(name))
    return root.engines / name


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise Refused("environment-taken", "nobody holds the folder of this engine", why=str(error)) from error
