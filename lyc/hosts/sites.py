"""All machines that engines run on, by name: `lyc.ports.Sites`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from lyc.ports import Site
from lyc.records.host import LOCAL, Host


class HostSite(Site, Protocol):
    """A site that is another machine: `lyc.hosts.remote.site.RemoteSite`."""

    @property
    def host(self) -> Host: ...

    def sweep(self, known: Callable[[], Sequence[Path]]) -> Sequence[str]:
        """See `lyc.ports.Sites.sweep`."""
        ...

    def leave(self) -> None:
        """End what watches it, and the tunnels to it."""
        ...

    def close(self) -> None:
        """End what watches it."""
        ...


S = TypeVar("S", bound=HostSite)


class AllSites(Generic[S]):
    """Implements `lyc.ports.Sites`.

    find: the host of a name; raises NotFound `no-such-host`. make: a site for it. A host of the same name with another
    address is another site. directories: see the port.
    """

    def __init__(
        self,
        local: Site,
        find: Callable[[str], Host],
        make: Callable[[Host], S],
        directories: Callable[[], Sequence[Path]],
    ) -> None:
        self._local = local
        self._find = find
        self._make = make
        self._directories = directories
        self._made: dict[str, S] = {}
        self._lock = threading.Lock()

    def site(self, host: str) -> Site:
        """See the port."""
        return self._local if host == LOCAL else self.remote(host)

    def directories(self) -> Sequence[Path]:
        """See the port."""
        return self._directories()

    def sweep(self, host: str, known: Callable[[], Sequence[Path]]) -> Sequence[str]:
        """See the port."""
        return self.remote(host).sweep(known)

    def leave(self, host: str) -> None:
        """See the port."""
        site = self.remote(host)
        with self._lock:
            self._made.pop(host, None)
        site.leave()

    def close(self) -> None:
        """See the port."""
        with self._lock:
            made, self._made = list(self._made.values()), {}
        for site in made:
            site.close()

    def remote(self, name: str) -> S:
        """The site of a host. Raises NotFound `no-such-host`."""
        host = self._find(name)
        with self._lock:
            found = self._made.get(name)
            if found is not None and _where(found.host) == _where(host):
                return found
            made = self._made[name] = self._make(host)
        if found is not None:
            found.close()
        return made


def _where(host: Host) -> tuple[str, int | None, str]:
    return host.address, host.port, host.rental
