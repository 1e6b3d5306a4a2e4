"""Keeps processes by systemd: one unit of the template `lyc-replica@.service` for each."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lyc.agent import cards
from lyc.agent.answer import Refused
from lyc.agent.folder import Document, Folder, forget_halves, lives, write
from lyc.agent.root import ACCOUNT
from lyc.agent.shim import boot_id
from lyc.agent.status import Unit, asked, settled
from lyc.agent.units import UNIT_PATH, container_drop_in, drop_in, drop_in_path, unit, wanted_path

CALL_SECONDS = 60.0
LAST_LINES = 12
NEWS_SECONDS, ASK_SECONDS = 3.0, 1.0
_UNIT = ("Id", "ActiveState", "SubState", "Job", "ExecMainPID", "ExecMainCode", "ExecMainStatus")


def start(folder: Folder, spec: Document, secrets: Mapping[str, str]) -> None:
    """Start what is not `kept`. Each step may have been done before: whoever was killed in between begins again.

    spec: with `run` for a container, whose files are there already. Raises Refused `no-account`, `no-such-card`,
    `process-not-started`.
    """
    name = unit(folder.identity)
    try:
        group = grp.getgrnam(ACCOUNT).gr_gid
    except KeyError as error:
        raise Refused("no-account", f"this machine has no account {ACCOUNT}") from error
    granted = cards.granted(spec["devices"])
    folder.path.mkdir(mode=0o700, exist_ok=True)
    if "run" not in spec:
        os.chown(folder.path, 0, group)
        folder.path.chmod(0o1770)
    for stale in ("process.json", "exit.json"):
        (folder.path / stale).unlink(missing_ok=True)
    write(folder.path / "spec.json", json.dumps(spec), mode=0o640, user=0, group=group)
    if "run" in spec:
        text = container_drop_in()
    else:
        for secret, content in secrets.items():
            write(folder.path / secret, content, user=0, group=0)
        sources = {secret: folder.path / secret for secret in secrets}
        text = drop_in(sources, granted.devices, granted.groups, granted.before)
    drop_ins = Path(drop_in_path(folder.identity))
    drop_ins.parent.mkdir(exist_ok=True)
    forget_halves(drop_ins.parent)
    write(drop_ins, text, mode=0o644)
    link = Path(wanted_path(folder.identity))
    if not link.is_symlink():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(UNIT_PATH)
    known = _show([name], ("ActiveState", "DropInPaths", "NeedDaemonReload"))[0]
    if known.get("ActiveState") == "failed":
        call("reset-failed", name)
    if str(drop_ins) not in known.get("DropInPaths", "").split() or known.get("NeedDaemonReload") != "no":
        call("daemon-reload")
    _start(name)


def _start(name: str) -> None:
    done = call("start", name, check=False)
    if done.returncode == 0:
        return
    said = done.stderr.strip().splitlines()
    raise Refused(
        "process-not-started",
        f"systemd did not start {name}",
        why=said[0] if said else f"systemctl ended with {done.returncode}",
        hint=f"journalctl -u {name}",
        detail=_last_lines(name),
    )


def stop(folder: Folder, grace: float) -> None:
    """SIGTERM to the engine, after `grace` seconds SIGKILL to all. Returns when none is left; it stays down then, also
    over a boot. Raises Refused `process-not-stopped`.
    """
    name = unit(folder.identity)
    Path(wanted_path(folder.identity)).unlink(missing_ok=True)
    with subprocess.Popen(
        ["systemctl", "stop", name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as stopping:
        try:
            stopping.wait(grace)
        except subprocess.TimeoutExpired:
            call("kill", "--signal=KILL", name, check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                stopping.wait(CALL_SECONDS)
            stopping.kill()
    left = units([folder.identity])[folder.identity]
    if not left.over:
        raise Refused(
            "process-not-stopped",
            f"{name} does not end",
            why=f"it is {left.active} ({left.sub}), also after SIGKILL",
            hint=f"systemctl status {name}",
        )


def kept(folder: Folder) -> bool:
    """Whether it runs, or systemd is about to start it."""
    return not units([folder.identity])[folder.identity].over


def remove(folder: Folder) -> None:
    """Its unit's files, and what systemd remembers of it. It must have ended."""
    Path(wanted_path(folder.identity)).unlink(missing_ok=True)
    shutil.rmtree(Path(drop_in_path(folder.identity)).parent, ignore_errors=True)
    call("reset-failed", unit(folder.identity), check=False)


