"""A controller whose clock is told from outside: `timed.py FILE RATE`, in the environment of a home.

FILE holds the seconds by which the clock was set, a double, read each time that it is asked. RATE: how much faster than
the real one all its time goes by, of the clock and of the one that is never set alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import mmap
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lyc.control.deps import Deps
from lyc.control.home import claim
from lyc.control.process import run
from lyc.spec.settings import Settings, load
from lyc.wiring import build_deps
from tests.e2e.harness import wait_for
from tests.replicas.stand_in import Home

OFFSET = struct.Struct("=d")


@contextlib.contextmanager
def timed(home: Home, file: Path, rate: float = 1.0) -> Iterator[Callable[[float], None]]:
    """In place of the home's controller; call what it yields with the seconds by which the clock is ahead from then on.

    Ends with the context, and with it the home has none.
    """
    home.run("controller", "stop")
    file.write_bytes(OFFSET.pack(0.0))

    def put(offset: float) -> None:
        with file.open("r+b") as out:
            out.write(OFFSET.pack(offset))

    with (home.home / "controller.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, file, str(rate)], env=home.env | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: home.run("controller", "status", code=None).returncode == 0, 60, "the timed controller")
        assert home.controller_pid() == process.pid
        yield put
    finally:
        home.run("controller", "stop")
        process.wait(60)


def _deps(settings: Settings, file: Path, rate: float) -> Deps:
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), OFFSET.size, prot=mmap.PROT_READ)
    began = time.time()

    def clock() -> float:
        return float(began + (time.time() - began) * rate + OFFSET.unpack(offset[:])[0])

    return dataclasses.replace(build_deps(settings), clock=clock, steady=lambda: time.monotonic() * rate)


if __name__ == "__main__":
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    here = load(os.environ)
    run(_deps(here, Path(sys.argv[1]), float(sys.argv[2])), claim(here))
