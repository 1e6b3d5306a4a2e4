"""What is true of a process: from its folder, from /proc, and where those do not say it, from systemd. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lyc.agent.folder import Document, number

RUNS_ENGINE, WAITS, GAVE_UP = "running", "waiting", "gave-up"
"""States of the record that `launch` keeps."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What systemd says of a unit: `systemctl show`. pid: of the last main process. code, status: as waitid(2) says."""

    active: str = "inactive"
    sub: str = "dead"
    job: bool = False
    pid: int = 0
    code: int = 0
    status: int = 0

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; CLD_EXITED is 1, CLD_KILLED 2, CLD_DUMPED 3."""
        return {1: self.status, 2: -self.status, 3: -self.status}.get(self.code)

    @property
    def ending(self) -> bool:
        """Whether something of it may be left, or its end is not noted yet."""
        return self.active in ("deactivating", "active", "reloading")

    @property
    def over(self) -> bool:
        """Whether systemd will not start it again by itself."""
        return self.active in ("inactive", "failed") and not self.job


def document(identity: str, spec: Document, state: str, record: Document | None, **known: object) -> Document:
    """STATUS, as `list` and `watch` say it."""
    return {
        "id": identity, "state": state, "pid": number(record, "pid") or None, "exit_code": None, "ended_at": None,
        "port": spec.get("port"), "socket": spec.get("socket"), "starts": number(record, "starts") or 1,
        "gave_up": False, "crash_loop": False, "rebooted": number(record, "starts") > 1 and _clean(record),
    } | known  # fmt: skip


def _clean(record: Document | None) -> bool:
    """Whether no crash came before its last start, as `lyc.agent.launch.crashes` counts them: it was a boot."""
    return record is not None and record.get("crashes") == 0


def settled(
    identity: str, spec: Document, record: Document | None, end: Document | None, *, alive: bool
) -> Document | None:
    """The status where the records alone tell it; None where systemd must be asked. alive: the record's process."""
    if record is None:
        return document(identity, spec, "absent", None)
    if alive and record.get("state") == RUNS_ENGINE:
        return document(identity, spec, "running", record)
    if alive and record.get("state") == WAITS:
        return _exited(identity, spec, record, end, Unit("activating"))
    return None


def asked(
    identity: str, spec: Document, record: Document, end: Document | None, unit: Unit,
    *, rebooted: bool = False, going_down: bool = False,
) -> Document:  # fmt: skip
    """The status of a process that does not live. end: as `ended` left it, of this process or an earlier one.
    rebooted: the record is of another boot. going_down: the machine is about to end, and starts it again if it comes
    back.
    """
    if record.get("state") == RUNS_ENGINE and unit.ending:
        return document(identity, spec, "running", record)
    found = _exited(identity, spec, record, end, unit)
    if not found["crash_loop"] and (rebooted or going_down):
        found |= {"rebooted": True, "gave_up": found["gave_up"] and not going_down}
    return found


def _exited(identity: str, spec: Document, record: Document, end: Document | None, unit: Unit) -> Document:
    pid, code, at = record["pid"], None, None
    if end is not None and end.get("starts") == record.get("starts"):
        pid, code, at = end.get("pid"), end.get("code"), end.get("at")  # the record may be of the next, which waits
    elif record.get("state") == RUNS_ENGINE and unit.pid == record["pid"]:
        code = unit.exit_code  # its end could not be written down, on a full disk for example
    over = unit.over or record.get("state") == GAVE_UP
    looped = record.get("state") == GAVE_UP
    known = {"pid": pid, "exit_code": code, "ended_at": at, "gave_up": over, "crash_loop": looped, "rebooted": False}
    return document(identity, spec, "exited", record, **known)
