"""On which line of a TOML text each key stands, for errors that say `file:line`; and the nearest known word.

`tomllib` gives values without positions, so this reads the text a second time. It takes for granted that the text is
valid TOML (parse it with tomllib first) and then needs to know only where strings, comments and brackets begin and end.
Grammar: https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

KeyPath = tuple[str | int, ...]
"""`("speculative", "method")`; the nth table of an array of tables is `("name", n)`, as in the parsed value."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
# Longest opening first; a closing run of quotes may be up to two longer, which then belong to the text.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:""?(?!"))?' r"|'''.*?'''(?:''?(?!'))?" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'", re.DOTALL
)
_ATOM = re.compile(r"[^\s,\]}#]+(?: \d[^\s,\]}#]*)?")  # a date and its time may be parted by one space


def locate(text: str) -> dict[KeyPath, int]:
    """Path of every key and table → its line, counted from 1; the first line where it stands on several."""
    return _Reader(text).document()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like it, if any does."""
    found = difflib.get_close_matches(word.lower().replace("-", "_"), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


class _Reader:
    """One pass over the text; `at` is the next character to read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.counts: dict[KeyPath, int] = {}  # arrays of tables: how many tables so far

    def document(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self.skip(_BLANK) < len(self.text):
            before = self.at
            if self.text.startswith("[[", self.at):
                self.at += 2
                table = self.element(self.key())
                self.at += 2
            elif self.text[self.at] == "[":
                self.at += 1
                start = self.at
                table = self.resolved(self.key())
                self.mark(table, start)
                self.at += 1
            else:
                self.pair(table)
            if self.at <= before:  # not TOML: give what was found rather than loop
                break
        return self.lines

    def pair(self, table: KeyPath) -> None:
        start = self.at
        path = table + self.key()
        for depth in range(len(table) + 1, len(path) + 1):
            self.mark(path[:depth], start)
        self.skip(_SPACE)
        self.at += 1  # the equals sign
        self.value(path)

    def value(self, path: KeyPath) -> None:
        self.skip(_SPACE)
        opening = self.text[self.at : self.at + 1]
        if opening in {"[", "{"}:
            closing = {"[": "]", "{": "}"}[opening]
            self.at += 1
            index = 0
            while self.skip(_BLANK) < len(self.text) and self.text[self.at] != closing:
                before = self.at
                if opening == "[":
                    self.mark((*path, index), self.at)
                    self.value((*path, index))
                    index += 1
                else:
                    self.pair(path)
                self.skip(_BLANK)
                if self.text[self.at : self.at + 1] == ",":
                    self.at += 1
                if self.at <= before:
                    return
            self.at += 1
        elif match := _STRING.match(self.text, self.at) or _ATOM.match(self.text, self.at):
            self.at = match.end()

    def key(self) -> tuple[str, ...]:
        """A dotted key, unquoted; leaves `at` behind it."""
        parts: list[str] = []
        while True:
            self.skip(_SPACE)
            if match := _BARE.match(self.text, self.at):
                parts.append(match[0])
            elif match := _STRING.match(self.text, self.at):
                parts.append(_unquoted(match[0]))
            else:
                return tuple(parts)
            self.at = match.end()
            self.skip(_SPACE)
            if self.text[self.at : self.at + 1] != ".":
                return tuple(parts)
            self.at += 1

    def element(self, key: tuple[str, ...]) -> KeyPath:
        """The path of the next table of the array `key`."""
        path = (*self.resolved(key[:-1]), *key[-1:])
        count = self.counts.get(path, 0)
        self.counts[path] = count + 1
        self.mark(path, self.at)
        self.mark((*path, count), self.at)
        return (*path, count)

    def resolved(self, key: tuple[str, ...]) -> KeyPath:
        """`a.b` where `a` is an array of tables means the latest of them."""
        path: KeyPath = ()
        for part in key:
            path = (*path, part)
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
        return path

    def mark(self, path: KeyPath, at: int) -> None:
        self.lines.setdefault(path, self.text.count("\n", 0, at) + 1)

    def skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at


def _unquoted(written: str) -> str:
    import tomllib  # noqa: PLC0415

    return str(next(iter(tomllib.loads(f"{written} = 0"))))
