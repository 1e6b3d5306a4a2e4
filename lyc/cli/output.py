"""The one place that writes: stdout is the answer, stderr is the talk, and an error looks the same everywhere.

    mode    stdout                 stderr
    human   text for a person      talk, live phases on a terminal
    plain   text for a person      talk, one line a phase
    quiet   text for a person      warnings and errors only
    json    one JSON document      as human or plain; errors are the document, so stderr has none

Colour goes to terminals alone, and never when NO_COLOR is set or TERM is dumb. Verbs never print.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from lyc.errors import Interrupted, LycError, UsageError

VERSION = 1
"""Version of every JSON document on stdout. It grows when a key changes its meaning or goes; new keys do not count."""


_NARROWEST = 8


class ReaderGone(Exception):
    """Whoever read stdout or stderr (`head`, a pager) has what it wanted. No OSError: Typer ends those with exit 1."""


_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "bold": 1, "dim": 2}


class Output:
    """Where a verb says things. Built once a run by `lyc.cli.session`."""

    def __init__(
        self,
        *,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        as_json: bool = False,
        plain: bool = False,
        quiet: bool = False,
        colour: bool = True,
    ) -> None:
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.as_json = as_json
        self.quiet = quiet
        self.live = not plain and not quiet and self.stderr.isatty()
        self.colour = colour
        self._warned: set[str] = set()

    def paint(self, text: str, colour: str, *, on: TextIO | None = None) -> str:
        """The text in a colour, where the stream (stdout unless said) is a terminal that may have colours."""
        stream = on or self.stdout
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self.colour and stream.isatty() else text

    def answer(self, document: Mapping[str, object], text: str) -> None:
        """The answer of a verb: the document under --json, else the text."""
        if self.as_json:
            self.document(document)
        elif text:
            self._write(self.stdout, text + "\n")

    def document(self, document: Mapping[str, object], *, one_line: bool = False) -> None:
        """A JSON document on stdout. one_line: as one of many (a stream)."""
        content = {"version": VERSION, **document}
        self._write(self.stdout, json.dumps(content, indent=None if one_line else 2, ensure_ascii=False) + "\n")

    def raw(self, text: str) -> None:
        """Part of an answer as it comes in: log lines, tokens. No newline is added."""
        self._write(self.stdout, text)

    def say(self, text: str) -> None:
        """Talk: what happens, what was done."""
        if not self.quiet:
            self._write(self.stderr, text + "\n")

    def done(self, text: str) -> None:
        self.say(f"{self.paint('✓', 'green', on=self.stderr)} {text}")

    def hint(self, text: str) -> None:
        """What to type next."""
        self.say(_labelled(self.paint("hint", "cyan", on=self.stderr), text))

    def warn(self, text: str) -> None:
        """Say it once a run, however often it is found out."""
        if text in self._warned:
            return
        self._warned.add(text)
        self._write(self.stderr, f"{self.paint('warning', 'yellow', on=self.stderr)}: {text}\n")

    def error(self, error: LycError) -> None:
        """Show an error: the only place that does."""
        if self.as_json:
            self.document({"error": error.document()})
            return
        label = "red" if not isinstance(error, Interrupted) else "yellow"
        lines = [f"{self.paint(f'error[{error.ref}]', label, on=self.stderr)}: {error.what}"]
        lines += [f"  {name}: {value}" for name, value in (("why", error.why), ("at", error.where)) if value]
        lines += [f"  {self.paint('│', 'dim', on=self.stderr)} {line}" for line in error.detail]
        if error.hint:
            lines += ["", _labelled(self.paint("hint", "cyan", on=self.stderr), error.hint)]
        self._write(self.stderr, "\n".join(lines) + "\n")

    @property
    def width(self) -> int:
        """Columns of the terminal; 80 where stdout is none."""
        return shutil.get_terminal_size().columns if self.stdout.isatty() else 80

    def can_write(self, text: str) -> bool:
        """Whether the encoding of stdout has every character of `text`."""
        try:
            text.encode(self.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            return False
        return True

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        spare: Sequence[str] = (),
        numbers: Sequence[str] = (),
        optional: Sequence[str] = (),
    ) -> str:
        """Aligned columns, those named in `numbers` to the right. Those in `optional` are there only if one of their
        cells says something, which `-` does not. On a terminal that is too narrow the `spare` columns go, the first of
        them first, and then the widest texts are cut in the middle, but never the first column.
        """
        cells = [list(columns), *(list(row) for row in rows)]
        silent = {
            at for at, name in enumerate(columns) if name in optional and all(row[at] in ("", "-") for row in cells[1:])
        }
        cells = [[cell for at, cell in enumerate(row) if at not in silent] for row in cells]
        room = shutil.get_terminal_size().columns if self.stdout.isatty() else None
        widths = _widths(cells)
        for column in (name for name in spare if name in cells[0]):
            if room is None or _width(widths) <= room:
                break
            at = cells[0].index(column)
            cells = [row[:at] + row[at + 1 :] for row in cells]
            widths = _widths(cells)
        while room is not None and _width(widths) > room and max(widths[1:], default=0) > _NARROWEST:
            widths[widths.index(max(widths[1:]), 1)] -= 1
        right = [name in numbers for name in cells[0]]
        lines = [
            "  ".join(_cut(cell, width, right=at) for cell, width, at in zip(row, widths, right, strict=True))
            for row in cells
        ]
        lines[0] = self.paint(lines[0].rstrip(), "dim")
        return "\n".join(line.rstrip() for line in lines)

    def ask(self, question: str) -> None:
        """A question that is answered on the same line."""
        self._write(self.stderr, question)

    def confirm(self, question: str, *, flag: str = "--yes") -> bool:
        """Ask yes or no on a terminal. Raises UsageError `needs-confirmation` where nobody can answer."""
        if self.as_json or not (sys.stdin.isatty() and self.stderr.isatty()):
            raise UsageError(
                "needs-confirmation",
                "this needs a yes, and there is no terminal to ask on",
                hint=f"add {flag} if you mean it",
            )
        self._write(self.stderr, f"{question} [y/N] ")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:  # a terminal of another encoding must not turn an error into a crash
                encoding = stream.encoding or "ascii"
                stream.write(text.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except BrokenPipeError as problem:
            raise ReaderGone from problem


def _labelled(label: str, text: str) -> str:
    """`hint: first line`, with further lines below the first."""
    return f"{label}: " + text.replace("\n", "\n      ")


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _cut(text: str, width: int, *, right: bool = False) -> str:
    if len(text) <= width:
        return text.rjust(width) if right else text.ljust(width)
    half = (width - 1) // 2
    return f"{text[: width - 1 - half]}…{text[len(text) - half :]}" if half else text[:width]
