"""Whether a host's sshd lets a tunnel through, asked before anything is put there."""

from __future__ import annotations

from lyc.errors import Failed
from lyc.hosts.ssh.target import CONNECT_SECONDS, Target, effective, insisted, options, run

NOBODY = "127.0.0.1:1"
"""Where nothing listens: sshd that would connect says that it was refused."""
_FORBIDDEN = b"administratively prohibited"
"""OpenSSH's words for reason 1 of RFC 4254, 5.1, which it tells in no other way."""


def check_forwarding(target: Target, name: str) -> None:
    """Raises Failed `no-forwarding` where sshd says that it forwards no ports. Whatever else goes wrong is left to
    those who will need it. name: what the host is called here.
    """
    own = options(ControlMaster="no", ControlPath="none", LogLevel="INFO")
    try:
        done = run(target.argv(*own, *insisted(target, effective(target)), "-W", NOBODY), 3.0 * CONNECT_SECONDS)
    except TimeoutError:
        return
    if _FORBIDDEN in done.stderr:
        raise Failed(
            "no-forwarding",
            f"sshd of {name} forwards no ports, and engines listen on its loopback only",
            why="AllowTcpForwarding, PermitOpen, DisableForwarding or an option of the key forbids it",
            where=target.shown,
            hint="set AllowTcpForwarding yes (or local) in its sshd_config, then: lyc hosts check " + name,
        )
