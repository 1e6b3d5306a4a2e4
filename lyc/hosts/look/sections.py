"""The probe's output, taken apart. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_ABSENT = 127
"""Status of a section whose program is not there, as a shell gives it."""


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of the probe printed (stdout and stderr). code: its exit status, None when it was cut short."""

    text: str = ""
    code: int | None = None

    @property
    def absent(self) -> bool:
        """Whether what the section asks is not on the host, or the section was never reached."""
        return self.code == _ABSENT or (self.code is None and not self.text)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip("\r") for line in self.text.split("\n") if line.strip()]

    def values(self) -> dict[str, str]:
        """`name the rest` a line."""
        pairs = (line.partition(" ") for line in self.lines)
        return {name: value.strip() for name, _, value in pairs}


class Sections:
    """All sections of one run; one that is not there is an empty one."""

    def __init__(self, found: Mapping[str, Section]) -> None:
        self._found = dict(found)

    def __getitem__(self, name: str) -> Section:
        return self._found.get(name, Section())

    @property
    def begun(self) -> bool:
        """Whether the probe ran at all."""
        return bool(self._found)

    @property
    def whole(self) -> bool:
        """Whether the probe ran to its end."""
        return self["end"].code is not None


def split(output: str, nonce: str) -> Sections:
    """What stands before the first mark (a shell's greeting) and between sections is no part of any."""
    mark = re.compile(rf"\n?^@@lyc:{re.escape(nonce)}:(=\d+|[a-z]+)\r?$\n?", re.MULTILINE)
    found: dict[str, Section] = {}
    name: str | None = None
    start = 0
    for match in mark.finditer(output):
        if match[1].startswith("="):
            if name is not None:
                found[name] = Section(output[start : match.start()], int(match[1][1:]))
            name = None
        else:
            name, start = match[1], match.end()
    if name is not None:
        found[name] = Section(output[start:])
    return Sections(found)
