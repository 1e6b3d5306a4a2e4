"""The clock of one host, set while it runs, though all hosts have one kernel: its programs are told another time.

By a library that is put before the C library of what runs there (`clock.c`, compiled here). CLOCK_REALTIME is another
then; CLOCK_MONOTONIC and CLOCK_BOOTTIME go on, as they do when a clock is set. systemd itself (PID 1) and the times of
files keep the real one.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from tests.lab.machine import Machine
from tests.lab.network import run

FOLDER = "opt/lab-clock"


class Clock:
    """Of a host, from now on: of each service that is started, of journald, and of what is run behind
    `prefix` or with `environ`.

    `close` takes it away.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._folder = machine.root / FOLDER
        self._folder.mkdir()
        library = f"/{FOLDER}/clock.so"
        run(
            "cc", "-O2", "-shared", "-fPIC", f'-DOFFSET="/{FOLDER}/offset"',
            "-o", machine.root / library[1:], Path(__file__).with_suffix(".c"),
        )  # fmt: skip
        self.set(0)
        self.environ = {"LD_PRELOAD": library}
        self.prefix = f"env LD_PRELOAD={library} sh -c"
        machine.shell(f"systemctl set-environment LD_PRELOAD={library} && systemctl restart systemd-journald")

    def set(self, offset: int) -> None:
        """Seconds by which it is ahead of the real one, seen at once by what runs."""
        with (self._folder / "offset").open("r+b" if (self._folder / "offset").exists() else "w+b") as file:
            file.write(struct.pack("=q", offset))

    def close(self) -> None:
        self._machine.shell("systemctl unset-environment LD_PRELOAD; systemctl restart systemd-journald")
        shutil.rmtree(self._folder)
