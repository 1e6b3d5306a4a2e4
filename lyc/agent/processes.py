"""`start`, `stop`, `list` and `remove` of processes, by systemd or under the shim.

Each of them belongs to an owner; two owners share a machine without ever touching what is the other's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from lyc.agent import containers, shimmed, systemd
from lyc.agent.answer import Refused, read_request
from lyc.agent.folder import Document, Folder, file_name, folders, forget_halves, named, number
from lyc.agent.loopback import free_port, is_free
from lyc.agent.root import Root

PORT = "{port}"
"""Stands in argv for the port that `start` chooses; the same as `lyc.records.process.PORT`."""


def start(root: Root, _arguments: Sequence[str]) -> dict[str, Any]:
    """Start what the request describes unless it is kept here already → `{"port"}`; null where argv names none.

    Raises Refused `bad-request`, `not-the-owner`, `no-free-port`, and what the keeper and `containers.put` raise.
    """
    request = read_request()
    folder = named(root, str(request.get("id")))
    spec = wanted(request)
    private = {file_name(name): str(text) for name, text in (request.get("files") or {}).items()}
    root.replicas.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _alone(root):
        before = folder.spec()
        if before is not None and before.get("owner") != spec["owner"]:
            raise Refused("not-the-owner", f"{folder.identity} belongs to another controller")
        if before is not None and _kept(root, folder):
            return {"port": before["port"]}
        forget_halves(folder.path)
        port = _port(root, folder, before) if any(PORT in word for word in spec["argv"]) else None
        argv = [word.replace(PORT, str(port)) for word in spec["argv"]]
        spec |= {"port": port, "argv": argv, "files": sorted(private)}
        if spec["image"] is not None:
            spec = containers.put(root, folder, spec, private)
            containers.remove_others(root, spec, lambda other: _kept(root, named(root, other)))
        if root.systemd:
            systemd.start(folder, spec, private)
        else:
            shimmed.start(folder, spec, private, root.path)
    return {"port": port}


def stop(root: Root, arguments: Sequence[str]) -> dict[str, Any]:
    """`ID --grace SECONDS`: end it, and return when none of it is left → `{"process": STATUS}`; null for what is not
    known here.
    """
    try:
        identity, flag, seconds = arguments
        grace = float(seconds)
    except ValueError as error:
        raise Refused("bad-request", "stop takes ID --grace SECONDS") from error
    folder = named(root, identity)
    if flag != "--grace":
        raise Refused("bad-request", "stop takes ID --grace SECONDS")
    (systemd if root.systemd else shimmed).stop(folder, max(0.0, grace))
    spec = folder.spec()
    containers.remove(folder, spec)
    return {"process": looking(root).statuses([(folder, spec)])[0] if spec is not None else None}


def list(root: Root, arguments: Sequence[str]) -> dict[str, Any]:
    """`OWNER` → `{"processes": [STATUS…]}`."""
    if len(arguments) != 1:
        raise Refused("bad-request", "list takes OWNER")
    return {"processes": statuses(root, arguments[0], looking(root))}


def remove(root: Root, arguments: Sequence[str]) -> dict[str, Any]:
    """`ID…`: leave nothing of processes that have ended; of what is not known there is nothing → `{}`.

    Raises Refused `still-running`; what comes before that one in the arguments is gone then.
    """
    for folder in [named(root, identity) for identity in arguments]:
        if _kept(root, folder):
            hint = "stop it first"
            raise Refused("still-running", f"{folder.identity} still runs, or is about to be started again", hint=hint)
        with _alone(root):
            containers.remove(folder, folder.spec())
            if root.systemd:
                systemd.remove(folder)
            gone = root.replicas / f".gone-{folder.identity}-{secrets.token_hex(4)}"
            with contextlib.suppress(FileNotFoundError):
                folder.path.rename(gone)  # at once: half a folder is never taken for a process
            for rest in root.replicas.glob(".gone-*"):
                shutil.rmtree(rest, ignore_errors=True)
    return {}


def looking(root: Root) -> systemd.Look | shimmed.Look:
    """What `statuses` looks with; kept, it costs little to look again."""
    return systemd.Look() if root.systemd else shimmed.Look()


def statuses(root: Root, owner: str, look: systemd.Look | shimmed.Look) -> Sequence[Document]:
    """STATUS of every process of an owner."""
    return look.statuses([*folders(root, owner)])


def wanted(request: Document) -> Document:
    """What a request asks for, as `spec.json` keeps it. Raises Refused `bad-request`."""
    argv, env, devices = request.get("argv"), request.get("env") or {}, request.get("devices")
    socket, owner, image = request.get("socket"), request.get("owner"), request.get("image")
    sound = (
        argv and _are(argv, str) and (argv[0].startswith("/") or image is not None),
        isinstance(env, dict) and _are([*env.values()], str),
        devices is None or _are(devices, int),
        socket is None or isinstance(socket, str),
        isinstance(owner, str) and owner,
        image is None or (isinstance(image, str) and not image.startswith("-")),
    )
    for name, is_sound in zip(("argv", "env", "devices", "socket", "owner", "image"), sound, strict=True):
        if not is_sound:
            raise Refused("bad-request", f"{name!r} of the request is not what it should be")
    return {"owner": owner, "socket": socket, "argv": argv, "env": env, "devices": devices, "image": image}


def _are(values: object, kind: type) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(type(value) is kind for value in values)


def _kept(root: Root, folder: Folder) -> bool:
    return systemd.kept(folder) if root.systemd else shimmed.kept(folder)


def _port(root: Root, folder: Folder, before: Document | None) -> int:
    """The one that it had, if it may have it again."""
    taken = {number(spec, "port") for other, spec in folders(root) if other.identity != folder.identity}
    had = number(before, "port")
    return had if had and had not in taken and is_free(had) else free_port(taken)


@contextlib.contextmanager
def _alone(root: Root) -> Iterator[None]:
    """One change at a time on this machine; a killed one lets go."""
    descriptor = os.open(root.replicas / ".lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
