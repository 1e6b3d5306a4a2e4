"""The files that Envoy reads: 0600 in a 0700 folder, each replaced by one rename."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lyc.errors import Failed

FileMark = tuple[int, int, int, int]


def private_folder(path: Path) -> None:
    """Make `path`, for its owner alone. Raises `Failed` (`gateway-files-not-written`)."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise _not_written(path, error) from error


def private_log(path: Path) -> None:
    """Make an empty log at `path` if there is none: who makes a file decides its mode, and Envoy would make it 0644."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError as error:
        raise _not_written(path, error) from error


class Folder:
    """Texts of the files in one folder. A file is read again only when it has another mark, for a thousand files that
    are the same every second take a fiftieth of a CPU.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, tuple[FileMark, str]] = {}

    def text(self, name: str) -> str | None:
        """As `read` gives it."""
        mark, known = _mark(f"{self.path}/{name}"), self._known.pop(name, None)
        if mark is None:
            return None
        text = known[1] if known is not None and known[0] == mark else read(self.path / name)
        if text is not None:
            self._known[name] = (mark, text)
        return text

    def names(self) -> list[str]:
        """Of all files; none where there is no folder."""
        try:
            with os.scandir(self.path) as entries:
                return [one.name for one in entries]
        except OSError:
            return []


def _mark(path: str) -> FileMark | None:
    """Of a file that is there: once changed or replaced, it has another."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read(path: Path) -> str | None:
    """The text of a file, or None where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def replace(path: Path, text: str) -> None:
    """Put `text` at `path` by a rename, which a reader sees whole or not at all. Raises `Failed`."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> Failed:
    return Failed(
        "gateway-files-not-written",
        "the gateway's configuration could not be written",
        why=error.strerror or str(error),
        where=str(path),
        hint="lyc doctor",
    )
