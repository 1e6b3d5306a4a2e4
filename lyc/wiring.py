"""The only place that builds adapters from settings."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lyc.control.launch import ensure_controller
from lyc.spec.settings import Settings

if TYPE_CHECKING:
    from lyc.control.deps import Deps
    from lyc.hosts.access import SshAccess
    from lyc.hosts.local import LocalSupervisor
    from lyc.hosts.remote.site import Controller, RemoteSite
    from lyc.inspection import Read
    from lyc.ports import EngineInstaller, HostProbe, ModelCache, Supervisor
    from lyc.records.host import Host, RemoteFacts
    from lyc.records.model import Listing, ModelRef
    from lyc.records.secret import Secret
    from lyc.store import Store

OWNER = "owner"

__all__ = ["Machine", "build_deps", "build_machine", "ensure_controller", "host_access", "look"]


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, for who looks at it without a controller."""

    host: HostProbe
    installer: EngineInstaller
    supervisor: Supervisor


def build_machine(settings: Settings) -> Machine:
    """Creates nothing on disk."""
    from lyc.hosts.environment import UvInstaller  # noqa: PLC0415
    from lyc.hosts.facts import LocalProbe  # noqa: PLC0415
    from lyc.hosts.local import LocalSupervisor  # noqa: PLC0415

    return Machine(
        host=LocalProbe(settings.cache),
        installer=UvInstaller(settings.engines, os.environ),
        supervisor=LocalSupervisor(settings.home),
    )


def look(
    settings: Settings,
    ref: ModelRef,
    *,
    credentials: Mapping[str, Secret],
    s3_endpoint: str | None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Listing, Read]:
    """What files a model has, and a reader of them, for who inspects it without a controller.

    Fetches no weights and hashes no files: small requests, or reads in the cache if the model is there. say: hears what
    the making of a sample does. Errors: those of `Source.resolve`.
    """
    from lyc.sources import open_source, reader  # noqa: PLC0415
    from lyc.sources.cache import ContentCache  # noqa: PLC0415

    source = open_source(
        ref,
        credentials=credentials,
        s3_endpoint=s3_endpoint,
        cache=settings.cache,
        environ=_uv_environ(),
        say=say,
        digests=False,
    )
    listing = source.resolve(ref)
    return listing, reader(source, listing, ContentCache(settings.cache).have(listing))


def build_deps(settings: Settings) -> Deps:
    """All that the controller touches the world with. Imports the adapters only now: the CLI never needs them."""
    from lyc.control.deps import Deps  # noqa: PLC0415
    from lyc.control.layout import controller_lock, gateway_config  # noqa: PLC0415
    from lyc.gateway.envoy import EnvoyGateway  # noqa: PLC0415
    from lyc.hosts.environment import UvInstaller  # noqa: PLC0415
    from lyc.hosts.facts import LocalProbe  # noqa: PLC0415
    from lyc.hosts.here import LocalSite  # noqa: PLC0415
    from lyc.hosts.local import LocalSupervisor  # noqa: PLC0415
    from lyc.hosts.remote.tunnels import directories  # noqa: PLC0415
    from lyc.hosts.remote.upkeep import HostUpkeep  # noqa: PLC0415
    from lyc.hosts.sites import AllSites  # noqa: PLC0415
    from lyc.providers.accounts import ProviderAccounts  # noqa: PLC0415
    from lyc.sources import open_source  # noqa: PLC0415
    from lyc.sources.cache import ContentCache  # noqa: PLC0415
    from lyc.store import Store  # noqa: PLC0415

    uv_environ = _uv_environ()
    store = Store(settings.database)
    supervisor = LocalSupervisor(settings.home, controller_lock(settings))
    local = LocalSite(
        LocalProbe(settings.cache),
        UvInstaller(settings.engines, os.environ),
        ContentCache(settings.cache),
        supervisor,
        compiled=settings.cache / "compiled",
        environ=os.environ,
    )
    access = host_access(settings)
    sites = AllSites(
        local,
        lambda name: store.host(name).host,
        _remote_sites(settings, store, supervisor, local.cache, access),
        lambda: directories(settings.home),
    )
    return Deps(
        settings=settings,
        store=store,
        supervisor=supervisor,
        gateway=EnvoyGateway(gateway_config(settings), settings.run_dir),
        sites=sites,
        hosts=access,
        upkeep=HostUpkeep(sites.remote),
        accounts=ProviderAccounts(settings.home / "providers", os.environ, time.time),
        owner=_controller(store).owner,
        open_source=lambda ref, credentials, s3_endpoint, *, hashing, say: open_source(
            ref,
            credentials=credentials,
            s3_endpoint=s3_endpoint,
            cache=settings.cache,
            environ=uv_environ,
            hashing=hashing,
            say=say,
        ),
        clock=time.time,
    )


