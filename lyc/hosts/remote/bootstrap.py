"""Makes a bare host fit to run engines, and takes all of it away again: the table of `lyc.hosts.remote.steps`, run.

A host that is prepared costs one round trip. What it was found to have is kept as `Prepared`, with which the agent is
called without any.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lyc.agent.units import UNIT_PATH, template
from lyc.engines.install_words import install_words
from lyc.engines.versions import PYTHON_NEWEST, PYTHON_OLDEST
from lyc.errors import Failed
from lyc.hosts.remote.calls import Agent
from lyc.hosts.remote.egress import Egress
from lyc.hosts.remote.found import Found, found
from lyc.hosts.remote.lease_units import lease_units
from lyc.hosts.remote.places import places
from lyc.hosts.remote.program import agent_zip
from lyc.hosts.remote.rights import Rights, rights
from lyc.hosts.remote.sent import sent
from lyc.hosts.remote.steps import NO_PYTHON, TAKEN, Ground, Step, check, do, steps, undo
from lyc.hosts.ssh.remote import SshRemote, last_lines
from lyc.hosts.ssh.target import last_line
from lyc.records.host import Completed, RemoteFacts
from lyc.units import KIB, MIB, show_bytes

CHECK_SECONDS, STEP_SECONDS, PURGE_SECONDS = 60.0, 900.0, 300.0
RATE = 64 << 10
"""A step may take a second more for each 64 KiB that goes along."""
LEAST_FREE = 256 * MIB
"""With less, what failed is taken to have failed for it: uv alone unpacks to 40 MB, a Python to 100."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a prepared host has. A record to keep (`document`), so that a later call needs not ask.

    mode, prefix, root: `lyc.hosts.remote.rights`. python: version of the interpreter, `3.11`. program: digest of the
    agent there. lost: what the host cannot do for lack of rights, in words.
    """

    mode: str
    prefix: tuple[str, ...]
    root: str
    python: str
    program: str
    lost: str = ""

    def agent(self, remote: SshRemote) -> Agent:
        """The agent there. No round trip."""
        return Agent(
            remote.prefixed(*self.prefix) if self.prefix else remote,
            PurePosixPath(self.root),
            f"{self.root}/python3",
            f"{self.root}/agent/{self.program}.pyz",
        )

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"prefix": list(self.prefix)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Prepared:
        """Of `document`. Raises KeyError for one that lacks something."""
        known = {name: str(document[name]) for name in ("mode", "root", "python", "program", "lost")}
        return cls(**known, prefix=tuple(map(str, document["prefix"])))


def agent_of(remote: SshRemote, known: Mapping[str, Any] | None) -> Agent | None:
    """The agent of a host by the record of its last bootstrapping, without a round trip.

    None where there is no record, or it is of another release of lyc: then bootstrap.
    """
    try:
        prepared = Prepared.of(known or {})
    except KeyError:
        return None
    return prepared.agent(remote) if prepared.program == agent_zip()[1] else None


class Bootstrap:
    """One host. remote: without a prefix. facts: of a look at it. owner: id of this controller's home. environ: of this
    machine. egress: lends the host a way out where it has none; None = never.

    After `run`, `prepared` says what there is and `changed` whether anything had to be done.
    """

    def __init__(
        self, remote: SshRemote, facts: RemoteFacts, *, owner: str, environ: Mapping[str, str], egress: Egress | None
    ) -> None:
        self._rights = rights(facts)
        self._remote = remote.prefixed(*self._rights.prefix)
        self._login = remote
        self._facts = facts
        self._owner = owner
        self._environ = environ
        self._egress = egress
        self._ground = ground(self._rights, facts)
        self.prepared: Prepared | None = None
        self.changed = False

    def run(self, say: Say) -> Agent:
        """Do what is missing. May be called again after a kill at any instant, on either side.

        Raises Failed `bootstrap-failed`, `account-taken`, `no-python-for-engines`, `no-space-on-host`; Locked
        `host-locked` where another controller is at work and something is missing; what `Remote.run` raises.
        """
        now = self._look()
        if now.missing:
            if refusal := now.locked(self._owner):
                raise refusal
            if self._rights.lost:
                say(self._rights.lost)
            for step in steps(self._ground):
                if step.name in now.missing:
                    say(f"making {step.said}")
                    self._make(step, say)
            self.changed = True
            now = self._look()
        if now.missing:
            raise self._error("bootstrap-failed", f"it still lacks {', '.join(sorted(now.missing))}", ())
        mode, lost = self._rights.mode, self._rights.lost
        root, program = str(self._rights.root), agent_zip()[1]
        self.prepared = Prepared(mode, self._rights.prefix, root, now.python, program, lost)
        return self.prepared.agent(self._login)

    def purge(self, say: Say, *, force: bool) -> bool:
        """Leave nothing of lyc there but the journal. Whether there was anything. Twice is a success.

        Raises Failed `host-in-use` without `force` while another controller runs engines there or holds the lock;
        Failed `purge-failed`; what `Remote.run` raises.
        """
        now = self._look()
        if not now.here:
            return False
        if now.replicas:
            for step in steps(self._ground):  # engines are stopped by lyc's own program, so that must be whole
                if step.name in now.missing and step.name != "units":
                    self._make(step, say)
            say("stopping what runs there")
            request = {"owner": self._owner, "force": force}
            self._agent().call("purge", request=request, timeout=PURGE_SECONDS)
        elif not force and (refusal := now.locked(self._owner)):
            raise Failed("host-in-use", refusal.what, why=refusal.why, hint="lyc hosts rm NAME --purge --force")
        say("removing lyc from it")
        argv = ["sh", "-c", undo(self._ground), "sh", str(self._rights.root), self._ground.account]
        done = self._remote.run(argv, timeout=PURGE_SECONDS, check=False)
        if done.code != 0:
            raise self._error("purge-failed", last_line(done.stderr), last_lines(done.stderr))
        return True

    def _agent(self) -> Agent:
        root = str(self._rights.root)
        return Prepared(self._rights.mode, self._rights.prefix, root, "", agent_zip()[1]).agent(self._login)

    def _look(self) -> Found:
        argv = ["sh", "-c", check(self._ground), "sh", str(self._rights.root), self._ground.account]
        done = self._remote.run(argv, timeout=CHECK_SECONDS)
        return found(done.stdout.decode(errors="replace"), [step.name for step in steps(self._ground)])

    def _make(self, step: Step, say: Say) -> None:
        done = self._make_python(step, say) if step.sent == "python" else self._run(step, {})
        if done.code == 0:
            return
        why, detail = last_line(done.stderr), last_lines(done.stderr)
        if done.code == TAKEN:
            raise Failed(
                "account-taken", f"lyc cannot make its account on {self._address}", why=why, where=self._where,
                hint="rename that account or group; engines run as an account that is lyc's alone",
            )  # fmt: skip
        if done.code == NO_PYTHON:
            oldest, newest = (".".join(map(str, version)) for version in (PYTHON_OLDEST, PYTHON_NEWEST))
            raise Failed(
                "no-python-for-engines",
                f"{self._address} has no Python between {oldest} and {newest}, and none could be fetched",
                why=why,
                where=self._where,
                hint=install_words(self._facts.os_id, "python3 python3-dev"),
                detail=detail,
            )
        if (free := self._free()) is not None and free < LEAST_FREE:
            raise Failed(
                "no-space-on-host",
                f"there is not enough space on {self._address}",
                why=f"{show_bytes(free)} are free where {self._rights.root} is",
                where=self._where,
                hint=f"on the host: df -h {self._rights.root.parent}",
                detail=detail,
            )
        raise self._error("bootstrap-failed", f"{step.said}: {why or f'it ended with {done.code}'}", detail)

    def _free(self) -> int | None:
        """Bytes that may be written there; None where that cannot be told."""
        script = 'cd "$1" && df -Pk . | tail -n 1'
        done = self._remote.run(["sh", "-c", script, "sh", str(self._rights.root.parent)], check=False)
        words = done.stdout.decode(errors="replace").split()
        return int(words[-3]) * KIB if len(words) >= 6 and words[-3].isdigit() else None

    def _make_python(self, step: Step, say: Say) -> Completed:
        """One that is there if any fits; else uv fetches one, by our way out if the host has none."""
        wish = "headers" if self._facts.accelerators else "any"
        done = self._run(step, {"lyc_wish": wish, "lyc_fetch": "no"})
        if done.code != NO_PYTHON:
            return done
        settings = {"lyc_wish": wish, "lyc_fetch": "yes"}
        where = places(self._environ, Path(sys.prefix))
        closed = self._facts.reaches.get(where.index) is False
        fetched = Completed(NO_PYTHON, b"", b"") if closed else self._run(step, settings | where.variables)
        if fetched.code == NO_PYTHON and self._egress is not None:
            with self._egress.lent(where, all_of_it=True) as proxies:
                fetched = self._run(step, settings | where.variables | proxies)
        if fetched.code == NO_PYTHON and wish == "headers":
            without = self._run(step, {"lyc_wish": "any", "lyc_fetch": "no"})
            if without.code == 0:
                mend = install_words(self._facts.os_id, "python3-dev")
                say(f"its Python has no headers, which Triton compiles against, and none could be fetched: {mend}")
            return fetched if without.code == NO_PYTHON else without
        return fetched

    def _run(self, step: Step, variables: Mapping[str, str]) -> Completed:
        payload = sent(step.sent, self._ground, self._facts, self._environ, variables)
        argv = ["sh", "-c", do(step), "sh", str(self._rights.root), self._ground.account, "1" if payload else "0"]
        timeout = STEP_SECONDS + len(payload) / RATE
        return self._remote.run(argv, stdin=payload, timeout=timeout, check=False)

    @property
    def _address(self) -> str:
        return self._remote.target.address

    @property
    def _where(self) -> str:
        return self._remote.target.shown

    def _error(self, ref: str, why: str, detail: tuple[str, ...]) -> Failed:
        what = "could not be made ready for engines" if ref == "bootstrap-failed" else "still has something of lyc"
        return Failed(
            ref, f"{self._address} {what}", why=why, where=self._where, hint="lyc hosts check NAME", detail=detail
        )


def ground(allowed: Rights, facts: RemoteFacts) -> Ground:
    """What the steps are told of a host that was looked at."""
    root, digest = str(allowed.root), agent_zip()[1]
    python, program = f"{root}/python3", f"{root}/agent/{digest}.pyz"
    units = {PurePosixPath(UNIT_PATH).name: template(root, python, program)} if allowed.system else {}
    units |= lease_units(root, python, program) if allowed.system else {}
    return Ground(allowed, facts.systemd is not None, f"{digest}.pyz", units)
