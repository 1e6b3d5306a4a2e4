"""A controller that kills itself at one of its writes: `mortal.py FILE`, in the environment of a home.

FILE gets a line for each write once the process has been sent SIGUSR1. `{"at": 7, "after": true}` in FILE beforehand:
the controller is dead (SIGKILL, so nothing is tidied up) as soon as the seventh of these is on the disk; `false`: just
before.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from lyc.controller import main


def arm(file: Path) -> None:
    """From now on each write counts."""
    wish = json.loads(file.read_text())
    file.write_text("")
    counted = 0

    def count(_: Any) -> None:
        nonlocal counted
        counted += 1
        with file.open("a") as out:
            out.write(f"{counted}\n")
        if counted == wish["at"] and not wish["after"]:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(_: Any) -> None:
        if counted == wish["at"] and wish["after"]:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "commit", count)
    event.listen(Engine, "checkin", lambda *_: after(None))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda *_: arm(Path(sys.argv[1])))
    main()