@dataclass(slots=True)
class _Told:
    """key: what the status was made of. changed, asked: when that changed, and when systemd was asked last."""

    key: tuple[object, ...]
    document: Document
    changed: float
    asked: float


class Look:
    """Looks at processes again and again, and asks systemd only where the records do not tell, and something is new:
    at once, for some seconds after a change, and each second while a process is about to be started again.
    """

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def statuses(self, found: Sequence[tuple[Folder, Document]]) -> list[Document]:
        """What is true of each now."""
        now = time.monotonic()
        told: dict[str, _Told] = {}
        doubtful: list[tuple[Folder, Document, Document]] = []
        for folder, spec in found:
            record, name = folder.process(), folder.identity
            alive = record is not None and lives(record)
            key = (folder.signature(), alive)
            before = self._told.get(name)
            if before is not None and before.key == key and not _is_doubtful(before, now):
                told[name] = before
                continue
            changed = before.changed if before is not None and before.key == key else now
            status = settled(name, spec, record, folder.end(), alive=alive)
            told[name] = _Told(key, status or {}, changed, now)
            if status is None and record is not None:
                doubtful.append((folder, spec, record))
        shown = units([folder.identity for folder, _, _ in doubtful])
        down = any(one.over for one in shown.values()) and going_down()
        for folder, spec, record in doubtful:
            name, another = folder.identity, record.get("boot_id") != boot_id()
            told[name].document = asked(
                name, spec, record, folder.end(), shown[name], rebooted=another, going_down=down
            )
        self._told = told
        return [told[folder.identity].document for folder, _ in found]


def _is_doubtful(told: _Told, now: float) -> bool:
    """Whether a status may have changed though its records have not."""
    (_, alive), status = told.key, told.document
    if alive or status["state"] == "absent" or status["gave_up"]:
        return False
    return now - told.changed < NEWS_SECONDS or now - told.asked >= ASK_SECONDS


def units(identities: Sequence[str]) -> dict[str, Unit]:
    """What systemd knows of each: one call, however many."""
    if not identities:
        return {}
    found = {}
    for words in _show([unit(identity) for identity in identities], _UNIT):
        numbers = [int(words.get(name) or 0) for name in ("ExecMainPID", "ExecMainCode", "ExecMainStatus")]
        active, sub, job = words.get("ActiveState", ""), words.get("SubState", ""), words.get("Job", "")
        found[words.get("Id", "")] = Unit(active, sub, job not in ("", "0"), *numbers)
    return {identity: found.get(unit(identity), Unit()) for identity in identities}


def going_down() -> bool:
    """Whether the machine is about to end, or to boot anew: what runs is stopped for that."""
    return call("is-system-running", check=False).stdout.strip() == "stopping"


def _show(names: Sequence[str], properties: Sequence[str]) -> list[dict[str, str]]:
    done = call("show", f"--property={','.join(properties)}", "--", *names)
    return [dict(line.partition("=")[::2] for line in block.splitlines()) for block in done.stdout.split("\n\n")]


def call(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`systemctl`. Raises Refused `systemd-failed`."""
    argv = ["systemctl", "--no-ask-password", *words]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=CALL_SECONDS,
            check=False, env={"PATH": os.defpath, "LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        why = f"it said nothing for {CALL_SECONDS:.0f} s"
        raise Refused("systemd-failed", f"`systemctl {words[0]}` does not return", why=why) from error
    if check and done.returncode != 0:
        raise Refused("systemd-failed", f"`systemctl {words[0]}` failed", why=done.stderr.strip())
    return done


def _last_lines(name: str) -> list[str]:
    """What systemd and the process said last."""
    done = subprocess.run(
        ["journalctl", "--unit", name, "--lines", str(LAST_LINES), "--output=cat", "--quiet"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=CALL_SECONDS, check=False,
    )  # fmt: skip
    return done.stdout.splitlines()
