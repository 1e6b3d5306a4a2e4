"""Processes on this machine that outlive the controller: `lyc.ports.Supervisor` with one shim for each.

How they are known as ours after any crash: `lyc.agent.shimmed`, which also keeps them on hosts without systemd.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lyc.agent import cards, shim, shimmed
from lyc.agent.shimmed import MARK
from lyc.errors import Failed
from lyc.records.process import ProcessSpec, ProcessStatus

__all__ = ["MARK", "LocalSupervisor"]


class LocalSupervisor:
    """Keeps processes whose directories lie under `root`.

    `root` also tells our processes from those of another lyc home on the same machine. claim: a file that is there for
    as long as the home is; where it was there once and is gone, nothing is started any more.
    """

    def __init__(self, root: Path, claim: Path | None = None) -> None:
        self.root = root.resolve()
        self._claim = claim if claim is not None and claim.exists() else None

    def start(self, spec: ProcessSpec) -> None:
        """See `lyc.ports.Supervisor.start`. Raises Failed `process-not-started` with what the shim said."""
        directory = spec.directory.resolve()
        if not directory.is_relative_to(self.root):
            raise ValueError(f"{directory} is outside of {self.root}")
        if self._claim is not None and not self._claim.exists():  # what is started now would be known to nobody
            raise Failed("home-removed", f"{self.root} was removed", hint="lyc controller start")
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.status(directory).state == "running":
            return
        for path, content in spec.files.items():
            _write_private(path, content.reveal())
        env = spec.env | {MARK: str(directory)}
        if spec.devices is not None:
            env |= cards.variables(spec.devices, confined=False)
        shim.write_atomically(directory / "spec.json", {"id": spec.id, "argv": list(spec.argv), "env": env})
        try:
            shimmed.spawn(directory, Path(shim.__file__))
        except shimmed.NotStarted as error:
            raise Failed("process-not-started", f"could not start {spec.id}", detail=error.lines) from error

    def status(self, directory: Path) -> ProcessStatus:
        """See `lyc.ports.Supervisor.status`."""
        now = shimmed.seen(directory)
        return ProcessStatus(now.state, now.pid, now.exit_code, now.ended_at, rebooted=now.rebooted)

    def stop(self, directory: Path, *, grace: float) -> None:
        """See `lyc.ports.Supervisor.stop`."""
        shimmed.end(directory, self.root, grace)

    def stray(self, known: Sequence[Path]) -> list[int]:
        """See `lyc.ports.Supervisor.stray`."""
        directories = {str(path.resolve()) for path in known}
        return [pid for pid, owner in shimmed.owned(self.root).items() if owner not in directories]

    def reap(self, pids: Sequence[int]) -> None:
        """See `lyc.ports.Supervisor.reap`."""
        shimmed.kill(pids)

    def forget(self, directory: Path) -> None:
        """See `lyc.ports.Supervisor.forget`: all that there is lies in the folder itself."""


def _write_private(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
