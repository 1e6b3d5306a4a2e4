"""An activator as a process of its own, that only holds: to be killed.

python -m tests.gateway.lone_activator SOCKET
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from lyc.gateway.activator import Activator
from lyc.records.wake import Waking


class Hopeful:
    def wake(self, deployment: str) -> Waking:
        return Waking("waking")


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    activator = Activator(Path(sys.argv[1]), Hopeful())
    activator.start()
    sys.stdout.write("listens\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM})
    activator.close()
