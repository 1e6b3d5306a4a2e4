"""The log of a process on a host, kept here in the process's folder as its shim would keep it: each line once.

    output.log      `<RFC 3339 time> <line>`; rotated to output.log.1 … .3
    mirror.json     the host's mark behind the last line, and the size of output.log with that line

The state is written after the lines. Whoever comes next cuts off what no state accounts for and asks for it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from lyc.agent.shim import LINE_BYTES, LOG_BYTES, LOG_FILES

STATE = "mirror.json"
LOG = "output.log"
_IDENTITY = re.compile(r"([a-z0-9][a-z0-9.-]*)\.(\d+)")
_LINE_END = re.compile(r"\r\n|\n|\r")


class Mirror:
    """One log. For one thread of one controller. directory: of the process here; longest: bytes before it is rotated.

    Raises OSError where the disk does not take it; what came so is not accounted for, and will be asked for again.
    """

    def __init__(self, directory: Path, *, longest: int = LOG_BYTES) -> None:
        self._directory = directory
        self._longest = longest
        self.mark, self._size = _state(directory)
        with contextlib.suppress(FileNotFoundError):
            os.truncate(directory / LOG, self._size)

    def append(self, lines: Sequence[tuple[float, str]], mark: str) -> None:
        """Keep lines, each with its time in seconds since the epoch, and the mark behind them."""
        text = b"".join(_stamped(at, line) for at, line in lines)
        path = self._directory / LOG
        try:
            if text:
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
                    file.write(text)
            self._remember(mark, self._size + len(text))
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, self._size)
            raise
        if self._size > self._longest:
            _rotate(path)
            self._remember(mark, 0)

    def _remember(self, mark: str | None, size: int) -> None:
        path = self._directory / STATE
        temporary = path.with_name(f".{STATE}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"mark": mark, "size": size}, file)
        temporary.replace(path)
        self.mark, self._size = mark, size


class Mirrors:
    """The logs of all processes of one home that run on one host. home: folder below which their private folders here
    lie, as `<replica>/<attempt>`. For one thread, but for `made`.
    """

    def __init__(self, home: Path, *, longest: int = LOG_BYTES) -> None:
        self._home = home
        self._longest = longest
        self._folders: dict[str, Path | None] = {}
        self._open: dict[str, Mirror] = {}

    def made(self, identity: str, folder: Path) -> None:
        """A folder is there, before its process is."""
        self._folders[identity] = folder

    def marks(self) -> dict[str, str]:
        """How far each log is kept, by what is on the disk."""
        self._open.clear()
        found = {identity_of(path.parent): _state(path.parent)[0] for path in self._home.rglob(STATE)}
        return {identity: mark for identity, mark in found.items() if mark is not None}

    def keep(self, identity: str, lines: Sequence[tuple[float, str]], mark: str) -> None:
        """Append to the log of a process; nothing happens where it has no folder here. Raises OSError."""
        folder = self._folder(identity)
        if folder is None:
            return
        try:
            if identity not in self._open:
                self._open[identity] = Mirror(folder, longest=self._longest)
            self._open[identity].append(lines, mark)
        except FileNotFoundError:  # its folder has gone meanwhile, and such a one never comes back
            self._folders[identity] = None
            self._open.pop(identity, None)

    def _folder(self, identity: str) -> Path | None:
        if identity not in self._folders:
            named = _IDENTITY.fullmatch(identity)  # it comes from another machine, and must not become another path
            found = self._home.rglob(f"{named[1]}/{named[2]}") if named else ()
            self._folders[identity] = next((path for path in found if path.is_dir()), None)
        return self._folders[identity]


def identity_of(directory: Path) -> str:
    """`<replica>.<attempt>`: the id on the host of the process whose private folder here is `…/<replica>/<attempt>`."""
    return f"{directory.parent.name}.{directory.name}"


def _state(directory: Path) -> tuple[str | None, int]:
    """Mark, and how many bytes of the log it accounts for. A log that is shorter was rotated before the state could
    say so (then it is not there), or its end was lost with this machine's power.
    """
    try:
        kept = json.loads((directory / STATE).read_text())
    except (FileNotFoundError, ValueError):
        return None, 0
    log = directory / LOG
    return kept["mark"], min(int(kept["size"]), log.stat().st_size if log.exists() else 0)


def _stamped(at: float, line: str) -> bytes:
    milliseconds = round(at * 1000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    head = f"{stamp}.{milliseconds % 1000:03d}Z ".encode()
    parts = (part.encode("utf-8", "replace")[:LINE_BYTES] for part in _LINE_END.split(line) if part.strip())
    return b"".join(head + part + b"\n" for part in parts)


def _rotate(path: Path) -> None:
    """Set the log aside. Broken off anywhere and done again, it moves only what has not been moved."""
    aside = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, LOG_FILES + 1))]
    free = next((number for number, file in enumerate(aside) if not file.exists()), LOG_FILES)
    for number in range(free, 0, -1):
        aside[number - 1].replace(aside[number])
