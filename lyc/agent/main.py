"""The table of commands. Each is a function `(root, arguments)` → the document of its answer; it may say lines before.

A command's module is imported when it is asked for: most need little, and each is a round trip for somebody.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lyc.agent.answer import REFUSED, Refused, say
from lyc.agent.root import Root

Command = Callable[[Root, list[str]], dict[str, Any]]
COMMANDS: Mapping[str, str] = {
    # processes
    "start": "processes", "stop": "processes", "list": "processes", "remove": "processes", "watch": "watch",
    "launch": "launch", "ended": "launch",
    # weights
    "have": "weights", "missing": "weights", "receive": "weights", "link": "weights", "pull": "pull", "prune": "prune",
    # engine environments, and images that hold one
    "environment": "environments", "uv": "environments", "image": "images",
    # the host itself
    "lock": "lock", "unlock": "lock", "lease": "lease", "lease-check": "lease", "purge": "purge", "use": "use",
}  # fmt: skip
"""Command → module; the function has the command's name, with `_` for `-`."""


def main(argv: list[str]) -> int:
    """`--root ROOT COMMAND …` → exit status: 0, or REFUSED after a refusal, 2 for a call that makes no sense."""
    if len(argv) < 3 or argv[0] != "--root" or argv[2] not in COMMANDS:
        sys.stderr.write("usage: agent --root ROOT COMMAND …\n")
        return 2
    name = argv[2]
    command: Command = getattr(importlib.import_module(f"lyc.agent.{COMMANDS[name]}"), name.replace("-", "_"))
    try:
        try:
            say(command(Root.at(Path(argv[1])), argv[3:]))
        except Refused as refused:
            say({"error": refused.document})
            return REFUSED
    except BrokenPipeError:  # nobody listens any more, also not when the interpreter flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
