"""What lyc may do on a host with the login that it has, and so how it works there. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from lyc.agent.root import SYSTEM_ROOT, USER_ROOT
from lyc.errors import Failed
from lyc.records.host import RemoteFacts

SUDO = ("sudo", "-n", "--")


@dataclass(frozen=True, slots=True)
class Rights:
    """mode: `system` or `user` (`lyc.agent.root`). prefix: words before each command there. root: lyc's folder.

    lost: what there cannot be for lack of rights, in words; empty where nothing is lost.
    """

    mode: str
    prefix: tuple[str, ...]
    root: PurePosixPath
    lost: str = ""

    @property
    def system(self) -> bool:
        return self.mode == "system"


def rights(facts: RemoteFacts) -> Rights:
    """Root needs nothing, an account with free sudo goes by it, any other works in its own home.

    Raises Failed `host-home-unknown` where the home cannot be told or written.
    """
    if facts.sudo == "free":
        return Rights("system", () if facts.user == "root" else SUDO, PurePosixPath(SYSTEM_ROOT))
    if not facts.home.startswith("/") or facts.home_writable is False:
        raise Failed(
            "host-home-unknown",
            f"{facts.user or 'the account'} has no home on the host that it may write to",
            why="without the rights of root, engine and weights go there",
            hint=f"on the host: sudo install -d -o {facts.user or 'USER'} -m 700 {facts.home or 'HOME'}",
        )
    asked = "sudo asks for a password" if facts.sudo == "password" else "it may not use sudo"
    lost = (
        f"{facts.user or 'the account'} is not root and {asked}: engines run as this account and without systemd, so "
        "they come back after a reboot only when lyc reaches the host, and can do all that this account can"
    )
    return Rights("user", (), PurePosixPath(facts.home) / USER_ROOT, lost)
