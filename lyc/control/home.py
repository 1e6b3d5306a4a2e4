"""The home of a controller: claimed by one, and watched for as long as that runs."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lyc.control.layout import controller_lock
from lyc.errors import Locked
from lyc.spec.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Less than the gateway's own tick, which would find no gateway in a home that is gone, and start one."""


def claim(settings: Settings) -> int:
    """Become the controller of this home; the lock ends with the process. Raises Locked `controller-runs-already`."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(controller_lock(settings), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Locked(
            "controller-runs-already",
            f"a controller of {settings.home} runs already (pid {holder})",
            hint="lyc controller status",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


@contextmanager
def watched(settings: Settings, claimed: int, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` when the home is removed meanwhile, or another is put in its place. claimed: what `claim` gave.

    A controller without its home would know nothing of what it has started, and start it again and again.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            if not _there(settings, claimed):
                log.error("%s was removed; the controller ends", settings.home)
                stop()
                return

    thread = threading.Thread(target=watch, name="home", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _there(settings: Settings, claimed: int) -> bool:
    try:
        there, ours = controller_lock(settings).stat(), os.fstat(claimed)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
