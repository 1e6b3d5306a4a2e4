"""Which key a machine shows, seen through the user's own configuration, so that jump hosts and aliases work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lyc.errors import Unreachable
from lyc.hosts.ssh.known import HostKey, parse
from lyc.hosts.ssh.target import CONNECT_SECONDS, QUIET, Target, effective, last_line, options, run

SCAN_SECONDS = 2.0 * CONNECT_SECONDS


def scan(target: Target) -> tuple[HostKey, ...]:
    """The host key that OpenSSH would be shown: it connects, takes the key into a file that is thrown away, and ends
    before it has offered any credential to the machine.

    `ssh-keyscan` cannot do this: it knows neither aliases nor jump hosts. Raises Unreachable `host-unreachable`.
    """
    effective(target)  # a broken configuration is another error than a machine that does not answer
    with tempfile.TemporaryDirectory(prefix="lyc-scan-") as folder:
        file = Path(folder) / "known_hosts"
        argv = target.argv(
            "-N",
            *options(
                BatchMode="yes",
                StrictHostKeyChecking="accept-new",
                UserKnownHostsFile=str(file),
                GlobalKnownHostsFile="/dev/null",
                HashKnownHosts="no",
                UpdateHostKeys="no",
                PreferredAuthentications="none",
                ControlMaster="no",
                ControlPath="none",
                **QUIET,
            ),
        )
        try:
            said = last_line(run(argv, SCAN_SECONDS).stderr)
        except TimeoutError as error:
            said = str(error)
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    keys = tuple(key for line in lines if (key := parse(line)))
    if not keys:
        raise unreachable(target, said)
    return keys


def unreachable(target: Target, why: str) -> Unreachable:
    """The error of a host that does not answer; `why` is what ssh said."""
    return Unreachable(
        "host-unreachable",
        f"{target.address} does not answer over SSH",
        why=why,
        where=target.shown,
        hint=f"ssh {f'-p {target.port} ' if target.port else ''}{target.address} true",
    )
