"""Machines over SSH."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from lyc.records.host import Completed, Host, HostUse, Pruned, RemoteFacts


class Remote(Protocol):
    """One host, reached over SSH. Every call opens the shared connection if there is none.

    Raises Unreachable `host-unreachable` when there is no connection or it was lost while the command ran (whether it
    had an effect is then unknown), NotAuthorised `host-denied`, Failed `host-key-unknown` and `host-key-changed`.
    """

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0, check: bool = True) -> Completed:
        """Run one command to its end. argv is quoted here and nowhere else. With `check`, a status other than 0 raises
        Failed `remote-command-failed` with the last lines of stderr; Failed `remote-timeout` when it takes longer.
        """
        ...

    def stream(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None, silence: float | None = None
    ) -> Iterator[bytes]:
        """The lines of a command's output (stdout and stderr as they come), without their ends, until it ends.

        Closing it ends the command. After the last line it raises Failed `remote-command-failed` for a status other
        than 0. silence: after so many seconds without a word it is ended with Unreachable `host-unreachable`.
        """
        ...

    def send(self, argv: Sequence[str], chunks: Callable[[], Iterable[bytes]], *, idle: float) -> Iterator[bytes]:
        """As `stream`, for a command that reads much: all of `chunks`, then its stdin ends. An empty line each `idle`
        seconds in which nothing is said, so that whoever listens can turn away from a link that hangs.

        `chunks` is called for each try and runs in a thread of its own. The command must know by itself when to end,
        and end when stdin ends early: that is all that it hears of a lost connection.
        """
        ...

    def put(self, data: bytes | Path, path: str, *, mode: int = 0o644) -> None:
        """Write a file there: whole or not at all, with `mode` from its first byte on, its SHA-256 compared."""
        ...

    def get(self, path: str, *, most: int = 1 << 20) -> bytes:
        """Read a small file. Raises NotFound `no-such-remote-file`."""
        ...

    def close(self) -> None:
        """End the shared connection."""
        ...


class HostAccess(Protocol):
    """Machines that are reached over SSH: which keys they show, which are trusted, and what they are.

    Fingerprints are `SHA256:…`. Each raises Unreachable `host-unreachable` and UsageError `ssh-config-refused`.
    """

    def shown(self, host: Host) -> tuple[str, ...]:
        """Fingerprints of the keys that the machine shows now. No credential is offered to it."""
        ...

    def trusted(self, host: Host) -> tuple[str, ...]:
        """Fingerprints that are accepted for it: those pinned here, and those that the user's own OpenSSH knows."""
        ...

    def pin(self, host: Host, fingerprints: Sequence[str]) -> None:
        """Trust the keys of these fingerprints, among those that the machine shows now, and no others pinned before."""
        ...

    def own_key(self) -> tuple[Path, str]:
        """The key pair by which lyc opens machines that it rents: (file of the private key, public key as one line).

        Made on first use. Raises Failed `no-ssh`.
        """
        ...

    def forget(self, host: Host) -> None:
        """Trust no key that was pinned here any more, and end the connection. Nothing happens where none was."""
        ...

    def look(self, host: Host, hub: str | None = None, *, reach: bool = True) -> RemoteFacts:
        """What it is and has, in one round trip. hub: address that is asked for in the place of the Hub's own. reach:
        whether to ask what it reaches, which takes 5 s where nothing answers.

        Raises what `Remote.run` does, and Failed `host-shell-odd`.
        """
        ...


class Upkeep(Protocol):
    """What is done to a host as a whole, beside the engines on it. Quick calls may be made for every host.

    Each raises what `Remote.run` does, and Failed `host-locked` (who, why, how long) where another controller works on
    the host; all but `prepare` raise Failed `host-not-prepared` where lyc was never at work. No call changes the store.
    """

    def use(self, host: Host) -> HostUse:
        """What lyc has and does there now: lock, lease, processes, disk."""
        ...

    def prepare(self, host: Host, say: Callable[[str], None]) -> bool:
        """As `Site.prepare`: bootstrap it now, so that a deploy finds it ready. Whether anything changed."""
        ...

    def unlock(self, host: Host, *, force: bool) -> None:
        """Give its lock back. Without `force` only if this controller holds it, else Failed `host-locked`. Nothing
        happens where nobody holds it.
        """
        ...

    def lease(self, host: Host, seconds: int | None, action: str) -> None:
        """Renew the lease: after `seconds` of silence the host does `action` (none | stop | poweroff) by itself.

        None ends it. Nothing happens where lyc was never at work.
        """
        ...

    def prune(
        self, host: Host, keep: Sequence[str], engines: Sequence[str], *, free: int | None, dry_run: bool
    ) -> tuple[Pruned, ...]:
        """Remove weights and engines, the longest unused first, until `free` bytes are free; None = all that may go.

        keep: digests of snapshots, and engines: ids of builds, that stay whatever is asked. dry_run: say it only.
        """
        ...

    def purge(self, host: Host, *, force: bool, say: Callable[[str], None]) -> None:
        """Leave nothing of lyc there: no process, unit, account or file. Twice is a success.

        Raises Failed `host-in-use` while engines of another controller run there, or that holds the lock; `force`
        ends them.
        """
        ...
