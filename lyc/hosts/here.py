"""This machine as a site: engines run as its own processes and listen on unix sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lyc.errors import UsageError
from lyc.ports import EngineInstaller, HostProbe, ModelCache, Supervisor
from lyc.records.host import LOCAL


class NoImages:
    """Implements `lyc.ports.Images` where engines run as processes only."""

    def provide(self, image: str, say: Callable[[str], None], *, cards: bool) -> str:  # noqa: ARG002 (see above)
        """Raises UsageError `container-needs-host`."""
        raise UsageError(
            "container-needs-host",
            "engines of this machine do not run in containers",
            why="a container runtime is used on hosts over SSH",
            hint="name one with --host, or leave --runtime and --image out",
        )


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
        self.images = NoImages()
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
