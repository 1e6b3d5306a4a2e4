"""The host keys that lyc's user accepted: a known_hosts file of lyc's own, read by OpenSSH itself.

Looking up and taking out is `ssh-keygen`'s work, which knows hashed names, patterns and ports.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lyc.hosts.ssh.target import Target, effective, run

KEYGEN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class HostKey:
    """One public key of a host. kind: `ssh-ed25519`, …; fingerprint: `SHA256:…`; line: as known_hosts holds it."""

    kind: str
    fingerprint: str
    line: str


def parse(line: str) -> HostKey | None:
    """One line of known_hosts; None for a comment, a blank, one with a marker (`@revoked`) or a broken one."""
    words = line.split()
    if len(words) < 3 or words[0].startswith(("#", "@")):
        return None
    try:
        blob = base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return HostKey(kind=words[1], fingerprint=f"SHA256:{digest}", line=line.strip())


def pin(target: Target, keys: Iterable[HostKey]) -> None:
    """Trust exactly these keys for this host from now on: what was pinned before goes. Written at once or not at all.

    Names are hashed where the user's `HashKnownHosts` says so.
    """
    config = effective(target)
    lines = [
        f"{_hashed(config.name) if config.hashed else config.name} {' '.join(key.line.split()[1:3])}\n" for key in keys
    ]
    _rewrite(target.known_hosts, config.name, "".join(lines))


def forget(target: Target) -> None:
    """Take this host's keys out of lyc's file. What the user's own known_hosts says stays."""
    if target.known_hosts.exists():
        _rewrite(target.known_hosts, effective(target).name, "")


def pinned(target: Target) -> tuple[HostKey, ...]:
    """The keys that lyc's own file holds for this host."""
    return _found((target.known_hosts,), effective(target).name)


def accepted(target: Target) -> tuple[HostKey, ...]:
    """All keys that OpenSSH would take for this host: lyc's, the user's and the system's."""
    config = effective(target)
    return _found((target.known_hosts, *config.files), config.name)


def vouched(target: Target) -> bool:
    """Whether a known_hosts file names an authority (`@cert-authority`) whose certificates this host may show."""
    config = effective(target)
    return any(line.startswith("@cert-authority ") for line in _lines((target.known_hosts, *config.files), config.name))


def _found(files: tuple[Path, ...], name: str) -> tuple[HostKey, ...]:
    return tuple(key for line in _lines(files, name) if (key := parse(line)))


def _lines(files: tuple[Path, ...], name: str) -> list[str]:
    outputs = [
        run(["ssh-keygen", "-F", name, "-f", str(file)], KEYGEN_SECONDS).stdout for file in files if file.is_file()
    ]
    return b"".join(outputs).decode(errors="replace").splitlines()


def _rewrite(file: Path, name: str, more: str) -> None:
    """The file without the keys of `name` and with `more`, on a copy that then takes its place."""
    with _locked(file):
        copy = file.with_name(file.name + ".new")
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(old)
        if old:
            run(["ssh-keygen", "-R", name, "-f", str(copy)], KEYGEN_SECONDS)
            copy.with_name(copy.name + ".old").unlink(missing_ok=True)
        with copy.open("a", encoding="utf-8") as out:
            out.write(more)
            out.flush()
            os.fsync(out.fileno())
        copy.replace(file)


def _hashed(name: str) -> str:
    """`|1|salt|hash`, as `HashKnownHosts` writes it (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    salt = secrets.token_bytes(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.with_name(file.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
