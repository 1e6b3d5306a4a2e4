"""One command over the shared connection: fed, read, ended in time, and told apart from the connection it came by."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from lyc.hosts.ssh.far import Frame
from lyc.hosts.ssh.link import Link
from lyc.hosts.ssh.target import environment, no_ssh

END_SECONDS = 3.0
PIPE_SIZE = 1 << 20
"""Bytes; the most that Linux gives to whoever asks (pipe(7))."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of a command when its `ssh` has ended.

    began: it was started there. status: its exit status; None if nobody heard it end. stderr: its own, or what ssh
    said if it never began. code: ssh's own exit status. seconds: from start to end.
    """

    began: bool
    status: int | None
    stderr: bytes
    code: int
    seconds: float


class Session:
    """A running `ssh`. Use as a context manager: its end is the end of the command there too.

    command: of `lyc.hosts.ssh.far`. feed: bytes for the framed command's stdin. keep: stdin stays open after them until
    that has ended. timeout: seconds after which the session is ended; `timed_out` says so. silent: `lines` ended it.
    """

    def __init__(
        self, link: Link, command: str, frame: Frame, feed: Iterable[bytes], *, keep: bool, timeout: float | None
    ) -> None:
        self.timed_out = False
        self.silent = False
        self._frame = frame
        self._over = threading.Event()
        self._began = time.monotonic()
        # Not a pipe, which somebody would have to empty meanwhile. Closed in __exit__.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        argv = [*link.argv(), command]
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
                env=environment(), start_new_session=True, pipesize=PIPE_SIZE,
            )  # fmt: skip
        except FileNotFoundError as error:
            self._said.close()
            raise no_ssh("ssh") from error
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("pipes were asked for")
        self.stdout: IO[bytes] = stdout
        self._feeder = threading.Thread(target=self._write, args=(stdin, feed, keep), daemon=True)
        self._feeder.start()
        self._timer = threading.Timer(timeout, self._expire) if timeout is not None else None
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def lines(self, idle: float | None, *, wait: bool = True) -> Iterator[bytes]:
        """Lines of the output, without their ends, as they come.

        After `idle` seconds without output an empty one; without `wait` the session is ended, and `silent` says so.
        """
        poll = select.poll()
        poll.register(self.stdout, select.POLLIN)
        rest: list[bytes] = []
        while True:
            if not poll.poll(None if idle is None else idle * 1000):
                if not wait:
                    self.silent = True
                    self._end()
                    return
                yield b""
                continue
            data = os.read(self.stdout.fileno(), 65536)
            *whole, last = data.split(b"\n")
            for line in whole:
                yield b"".join((*rest, line))
                rest.clear()
            if last:
                rest.append(last)
            if not data:
                break
        if rest:
            yield b"".join(rest)

    def ending(self) -> Ending:
        """Wait for the end. Read `stdout` to its end before."""
        code = self._process.wait()
        self._said.seek(0)
        said = self._said.read()
        began, status, stderr = self._frame.read(said)
        return Ending(began, status, stderr if began else said, code, time.monotonic() - self._began)

    def _write(self, pipe: IO[bytes], feed: Iterable[bytes], keep: bool) -> None:
        try:
            pipe.write(self._frame.header)
            for chunk in feed:
                pipe.write(chunk)
            pipe.flush()
            if keep:
                self._over.wait()
        except (OSError, ValueError):
            pass  # ssh is gone, or a file there is no more: the far side sees too few bytes and says so
        finally:
            with contextlib.suppress(OSError):
                pipe.close()

    def _expire(self) -> None:
        self.timed_out = True
        self._end()

    def _end(self) -> None:
        """End ssh and what it started here (a proxy command). Its channel closes; the far side does the rest."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(END_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._end()
        self._over.set()
        self.stdout.close()
        self._feeder.join()
        self._said.close()
