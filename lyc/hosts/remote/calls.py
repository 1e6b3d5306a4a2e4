"""Calls of the agent on a host: a request in JSON by stdin, an answer in JSON, refusals as lyc's own errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lyc.agent.answer import REFUSED
from lyc.errors import Failed, LycError, from_document
from lyc.ports import Remote

CALL_SECONDS = 60.0
Said = Callable[[dict[str, Any]], None]
_NAME = re.compile(r"\bNAME\b")


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent of one host, as bootstrapping left it.

    remote: has the rights that the host's mode needs (`sudo -n` for another than root). root: lyc's folder there.
    python, program: the interpreter and the zip. name: what the host is called here, for the hints of its refusals.
    """

    remote: Remote
    root: PurePosixPath
    python: str
    program: str
    name: str = ""

    def argv(self, command: str, *arguments: str) -> tuple[str, ...]:
        return (self.python, "-I", self.program, "--root", str(self.root), command, *arguments)

    def call(
        self,
        command: str,
        *arguments: str,
        request: Mapping[str, Any] | None = None,
        timeout: float = CALL_SECONDS,
    ) -> dict[str, Any]:
        """The answer. Raises what the agent refuses with, Failed `agent-failed` when it broke, and what `Remote.run`
        raises.
        """
        stdin = json.dumps(request or {}).encode()
        done = self.remote.run(self.argv(command, *arguments), stdin=stdin, timeout=timeout, check=False)
        return self._answer(command, done.code, done.stdout.splitlines(), done.stderr.decode(errors="replace"))

    def follow(
        self, command: str, *arguments: str, request: Mapping[str, Any], said: Said, timeout: float | None = None
    ) -> dict[str, Any]:
        """The same for a long command: `said` hears each line as it comes but the last, which is the answer."""
        stdin = json.dumps(request).encode()
        argv = self.argv(command, *arguments)
        return self._heard(command, lambda: self.remote.stream(argv, stdin=stdin, timeout=timeout), said)

    def send(
        self, command: str, *arguments: str, chunks: Callable[[], Iterable[bytes]], said: Said, idle: float
    ) -> dict[str, Any]:
        """The same for a command that reads `chunks` from stdin, and not a request. `said` hears an empty document each
        `idle` seconds of silence; if it raises, the command ends.
        """
        argv = self.argv(command, *arguments)
        return self._heard(command, lambda: self.remote.send(argv, chunks, idle=idle), said)

    def _heard(self, command: str, start: Callable[[], Iterator[bytes]], said: Said) -> dict[str, Any]:
        last: bytes = b""
        broken: list[str] = []
        try:
            # nobody else holds what it returns, so it is closed, and the command ended, as soon as `said` raises
            for line in start():
                if not line:
                    said({})
                    continue
                if _parsed(line) is None:
                    broken.append(line.decode(errors="replace"))
                    continue
                if last:
                    said(json.loads(last))
                last = line
        except Failed as error:
            if error.ref != "remote-command-failed":
                raise
            return self._answer(command, REFUSED if last else 1, [last], "\n".join(broken))
        return self._answer(command, 0, [last], "\n".join(broken))

    def _answer(self, command: str, code: int, lines: Sequence[bytes], stderr: str) -> dict[str, Any]:
        with naming(self.name):
            return self._told(command, code, lines, stderr)

    def _told(self, command: str, code: int, lines: Sequence[bytes], stderr: str) -> dict[str, Any]:
        document = next((found for line in reversed(lines) if (found := _parsed(line)) is not None), None)
        if document is not None and "error" in document:
            error: LycError = from_document(document["error"])
            raise error
        if document is None and not self._there():
            raise Failed(
                "host-not-prepared",
                "lyc's program is not on the host any more",
                why="the host was installed anew, or somebody removed it",
                hint="deploy again, or: lyc hosts prepare NAME",
            )
        if code != 0 or document is None:
            raise Failed(
                "agent-failed",
                f"lyc's program on the host broke off at {command!r}",
                why=next((line for line in reversed(stderr.splitlines()) if line.strip()), f"it ended with {code}"),
                detail=tuple(stderr.splitlines()[-12:]),
                hint="lyc controller logs",
            )
        return document

    def _there(self) -> bool:
        """Asked only after a call that gave no answer."""
        argv = ("sh", "-c", '[ -x "$1" ] && [ -r "$2" ]', "sh", self.python, self.program)
        return self.remote.run(argv, check=False).code == 0


@contextmanager
def naming(host: str) -> Iterator[None]:
    """Errors of a host, whose hints say `lyc hosts … NAME`, come out with its name: a host does not know it. Empty =
    as they are.
    """
    try:
        yield
    except LycError as error:
        if host:
            error.hint = _NAME.sub(host, error.hint)
        raise


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
