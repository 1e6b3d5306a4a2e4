"""Before lyc leaves the host: nothing runs here any more. The rest (units, folder, account) goes by the undo of the
steps that made it, from outside, because this program and its interpreter are part of it.
"""

from __future__ import annotations

from typing import Any

from lyc.agent import images, lock, processes
from lyc.agent.answer import Refused, read_request
from lyc.agent.folder import folders
from lyc.agent.lease import running, stop_all
from lyc.agent.root import Root


def purge(root: Root, arguments: list[str]) -> dict[str, Any]:
    """stdin `{"owner", "force": bool}` → {"stopped": [ids], "removed": [ids]}: every process of every owner.

    Raises Refused `host-in-use` without `force` while a process of another owner runs, or that holds the lock. What
    another owner has only left behind does not keep the host.
    """
    request = read_request()
    owner = str(request.get("owner") or "")
    if arguments or not owner:
        raise Refused("bad-request", "a purge needs an owner")
    if request.get("force") is not True:
        _alone(root, owner)
    stopped = stop_all(root, lambda: True)
    removed = [folder.identity for folder, _ in list(folders(root))]
    if removed:
        processes.remove(root, removed)
    images.remove_pulled(root)
    return {"stopped": stopped, "removed": removed}


def _alone(root: Root, owner: str) -> None:
    held = lock.state(root)
    if held is not None and held["owner"] != owner:
        raise _in_use(f"{held['who'] or held['owner']} is at work on it, since {lock.shown(held['age'])}")
    if others := running(root, without=owner):
        raise _in_use(f"another controller runs {', '.join(others)} there")


def _in_use(why: str) -> Refused:
    return Refused(
        "host-in-use",
        "the host is in use by another controller",
        why=why,
        hint="lyc hosts rm NAME --purge --force, if that may end",
    )
