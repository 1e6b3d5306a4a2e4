"""Whether a unix socket that `ssh -L` listens at leads to anybody."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

_AT_ONCE = socket.MSG_DONTWAIT


class Probe:
    """Looks at one tunnel. It keeps a connection open through it, whose end is heard at once and costs nothing.

    ssh takes any connection and asks afar later: one that holds for `settle` seconds has reached somebody. Where the
    link hangs, this cannot tell; ssh itself finds out, and ends.

    up: ssh listens here, so it has a connection to the host. reaches: somebody listens at the far end. unlinked: the
    socket was taken away under a tunnel that was up. down_since: by the clock of `look`. For several threads.
    """

    def __init__(self, path: Path, settle: float, now: float) -> None:
        self.path = path
        self.up = self.reaches = self.unlinked = False
        self.down_since = now
        self._settle = settle
        self._held: socket.socket | None = None
        self._since = 0.0
        self._lock = threading.Lock()

    def look(self, now: float) -> None:
        """Takes microseconds. now: seconds of a clock that does not jump."""
        with self._lock:
            if self._held is not None:
                self._look_at(self._held, now)
            elif not self.up or now - self._since >= self._settle:  # a refusal from afar is not asked for again at once
                self._connect(now)

    def close(self) -> None:
        """Let the connection go."""
        with self._lock:
            if self._held is not None:
                self._held.close()
                self._held = None

    def _look_at(self, held: socket.socket, now: float) -> None:
        try:
            ended = held.recv(4096, _AT_ONCE) == b""
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended or not self.path.exists():
            self.unlinked = not ended
            held.close()
            self._held = None
            self.reaches = self.reaches and ended and now - self._since >= self._settle
            self._connect(now)
        elif now - self._since >= self._settle:
            self.reaches = True

    def _connect(self, now: float) -> None:
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            held.connect(str(self.path))
        except OSError:
            held.close()
            self.down_since = now if self.up else self.down_since
            self.up = self.reaches = False
        else:
            self._held, self._since, self.up = held, now, True