class _Known:
    """`lyc.hosts.remote.site.Known` of one host, in the store."""

    def __init__(self, store: Store, host: str) -> None:
        self._store = store
        self._host = host

    def facts(self) -> RemoteFacts | None:
        return self._store.host(self._host).facts

    def prepared(self) -> dict[str, Any] | None:
        return self._store.prepared(self._host)

    def remember(self, prepared: dict[str, Any] | None) -> None:
        self._store.set_prepared(self._host, prepared)


def _controller(store: Store) -> Controller:
    """The id of this home is made once, and kept in its store."""
    from lyc.hosts.remote.site import Controller  # noqa: PLC0415

    owner = store.meta(OWNER)
    if owner is None:
        owner = secrets.token_hex(8)
        store.set_meta(OWNER, owner)
    return Controller(owner, f"{getpass.getuser()}@{socket.gethostname()}", _uv_environ())


def _remote_sites(
    settings: Settings, store: Store, supervisor: LocalSupervisor, cache: ModelCache, access: SshAccess
) -> Callable[[Host], RemoteSite]:
    """How a site is made for a host."""
    from lyc.hosts.remote.egress import Egress  # noqa: PLC0415
    from lyc.hosts.remote.installer import RemoteInstaller  # noqa: PLC0415
    from lyc.hosts.remote.places import places  # noqa: PLC0415
    from lyc.hosts.remote.site import Reach, RemoteSite  # noqa: PLC0415
    from lyc.hosts.remote.supervisor import RemoteSupervisor  # noqa: PLC0415
    from lyc.hosts.remote.tunnels import Tunnels  # noqa: PLC0415
    from lyc.hosts.remote.weights import RemoteCache  # noqa: PLC0415
    from lyc.hosts.ssh.remote import SshRemote  # noqa: PLC0415

    controller = _controller(store)

    def make(host: Host) -> RemoteSite:
        target = access.target(host)
        reach = Reach(host, SshRemote(target), _Known(store, host.name))
        tunnels = Tunnels(settings.home, supervisor, target, os.environ)
        watched = RemoteSupervisor(reach.agent, controller.owner, settings.deployments_dir, tunnels, name=host.name)
        installer = RemoteInstaller(
            reach.agent,
            lambda: reach.prepared().python,
            reach.reaches,
            environ=controller.environ,
            egress=Egress(target, controller.environ),
            host=host.name,
        )
        bundle = places(controller.environ, Path(sys.prefix)).bundle
        weights = RemoteCache(
            reach.agent,
            cache,
            ca=bundle.read_text() if bundle else None,
            reaches=lambda url: reach.reaches().get(url),
        )
        return RemoteSite(reach, controller, watched, installer, weights, look=access.look)

    return make


def host_access(settings: Settings) -> SshAccess:
    """Machines over SSH. The keys that the user accepted lie in the home, apart from `~/.ssh/known_hosts`."""
    from lyc.hosts.access import SshAccess  # noqa: PLC0415

    environ = _uv_environ()
    return SshAccess(
        settings.home / "known_hosts",
        settings.run_dir,
        settings.ssh_config,
        index=environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or "https://pypi.org/simple",
        hub="https://huggingface.co",
        clock=time.time,
    )


def _uv_environ() -> dict[str, str]:
    from lyc.hosts.pip_places import uv_places  # noqa: PLC0415

    return {**os.environ, **uv_places(os.environ, Path(sys.prefix))[0]}
