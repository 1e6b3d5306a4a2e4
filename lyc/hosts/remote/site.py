"""One host over SSH as a site: `lyc.ports.Site`, put together from its parts."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lyc.errors import Failed, LycError
from lyc.hosts.remote.bootstrap import Bootstrap, Prepared, agent_of
from lyc.hosts.remote.calls import Agent, naming
from lyc.hosts.remote.egress import Egress
from lyc.hosts.remote.forwarding import check_forwarding
from lyc.hosts.remote.images import RemoteImages
from lyc.hosts.remote.mirror import identity_of
from lyc.hosts.remote.supervisor import RemoteSupervisor
from lyc.hosts.ssh.remote import SshRemote
from lyc.planning.host import host_facts
from lyc.ports import EngineInstaller, ModelCache
from lyc.records.host import Host, RemoteFacts
from lyc.records.plan import HostFacts

log = logging.getLogger(__name__)


class Known(Protocol):
    """What is remembered of one host."""

    def facts(self) -> RemoteFacts | None:
        """Of the last look that succeeded."""
        ...

    def prepared(self) -> dict[str, Any] | None:
        """What the last bootstrapping left; None before the first."""
        ...

    def remember(self, prepared: dict[str, Any] | None) -> None:
        """To be asked for by `prepared` from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Controller:
    """Who works on hosts. owner: id of this home; who: `user@machine`, for people. environ: of this process."""

    owner: str
    who: str
    environ: Mapping[str, str]


class Reach:
    """The way to one host: its agent as soon as it is prepared. remote: without a prefix."""

    def __init__(self, host: Host, remote: SshRemote, known: Known) -> None:
        self.host = host
        self.remote = remote
        self.known = known

    def agent(self) -> Agent:
        """No round trip. One of another release of lyc too: see `stale`. Raises Failed `host-not-prepared`."""
        return dataclasses.replace(self.prepared().agent(self.remote), name=self.host.name)

    def stale(self) -> bool:
        """Whether the agent there is that of another release of lyc."""
        return agent_of(self.remote, self.known.prepared()) is None

    def reaches(self) -> Mapping[str, bool]:
        """URL → whether it answered from there at the last look."""
        facts = self.known.facts()
        return facts.reaches if facts else {}

    def prepared(self) -> Prepared:
        """What bootstrapping left. Raises Failed `host-not-prepared`."""
        try:
            return Prepared.of(self.known.prepared() or {})
        except KeyError:
            raise not_prepared(self.host.name) from None


def not_prepared(host: str) -> Failed:
    """The error of a host where lyc is not, or another release of it."""
    return Failed(
        "host-not-prepared",
        f"{host} is not prepared for engines, or by another release of lyc",
        where=host,
        hint=f"lyc hosts prepare {host} (a deploy does it by itself)",
    )


class RemoteSite:
    """Implements `lyc.ports.Site`, and `lyc.hosts.sites.HostSite`. look: at the host, now."""

    def __init__(
        self,
        reach: Reach,
        controller: Controller,
        supervisor: RemoteSupervisor,
        installer: EngineInstaller,
        cache: ModelCache,
        *,
        look: Callable[[Host], RemoteFacts],
    ) -> None:
        self.host = reach.host
        self.name = reach.host.name
        self.reach = reach
        self.controller = controller
        self.supervisor = supervisor
        self.installer = installer
        self.images = RemoteImages(reach.agent)
        self.cache = cache
        self.probe = self
        self.environ: Mapping[str, str] = {}  # an engine there inherits nothing from here
        self._look = look
        self._at_work = 0
        self._counting = threading.Lock()

    def facts(self) -> HostFacts:
        """See `lyc.ports.HostProbe`."""
        return host_facts(self.name, self._look(self.host))

    @property
    def compiled(self) -> Path:
        """See the port."""
        return Path(self.reach.agent().root / "compiled")

    def prepare(self, say: Callable[[str], None]) -> bool:
        """See the port. Raises what `Bootstrap.run` and, the first time, `check_forwarding` do."""
        if self.reach.known.prepared() is None:
            check_forwarding(self.reach.remote.target, self.name)
        bootstrap = self._bootstrap()
        with naming(self.name):
            bootstrap.run(say)
        if bootstrap.prepared is not None:
            self.reach.known.remember(bootstrap.prepared.document())
        self.supervisor.listen()
        return bootstrap.changed

    @contextmanager
    def working(self, reason: str) -> Iterator[None]:
        """See the port."""
        mine = {"owner": self.controller.owner, "who": self.controller.who, "reason": reason}
        agent = self.reach.agent()
        with self._counting:  # several deploys of this controller work there side by side: the last gives it back
            agent.call("lock", request=mine)
            self._at_work += 1
        try:
            yield
        finally:
            with self._counting:
                self._at_work -= 1
                if self._at_work == 0:
                    with contextlib.suppress(LycError):  # ours it stays then, and the next time we take it again
                        agent.call("unlock", request={"owner": self.controller.owner})

    def folder(self, directory: Path) -> Path:
        """See the port."""
        return Path(self.reach.agent().root / "replicas" / identity_of(directory))

    def socket(self, socket: Path) -> Path | None:  # noqa: ARG002 (whatever it is called here)
        """See the port: always a port of the loopback."""
        return None

    def sweep(self, known: Callable[[], Sequence[Path]]) -> Sequence[str]:
        """See `lyc.ports.Sites.sweep`. Raises Failed `other-release-on-host` after an update of lyc."""
        if self.reach.stale():
            raise Failed(
                "other-release-on-host",
                f"{self.name} was prepared by another release of lyc",
                where=self.name,
                hint=f"lyc hosts prepare {self.name}",
            )
        return self.supervisor.sweep(known)

    def purge(self, say: Callable[[str], None], *, force: bool) -> None:
        """See `lyc.ports.Upkeep.purge`."""
        with naming(self.name):
            self._bootstrap().purge(say, force=force)
        self.reach.known.remember(None)

    def leave(self) -> None:
        """Have nothing to do with it any more."""
        self.supervisor.leave()

    def close(self) -> None:
        """End what watches it; engines and tunnels go on."""
        self.supervisor.close()

    def _bootstrap(self) -> Bootstrap:
        facts = self.reach.known.facts() or self._look(self.host)
        remote, controller = self.reach.remote, self.controller
        egress = Egress(remote.target, controller.environ)
        return Bootstrap(remote, facts, owner=controller.owner, environ=controller.environ, egress=egress)
