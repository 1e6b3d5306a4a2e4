"""Running the uv binary: its lines as they come, its end, and what in its complaint matters."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from uv import find_uv_bin

_SAID = re.compile(
    r"^(?:Downloading (?P<package>\S+) \((?P<size>[^)]+)\)|(?:Resolved|Prepared|Installed) \d+ packages? in .*"
    r"|Bytecode compiled \d+ files? in .*)$"
)
_NO_NETWORK = re.compile(
    r"dns error|error sending request|client error \(Connect\)|Connection refused|timed out|Network is unreachable"
    r"|network was disabled|tunnel error|os error (?:101|110|111|113)\b",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_DROPPED = (
    "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "CONDA_PREFIX", "UV_PYTHON",
    "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON", "UV_TORCH_BACKEND", "UV_OVERRIDE", "UV_CONSTRAINT",
    "UV_BUILD_CONSTRAINT",
)  # fmt: skip
"""What would point uv at another environment than the one it is told to make, or make it differ from the lock."""


class UvFailed(Exception):
    """uv ended with another code than 0. lines: everything it wrote, without credentials."""

    def __init__(self, code: int, lines: list[str]) -> None:
        super().__init__(f"uv ended with {code}")
        self.code = code
        self.lines = lines

    def decisive(self) -> tuple[str, ...]:
        """The lines that say what is wrong, at most eight: from `error:` on, or the last ones when there is none."""
        said = [line.rstrip() for line in self.lines if line.strip()]
        first = next((index for index, line in enumerate(said) if line.startswith("error")), max(len(said) - 4, 0))
        return tuple(said[first : first + 8])

    def no_network(self) -> bool:
        """Whether it is the network rather than the wish. uv's exit code does not tell them apart; its text does."""
        return any(_NO_NETWORK.search(line) for line in self.lines)


def heard(raw: str, say: Callable[[str], None] | None) -> str:
    """A line of uv's output, without credentials; progress in it is said."""
    line = _CREDENTIALS.sub("//***@", raw.rstrip("\n"))
    if say is not None and (match := _SAID.match(line)):
        say(f"downloading {match['package']}, {match['size']}" if match["package"] else line.lower())
    return line


class Uv:
    """One way of calling uv: `Uv(…)("pip", "install", …)` → its lines.

    lock: a file descriptor that uv inherits, so that a lock on it outlives who took it as long as uv runs.
    """

    def __init__(self, binary: Path | None, *, cwd: Path, environ: Mapping[str, str], lock: int | None = None) -> None:
        self._binary = str(binary) if binary else find_uv_bin()
        self._cwd = cwd
        self._environ = {name: value for name, value in environ.items() if name not in _DROPPED}
        self.lock = lock

    def __call__(self, *arguments: str, say: Callable[[str], None] | None = None) -> list[str]:
        """Run it to its end. Raises UvFailed. When this is interrupted, uv and its children are killed."""
        process = subprocess.Popen(
            [self._binary, *arguments],
            cwd=self._cwd,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=() if self.lock is None else (self.lock,),
        )
        lines: list[str] = []
        try:
            assert process.stdout is not None  # noqa: S101  (PIPE was asked for)
            for raw in process.stdout:
                lines.append(heard(raw, say))
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if code != 0:
            raise UvFailed(code, lines)
        return lines
