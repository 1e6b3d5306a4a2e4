"""What lyc has and does on the host, told all at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lyc.agent import lease, lock, processes
from lyc.agent.answer import Refused, read_request
from lyc.agent.folder import folders
from lyc.agent.root import Root


def use(root: Root, arguments: list[str]) -> dict[str, Any]:
    """stdin `{"owner"}` → `{lock, lease, engines, snapshots, weights, processes, others}`.

    lock, lease: as those modules tell their state, or null. engines: bytes by build. snapshots: how many; weights:
    bytes of all of them. processes: state by id, of this owner; others: how many of other owners run.
    """
    owner = str(read_request().get("owner") or "")
    if arguments or not owner:
        raise Refused("bad-request", "what is used is told to an owner")
    others = {str(spec.get("owner")) for _, spec in folders(root)} - {owner}
    snapshots = root.store / "snapshots"
    return {
        "lock": lock.state(root),
        "lease": lease.state(root),
        "engines": {build.name: occupied(build) for build in _folders(root.engines)},
        "snapshots": len(_folders(snapshots)),
        "weights": occupied(root.store / "blobs"),
        "processes": {one["id"]: one["state"] for one in processes.list(root, [owner])["processes"]},
        "others": sum(
            one["state"] == "running" for other in others for one in processes.list(root, [other])["processes"]
        ),
    }


def occupied(folder: Path) -> int:
    """Bytes on disk of all files below a folder, a file of several names once. What vanishes meanwhile is left out."""
    seen: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = Path(place, name).lstat()
            except OSError:
                continue
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except FileNotFoundError:
        return []
