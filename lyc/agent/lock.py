"""The lock of the host: at most one controller changes it at a time. It breaks by a person's word alone.

lock.json     {owner, who, reason, since, boot_id, boottime}; whoever has linked it there holds it
lock.guard    held (flock) for the moment of each change, by the kernel: a killed agent leaves nothing locked
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lyc.agent.answer import Refused, read_request
from lyc.agent.root import Root
from lyc.agent.shim import boot_id, write_atomically

Document = dict[str, Any]


def lock(root: Root, arguments: list[str]) -> Document:
    """stdin `{"owner", "who", "reason"}` → {}. The same owner takes it again, with the new reason.

    Raises Refused `host-locked`.
    """
    request = _request(arguments)
    wanted = {name: str(request.get(name) or "") for name in ("owner", "who", "reason")}
    if not wanted["owner"]:
        raise Refused("bad-request", "a lock needs an owner")
    fresh = wanted | {"since": time.time(), "boot_id": boot_id(), "boottime": boottime()}
    with _guarded(root):
        held = read(root)
        if held is None:
            _take(root, fresh)
        elif held["owner"] == wanted["owner"]:
            write_atomically(_path(root), fresh)
        else:
            raise locked(held, _age(held))
    return {}


def unlock(root: Root, arguments: list[str]) -> Document:
    """stdin `{"owner"}` or `{"force": true}` → {"was": the lock as `state` tells it, or null}. Twice is a success.

    Raises Refused `host-locked` where another owner holds it.
    """
    request = _request(arguments)
    with _guarded(root):
        held = state(root)
        if held is None:
            return {"was": None}
        if request.get("force") is not True and held["owner"] != request.get("owner"):
            raise locked(held, held["age"])
        _path(root).unlink()
        sync(root.path)
    return {"was": held}


def state(root: Root) -> Document | None:
    """`{owner, who, reason, age}` of the lock that is held, if one is. age: seconds, whatever the clock did since."""
    held = read(root)
    if held is None:
        return None
    return {name: held[name] for name in ("owner", "who", "reason")} | {"age": _age(held)}


def age(held: Document, now: float, boot: str, clock: float) -> float:
    """Seconds since it was taken. now, boot, clock: CLOCK_BOOTTIME, id of the boot and epoch seconds of the host. Pure.

    Of a lock from before the last boot that is at least the time since the boot; the clock says more where it can.
    """
    if held["boot_id"] == boot:
        return float(max(now - held["boottime"], 0.0))
    return float(max(clock - held["since"], now))


def read(root: Root) -> Document | None:
    """What lies in the lock, if one is held."""
    try:
        return known(json.loads(_path(root).read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError:
        return known(None)


def known(document: object) -> Document:
    """What a lock says, as far as it does. A file that is none (a person's hand) counts as held by nobody known."""
    found = document if isinstance(document, dict) else {}
    return {"owner": "", "who": "", "reason": "", "since": 0.0, "boot_id": "", "boottime": 0.0} | found


def locked(held: Document, age: float) -> Refused:
    """The refusal that names who holds it, since `age` seconds."""
    return Refused(
        "host-locked",
        f"{held['who'] or held['owner'] or 'somebody'} is at work on the host",
        why=f"since {shown(age)}" + (f": {held['reason']}" if held["reason"] else ""),
        hint="lyc hosts unlock NAME, if nobody is",
        kind="Locked",
    )


def shown(seconds: float) -> str:
    """`42 s`, `7 min`, `3 h`, `2 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def boottime() -> float:
    """Seconds since the machine was started, also those that it slept; nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _age(held: Document) -> float:
    return age(held, boottime(), boot_id(), time.time())


def _path(root: Root) -> Path:
    return root.path / "lock.json"


def _request(arguments: list[str]) -> Document:
    if arguments:
        raise Refused("bad-request", f"no arguments are taken, not {arguments}")
    return read_request()


def _take(root: Root, document: Document) -> None:
    """link(2) fails where a name is taken, so of two that come at once one has it, even without the guard."""
    path = _path(root)
    fresh = path.with_name(f".{path.name}.new")
    write_atomically(fresh, document)
    try:
        os.link(fresh, path)
    except FileExistsError:
        raise locked(read(root) or document, 0.0) from None
    finally:
        fresh.unlink()
    sync(root.path)


def sync(folder: Path) -> None:
    """Names in the folder are on disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _guarded(root: Root) -> Iterator[None]:
    descriptor = os.open(root.path / "lock.guard", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
