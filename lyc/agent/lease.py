"""The dead-man's switch: a host whose controller has been silent for too long stops what runs on it, by itself.

    lease.json    {seconds, action, boot_id, boottime}; renewed by the controller, read by a timer of systemd
    POD           in a rented container without systemd: epoch seconds at which it gives itself back, or `never`; the
                  command that it was started with watches it (`lyc.providers.runpod.start`)

Time is CLOCK_BOOTTIME: a clock that jumps changes nothing, and after a boot the time counts from the boot. In a pod it
is that of the day, which is the clock that its watch has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lyc.agent import processes
from lyc.agent.answer import Refused, read_request
from lyc.agent.folder import folders
from lyc.agent.lock import boottime, shown, sync
from lyc.agent.root import Root
from lyc.agent.shim import boot_id, write_atomically

ACTIONS = ("stop", "poweroff")
GRACE_SECONDS = 10.0
POWEROFF = ("systemctl", "poweroff")
UNCLAIMED = "lyc-unclaimed"
"""Timer of a rented machine, made at its first start, that powers it off if nobody ever comes to hold a lease."""
POD = Path("/run/lyc-pod/until")


def lease(root: Root, arguments: list[str]) -> dict[str, Any]:
    """stdin `{"seconds", "action": "none" | "stop" | "poweroff"}` → {}: from now on, so many seconds of silence.

    `none`, or null seconds, ends the lease. Raises Refused `no-lease` where nothing would watch over it.
    """
    request = read_request()
    seconds, action = request.get("seconds"), request.get("action", "none")
    if arguments or action not in ("none", *ACTIONS):
        raise Refused("bad-request", f"a lease does none, stop or poweroff, not {action!r}")
    if action == "none" or seconds is None:
        _path(root).unlink(missing_ok=True)
        sync(root.path)
        hold(POD, "never")
        return {}
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise Refused("bad-request", f"a lease lasts some seconds, not {seconds!r}")
    in_pod = action == "poweroff" and hold(POD, str(int(time.time() + seconds)))
    if not root.systemd and not in_pod:
        raise Refused(
            "no-lease",
            "the host cannot watch over a lease",
            why="that takes a timer of systemd, and the rights of root",
            hint="lyc hosts check NAME",
        )
    write_atomically(_path(root), {"seconds": seconds, "action": action, "boot_id": boot_id(), "boottime": boottime()})
    if action == "poweroff" and root.systemd:
        # Each time, after the lease: whoever is killed in between leaves both, never none.
        subprocess.run(("systemctl", "stop", f"{UNCLAIMED}.timer"), capture_output=True, check=False)
    return {}


def hold(pod: Path, until: str) -> bool:
    """Say when a pod ends; whether this is one. Its watch must never read half of it."""
    if not pod.is_file() or not os.access(pod, os.W_OK):
        return False
    new = pod.with_name(f"{pod.name}.lease")
    new.write_text(f"{until}\n")
    new.rename(pod)
    return True


def lease_check(root: Root, arguments: list[str]) -> dict[str, Any]:  # noqa: ARG001 (every command takes them)
    """What the timer runs: acts if the lease has run out → {"expired": bool, "stopped": [ids]}."""
    held = read(root)
    if held is None or not expired(held, boottime(), boot_id()):
        return {"expired": False, "stopped": []}
    stopped = stop_all(root, lambda: read(root) == held)
    if read(root) != held:
        _note("the controller is back: its lease was renewed")
        return {"expired": False, "stopped": stopped}
    if stopped:
        _note(f"stopped {', '.join(stopped)}: nothing was heard of the controller for {shown(held['seconds'])}")
    if held["action"] == "poweroff":
        _note("powering off, as the lease of this host says")
        subprocess.run(POWEROFF, check=True)
    return {"expired": True, "stopped": stopped}


def expired(held: dict[str, Any], now: float, boot: str) -> bool:
    """Whether the lease has run out. now: CLOCK_BOOTTIME; boot: id of this boot. Pure."""
    since = held["boottime"] if held["boot_id"] == boot else 0.0
    return bool(now - since >= held["seconds"])


def state(root: Root) -> dict[str, Any] | None:
    """`{seconds, action, left}`, if there is a lease. left: seconds, 0 when it has run out."""
    held = read(root)
    if held is None:
        return None
    since = held["boottime"] if held["boot_id"] == boot_id() else 0.0
    left = max(held["seconds"] - (boottime() - since), 0.0)
    return {"seconds": held["seconds"], "action": held["action"], "left": left}


def read(root: Root) -> dict[str, Any] | None:
    """The lease. One that cannot be read counts as none: to stop engines because of a broken file would be worse."""
    try:
        found = json.loads(_path(root).read_bytes())
        known = {name: found[name] for name in ("seconds", "action", "boot_id", "boottime")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        _note("lease.json cannot be read; nothing is done")
        return None
    return known


def stop_all(root: Root, wanted: Callable[[], bool]) -> list[str]:
    """Stop what runs here, of every owner, as long as `wanted` says so → the ids of what was stopped."""
    stopped = []
    for identity in running(root):
        if not wanted():
            break
        processes.stop(root, [identity, "--grace", f"{GRACE_SECONDS:g}"])
        stopped.append(identity)
    return stopped


def running(root: Root, *, without: str | None = None) -> list[str]:
    """Ids of what runs here or is about to be started again, but for those of one owner."""
    there = [(folder, spec) for folder, spec in folders(root) if spec.get("owner") != without]
    found = processes.looking(root).statuses(there)
    return [
        one["id"] for one in found if one["state"] == "running" or (one["state"] == "exited" and not one["gave_up"])
    ]


def _path(root: Root) -> Path:
    return root.path / "lease.json"


def _note(text: str) -> None:
    """Into the journal, as a warning: stderr of the timer's unit goes there."""
    sys.stderr.write(f"<4>lyc: {text}\n")
    sys.stderr.flush()
