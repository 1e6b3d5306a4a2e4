"""This machine as a site: engines run as its own processes and listen on unix sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lyc.ports import EngineInstaller, HostProbe, ModelCache, Supervisor

LOCAL = "local"


class LocalSite:
    """Implements `lyc.ports.Site`. compiled: where engines keep what they compiled."""

    name = LOCAL

    def __init__(
        self,
        probe: HostProbe,
        installer: EngineInstaller,
        cache: ModelCache,
        supervisor: Supervisor,
        *,
        compiled: Path,
        environ: Mapping[str, str],
    ) -> None:
        self.probe = probe
        self.installer = installer
        self.cache = cache
        self.supervisor = supervisor
        self.compiled = compiled
        self.environ = environ

    def prepare(self, say: Callable[[str], None]) -> bool:  # noqa: ARG002 (there is nothing to say)
        """See the port: what runs the controller can run engines."""
        return False

    @contextmanager
    def working(self, reason: str) -> Iterator[None]:  # noqa: ARG002 (one controller a home, and homes share nothing)
        """See the port."""
        yield

    def folder(self, directory: Path) -> Path:
        """See the port."""
        return directory

    def socket(self, socket: Path) -> Path | None:
        """See the port."""
        return socket
