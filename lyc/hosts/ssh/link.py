"""The shared connection to one host (OpenSSH's ControlMaster), and the reason when there is none.

Why a connection was refused is never read out of ssh's words: the machine is looked at once more, without a
credential, and the key that it shows is compared with the keys that are known.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lyc.errors import Failed, LycError, NotAuthorised
from lyc.hosts.ssh.known import HostKey, accepted, vouched
from lyc.hosts.ssh.scan import scan, unreachable
from lyc.hosts.ssh.target import (
    CONNECT_SECONDS,
    Effective,
    Target,
    effective,
    environment,
    insisted,
    last_line,
    no_ssh,
    options,
)

PERSIST_SECONDS = 60
OPEN_SECONDS = 3.0 * CONNECT_SECONDS
"""For the whole of connecting: a name, jump hosts, the key exchange, a token to touch."""


class Link:
    """The connection that all commands to one host share. Safe for threads and for several processes."""

    def __init__(self, target: Target, *, persist: int = PERSIST_SECONDS) -> None:
        self.target = target
        self._persist = persist
        self._config: Effective | None = None

    def argv(self, *more: str) -> list[str]:
        """`ssh` over the shared connection; if it is gone by then, over one of its own with the same guards."""
        return self.target.argv(*self._insisted(), *self._control("no"), *more)

    def alive(self) -> bool:
        """Whether somebody listens at the control socket. Takes microseconds; says nothing of the far side."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(2.0)
            probe.connect(str(self.target.control))
            return True
        return False

    def ensure(self) -> None:
        """Have a connection. Raises Unreachable `host-unreachable`, NotAuthorised `host-denied`, Failed
        `host-key-unknown` or `host-key-changed`.
        """
        if self.alive():
            return
        with self._locked():
            if self.alive():
                return
            self.target.control.unlink(missing_ok=True)  # of a master that was killed: a new one would not bind
            self._open()

    def close(self) -> None:
        """End the connection if there is one, with all that runs over it."""
        if self.alive():
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    self.target.argv(*self._control("no"), "-O", "exit"), env=environment(), timeout=10.0,
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
                )  # fmt: skip

    def _insisted(self) -> list[str]:
        if self._config is None:
            self._config = effective(self.target)
        return insisted(self.target, self._config)

    def _control(self, master: str) -> list[str]:
        path = str(self.target.control).replace("%", "%%")
        return options(ControlPath=path, ControlMaster=master, ControlPersist=str(self._persist))

    def _open(self, *, again: bool = True) -> None:
        self._config = None  # the user may have mended their configuration since
        argv = self.target.argv(*self._insisted(), *self._control("yes"), "-N", "-f")
        began = time.monotonic()
        # Not a pipe: the master goes on in the background, and with older versions keeps stderr open.
        with tempfile.TemporaryFile() as said:
            try:
                code = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, check=False,
                    timeout=OPEN_SECONDS, env=environment(), start_new_session=True,
                ).returncode  # fmt: skip
            except FileNotFoundError as error:
                raise no_ssh("ssh") from error
            except subprocess.TimeoutExpired:
                raise unreachable(self.target, f"no connection within {OPEN_SECONDS:.0f} s") from None
            said.seek(0)
            why = last_line(said.read())
        if code == 0:
            return
        if time.monotonic() - began >= CONNECT_SECONDS:
            raise unreachable(self.target, why)  # to ask once more would take as long again
        found = diagnosed(self.target, why)
        if not again or not isinstance(found, NotAuthorised):
            raise found
        # It answers now, with the right key. Whether it refused us or was being restarted, only another try tells.
        self._open(again=False)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self.target.run_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.lstat()
        if status.st_uid != os.getuid() or folder.is_symlink() or status.st_mode & 0o077:
            raise Failed("run-dir-not-ours", f"{folder} is open to others", hint=f"chmod 700 {folder}, if it is yours")
        with self.target.control.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def diagnosed(target: Target, why: str) -> LycError:
    """Why a connection was not made, found by looking at the host's key. Raises Unreachable if none is shown."""
    shown, known = scan(target), accepted(target)
    same = {key.fingerprint for key in shown} & {key.fingerprint for key in known}
    if same or (not known and vouched(target)):
        return NotAuthorised(
            "host-denied",
            f"{target.address} does not let you in",
            why=why,
            where=target.shown,
            hint=f"ssh {f'-p {target.port} ' if target.port else ''}{target.address} true",
        )
    return changed(target, shown, known) if known else unknown(target, shown)


def unknown(target: Target, shown: tuple[HostKey, ...]) -> Failed:
    """First contact: the key is nobody's acquaintance yet."""
    return Failed(
        "host-key-unknown",
        f"the host key of {target.address} is not known",
        why=", ".join(f"it shows {key.kind} {key.fingerprint}" for key in shown),
        where=target.shown,
        hint=f"compare it with the machine's own (there: {ON_THE_HOST}), then: {settled_by(target, shown)}",
    )


def changed(target: Target, shown: tuple[HostKey, ...], known: tuple[HostKey, ...]) -> Failed:
    """Another machine, a machine installed anew, or somebody in between: the user has to say which."""
    same = [key for key in known if key.kind in {new.kind for new in shown}] or known
    return Failed(
        "host-key-changed",
        f"{target.address} shows another host key than the one that was accepted",
        why=f"accepted: {', '.join(dict.fromkeys(key.fingerprint for key in same))}; "
        f"shown now: {', '.join(key.fingerprint for key in shown)}",
        where=target.shown,
        hint=f"if the machine was installed anew (compare there: {ON_THE_HOST}): {settled_by(target, shown)}",
    )


ON_THE_HOST = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"


def settled_by(target: Target, shown: tuple[HostKey, ...]) -> str:
    """The command that accepts these keys."""
    return f"lyc hosts add {target.shown} --accept-host-key {shown[0].fingerprint}"
