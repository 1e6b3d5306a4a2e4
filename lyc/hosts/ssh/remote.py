"""One host over SSH: `lyc.ports.Remote`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lyc.errors import Failed, LycError, NotFound, Unreachable
from lyc.hosts.ssh.far import Frame, frame, login_command
from lyc.hosts.ssh.files import GET, PUT, content
from lyc.hosts.ssh.link import PERSIST_SECONDS, Link
from lyc.hosts.ssh.scan import unreachable
from lyc.hosts.ssh.session import Ending, Session
from lyc.hosts.ssh.target import CONNECT_SECONDS, Target, last_line
from lyc.records.host import Completed
from lyc.units import show_bytes

DETAIL_LINES = 12
PUT_SECONDS, PUT_RATE = 60.0, 256 << 10
"""A put may take a minute, and a second more for each 256 KiB."""
LOST_CODE = 255


class SshRemote:
    """Implements `lyc.ports.Remote`. persist: seconds that the shared connection outlives its last use. prefix: words
    before each command, such as `("sudo", "-n", "--")`.
    """

    def __init__(self, target: Target, *, persist: int = PERSIST_SECONDS, prefix: Sequence[str] = ()) -> None:
        self.target = target
        self._persist = persist
        self._command = login_command(prefix)
        self._link = Link(target, persist=persist)

    def prefixed(self, *prefix: str) -> SshRemote:
        """The same host over the same connection, with these words before each command."""
        return SshRemote(self.target, persist=self._persist, prefix=prefix)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0, check: bool = True) -> Completed:
        """See the port."""
        made = frame(argv, stdin=len(stdin))
        done = self._completed(argv, made, lambda: (stdin,), keep=True, timeout=timeout)
        if check and done.code != 0:
            raise self._failed(argv, done.code, done.stderr)
        return done

    def stream(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None, silence: float | None = None
    ) -> Iterator[bytes]:
        """See the port. Lines without their end; after the last one raises Failed `remote-command-failed` if the
        command did not end with 0.
        """
        made = frame(argv, stdin=len(stdin), merged=True)
        for again in (True, False):
            with self._session(made, lambda: (stdin,), keep=True, timeout=timeout) as session:
                yield from session.lines(silence, wait=False)
                ending = session.ending()
            if session.silent:
                raise unreachable(self.target, f"it has said nothing for {silence:g} s")
            if not self._never_began(argv, session, ending, timeout, again):
                break
        if ending.status:
            raise self._failed(argv, ending.status, b"")

    def send(self, argv: Sequence[str], chunks: Callable[[], Iterable[bytes]], *, idle: float) -> Iterator[bytes]:
        """See the port."""
        made = frame(argv, stdin=None, merged=True)
        for again in (True, False):
            with self._session(made, chunks, keep=False, timeout=None) as session:
                yield from session.lines(idle)
                ending = session.ending()
            if not self._never_began(argv, session, ending, None, again):
                break
        if ending.status:
            raise self._failed(argv, ending.status, b"")

    def put(self, data: bytes | Path, path: str, *, mode: int = 0o644) -> None:
        """See the port. The folder must be there. Raises Failed `remote-put-failed`, `no-such-file`,
        `unreadable-file`.
        """
        what = content(data)
        argv = ["sh", "-c", PUT, "sh", path, f"{mode:04o}", f"{mode | 0o200:04o}", str(what.size)]
        made = frame(argv, stdin=None)
        timeout = PUT_SECONDS + what.size / PUT_RATE
        done = self._completed(("put", path), made, what.chunks, keep=False, timeout=timeout)
        if done.code != 0:
            said = {72: "not all bytes could be kept", 73: "the bytes that came are others than those sent"}
            raise Failed(
                "remote-put-failed",
                f"{path} could not be written on {self.target.address}",
                why=last_line(done.stderr) or said.get(done.code, f"status {done.code}"),
                where=self.target.shown,
            )

    def get(self, path: str, *, most: int = 1 << 20) -> bytes:
        """See the port. Raises Failed `remote-file-too-large` or `remote-command-failed` too."""
        done = self.run(["sh", "-c", GET, "sh", path, str(most + 1)], check=False)
        if done.code == 66:
            raise NotFound("no-such-remote-file", f"{self.target.address} has no file {path}", where=self.target.shown)
        if done.code != 0:
            raise self._failed(("read", path), done.code, b"it is a folder" if done.code == 67 else done.stderr)
        if len(done.stdout) > most:
            raise Failed(
                "remote-file-too-large", f"{path} on {self.target.address} has more than {show_bytes(most)}",
                where=self.target.shown,
            )  # fmt: skip
        return done.stdout

    def close(self) -> None:
        """See the port."""
        self._link.close()

    def _completed(
        self, argv: Sequence[str], made: Frame, feed: Callable[[], Iterable[bytes]], *, keep: bool, timeout: float
    ) -> Completed:
        for again in (True, False):
            with self._session(made, feed, keep=keep, timeout=timeout) as session:
                stdout = session.stdout.read()
                ending = session.ending()
            if not self._never_began(argv, session, ending, timeout, again):
                break
        return Completed(code=ending.status or 0, stdout=stdout, stderr=ending.stderr)

    @contextmanager
    def _session(
        self, made: Frame, feed: Callable[[], Iterable[bytes]], *, keep: bool, timeout: float | None
    ) -> Iterator[Session]:
        self._link.ensure()
        with Session(self._link, self._command, made, feed(), keep=keep, timeout=timeout) as session:
            yield session

    def _never_began(
        self, argv: Sequence[str], session: Session, ending: Ending, timeout: float | None, again: bool
    ) -> bool:
        """Whether to send the command once more. False: it ran to its end. Raises for everything else."""
        if ending.status is not None:
            return False
        if session.timed_out:
            raise Failed(
                "remote-timeout",
                f"{shown(argv)} on {self.target.address} took longer than {timeout:g} s and was ended",
                where=self.target.shown,
                detail=last_lines(ending.stderr),
            )
        if ending.began:
            raise Unreachable(
                "host-unreachable",
                f"the connection to {self.target.address} was lost while {shown(argv)} ran",
                why="whether it had an effect is not known",
                where=self.target.shown,
            )
        if ending.code != LOST_CODE:
            raise Failed(
                "remote-shell",
                f"the login shell on {self.target.address} does not run commands",
                why=last_line(ending.stderr) or f"it ended with status {ending.code}",
                where=self.target.shown,
            )
        if not again or ending.seconds >= CONNECT_SECONDS:
            raise unreachable(self.target, last_line(ending.stderr))
        return True

    def _failed(self, argv: Sequence[str], code: int, stderr: bytes) -> LycError:
        return Failed(
            "remote-command-failed",
            f"{shown(argv)} on {self.target.address} ended with status {code}",
            why=last_line(stderr),
            where=self.target.shown,
            detail=last_lines(stderr),
        )


def shown(argv: Sequence[str]) -> str:
    """A command as an error shows it: its first words, on one line."""
    text = " ".join(shlex.join(argv).split())
    return f"`{text if len(text) <= 80 else text[:77] + '...'}`"


def last_lines(output: bytes) -> tuple[str, ...]:
    """The end of an output."""
    return tuple(output.decode(errors="replace").splitlines()[-DETAIL_LINES:])
