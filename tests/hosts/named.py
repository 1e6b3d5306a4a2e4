"""Processes by name, of which some may have ended since their pids were read."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import psutil


def named(name: str, pids: Iterable[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.name() == name:
                found.append(process)
    return found
