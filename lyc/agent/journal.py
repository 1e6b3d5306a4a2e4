"""The log of a unit, out of systemd's journal, from a mark on. The mark is the journal's own cursor of a line's entry.

`journalctl` is asked for the entry of the cursor and what follows, and the first is left out if it is that one: so
nothing is lost where the journal has dropped the entry meanwhile, and nothing comes twice where it has not.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from lyc.agent.shim import LINE_BYTES
from lyc.agent.units import unit

Line = tuple[float, str]
CHUNK = 1 << 16
SYNC_SECONDS = 10.0
_CURSOR = re.compile(r"s=[0-9a-f]+;[0-9a-z=;]+")


class JournalTail:
    """mark: of the last line that was taken; None before the first. Close it at the end."""

    def __init__(self, identity: str, mark: str | None) -> None:
        self.mark = mark if mark and _CURSOR.fullmatch(mark) else None
        self._unit = unit(identity)
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def fileno(self) -> int | None:
        """To be waited for; None while nobody follows the journal."""
        return self._process.stdout.fileno() if self._process and self._process.stdout else None

    def follow(self) -> None:
        """Have journalctl say what comes, unless it does."""
        if self._process is None:
            self._begin("--follow", "--no-tail", "--merge")  # without the last it follows lines of this boot alone
            os.set_blocking(self.fileno() or 0, False)

    def take(self) -> list[Line]:
        """Some of the lines that have come. Does not wait."""
        descriptor = self.fileno()
        if descriptor is None:
            return []
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return []
        if not data:
            self.close()  # it should not end; the next `follow` takes up where it was
        return self._lines(data)

    def finish(self) -> Iterator[list[Line]]:
        """All that is in the journal until now, of a process that has ended. See `sync`."""
        self.close()
        self._begin()
        while data := os.read(self.fileno() or 0, CHUNK):
            yield self._lines(data)
        self.close()

    def close(self) -> None:
        """End journalctl. What came of a line in part is read again."""
        self._rest = b""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _begin(self, *how: str) -> None:
        since = f"--cursor={self.mark}" if self.mark else "--since=@0"
        shown = ("--quiet", "--all", "--output=json", "--output-fields=MESSAGE")
        of = [f"_SYSTEMD_UNIT={self._unit}"]
        with contextlib.suppress(OSError):  # the journal may hold what containers of this machine say
            of.append(f"_MACHINE_ID={Path('/etc/machine-id').read_text().strip()}")
        self._process = subprocess.Popen(
            ["journalctl", *how, *shown, since, *of],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def _lines(self, data: bytes) -> list[Line]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        found: list[Line] = []
        for text in whole:
            entry = json.loads(text)
            if entry["__CURSOR"] == self.mark:
                continue
            self.mark = entry["__CURSOR"]
            at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            found += [(at, line) for line in lines_of(entry.get("MESSAGE"))]
        return found


def sync() -> None:
    """Have journald take in all that was said to it until now."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["journalctl", "--sync"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SYNC_SECONDS,
            check=False,
        )


def lines_of(message: str | Sequence[object] | None) -> list[str]:
    """A message of the journal as JSON has it: text, or numbers where it is not all text, or several of them.

    A carriage return ends a line, blank lines are left out, long ones are cut: as the shim's log does.
    """
    if isinstance(message, str):
        return [line[:LINE_BYTES] for line in re.split(r"\r\n|\n|\r", message) if line.strip()]
    if message is None:
        return []
    numbers = [part for part in message if isinstance(part, int)]
    if len(numbers) == len(message):
        return lines_of(bytes(numbers).decode(errors="replace"))
    return [line for part in message if isinstance(part, str | list) for line in lines_of(part)]
