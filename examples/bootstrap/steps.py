"""What the user sees of a step, and how a command is run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
"""The checkout."""


class SetupError(Exception):
    """What is missing on this machine, and what to do about it. Shown without a traceback."""


def say(text: str) -> None:
    """One line of talk, at once, on stderr: stdout is for answers."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show what begins, and how long it took."""
    say(f"==> {title}")
    began = time.monotonic()
    yield
    say(f"    done in {time.monotonic() - began:.1f}s")


def run(argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
    """Run a command whose output the user sees. Raises SetupError if it fails."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(words)}` ended with exit code {done.returncode}")
