"""How `ssh` is called for one host: the user's configuration, plus what lyc insists on."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lyc.errors import Failed, UsageError

CONNECT_SECONDS = 10
ALIVE_SECONDS, ALIVE_COUNT = 5, 2
"""A probe each 5 s of silence; the link is dead when the third finds two unanswered: 15 s."""
CONFIG_SECONDS = 20.0
FAST_CIPHER = "aes128-gcm@openssh.com"
"""Moves 1.6 × the bytes of OpenSSH's first choice, chacha20-poly1305, for the same time of the processor, wherever that
has AES in hardware (measured with OpenSSH 9.2 on an EPYC: 3.5 s and 5.7 s for 1 GiB, both sides together).
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One host as OpenSSH knows it.

    address, port: as in `lyc.records.host.Host`. known_hosts: lyc's own file of pinned keys; it need not exist yet.
    run_dir: private folder for control sockets. config: instead of `~/.ssh/config` and the system's; None = those.
    identity: file of the only private key that is offered; None = as the configuration says. alias: name under which
    its key is known, None = as the configuration says.
    """

    address: str
    port: int | None
    known_hosts: Path
    run_dir: Path
    config: Path | None = None
    identity: Path | None = None
    alias: str | None = None

    @property
    def shown(self) -> str:
        """`ssh://user@box:2222`, as a person would type it."""
        return f"ssh://{self.address}" + (f":{self.port}" if self.port else "")

    @property
    def control(self) -> Path:
        """The control socket: another one for whatever would reach another machine or trust another key."""
        parts = [self.address, str(self.port), str(self.known_hosts), str(self.config)]
        parts += [str(one) for one in (self.identity, self.alias) if one is not None]
        return self.run_dir / f"ssh-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"

    def argv(self, *more: str) -> list[str]:
        """`ssh` with `more` before the address. Words given to `-o` here win over the user's own."""
        config = ("-F", str(self.config)) if self.config else ()
        port = ("-p", str(self.port)) if self.port else ()
        key = ("-i", str(self.identity), *options(IdentitiesOnly="yes", IdentityAgent="none")) if self.identity else ()
        alias = options(HostKeyAlias=self.alias, CheckHostIP="no") if self.alias else ()
        return ["ssh", *config, *port, *key, *alias, *more, "--", self.address]


@dataclass(frozen=True, slots=True)
class Effective:
    """What OpenSSH's configuration says of a target. files: known_hosts files, the user's before the system's.

    forwards: whether it forwards ports of its own. ciphers: that it may use, the preferred first.
    """

    hostname: str
    port: int
    alias: str | None
    user_files: str
    files: tuple[Path, ...]
    hashed: bool
    forwards: bool
    ciphers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Under which the host stands in known_hosts."""
        if self.alias:
            return self.alias
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"


def effective(target: Target) -> Effective:
    """Ask OpenSSH itself (`ssh -G`). Raises UsageError `ssh-config-refused` or Failed `no-ssh`."""
    done = run(target.argv("-G", "-T"), CONFIG_SECONDS)
    if done.returncode != 0:
        raise UsageError(
            "ssh-config-refused",
            f"OpenSSH does not accept {target.address!r} with its configuration",
            why=last_line(done.stderr),
            where=str(target.config or "~/.ssh/config"),
            hint=f"ssh -G {target.address}",
        )
    found = dict(line.partition(" ")[::2] for line in done.stdout.decode(errors="replace").splitlines())
    user_files = found.get("userknownhostsfile", "~/.ssh/known_hosts")
    alias = found.get("hostkeyalias", "none")
    return Effective(
        hostname=found.get("hostname", target.address.rpartition("@")[2]).lower(),
        port=int(found.get("port", "22")),
        alias=None if alias == "none" else alias,
        user_files=user_files,
        files=tuple(
            Path(word).expanduser()
            for word in (*user_files.split(), *found.get("globalknownhostsfile", "").split())
            if word not in ("none", "/dev/null")
        ),
        hashed=found.get("hashknownhosts") == "yes",
        ciphers=tuple(filter(None, found.get("ciphers", "").split(","))),
        forwards=not found.keys().isdisjoint(("localforward", "remoteforward", "dynamicforward")),
    )


def insisted(target: Target, config: Effective) -> list[str]:
    """Options of every connection that trusts a key: never a question, only known keys, a dead link found in 15 s.

    What is of no use to lyc and could disturb it is off: forwardings, a terminal, the user's own control sockets. Of
    the ciphers that the configuration allows, the fastest comes first.
    """
    own = str(target.known_hosts).replace("%", "%%")
    ciphers = ",".join(sorted(config.ciphers, key=lambda cipher: cipher != FAST_CIPHER))
    return options(
        BatchMode="yes",
        StrictHostKeyChecking="yes",
        UserKnownHostsFile=f'"{own}" {config.user_files}',
        UpdateHostKeys="no",
        **({"Ciphers": ciphers} if ciphers else {}),
        **QUIET,
    )


def options(**words: str) -> list[str]:
    """`-o Key=value` for each."""
    return [part for key, value in words.items() for part in ("-o", f"{key}={value}")]


QUIET = {
    "LogLevel": "ERROR",
    "ConnectTimeout": str(CONNECT_SECONDS),
    "ConnectionAttempts": "1",
    "ServerAliveInterval": str(ALIVE_SECONDS),
    "ServerAliveCountMax": str(ALIVE_COUNT),
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "EscapeChar": "none",
}


def environment() -> Mapping[str, str]:
    """This process's environment, with no window that asks for a password (a jump host's `ssh` could open one)."""
    return os.environ | {"SSH_ASKPASS_REQUIRE": "never"}


def run(argv: list[str], timeout: float) -> subprocess.CompletedProcess[bytes]:
    """Run a program of OpenSSH, apart from the terminal so that it can ask nothing there.

    Raises Failed `no-ssh` and TimeoutError. A child that goes on in the background holds none of our pipes.
    """
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False,
            env=environment(), start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise no_ssh(argv[0]) from error
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{argv[0]} said nothing for {timeout:.0f} s") from error


def no_ssh(program: str) -> Failed:
    """The error of a machine without OpenSSH."""
    return Failed(
        "no-ssh",
        f"{program} is not installed on this machine",
        why="lyc reaches hosts with the system's OpenSSH",
        hint="install OpenSSH's client (Debian and Ubuntu: apt install openssh-client)",
    )


def last_line(output: bytes) -> str:
    """The last line with something in it, for the `why` of an error."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
