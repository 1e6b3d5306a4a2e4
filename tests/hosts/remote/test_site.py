"""The lock of a host while several deploys of one controller work there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from lyc.errors import Locked
from lyc.hosts.remote.site import Controller, RemoteSite
from lyc.records.host import Host
from lyc.sources.cache import ContentCache
from tests.hosts.remote.far_store import FarStore
from tests.hosts.ssh.conftest import a_remote, account, server, servers
from tests.hosts.ssh.server import Account, Server

__all__ = ["account", "server", "servers"]
Make = Callable[[str], RemoteSite]


@pytest.fixture
def make(account: Account, server: Server) -> Iterator[Make]:
    """The host as a controller sees it that has done nothing there yet but to lock it."""
    del server
    root = account.home / "host"
    with a_remote(account, "box") as remote:
        far = FarStore(remote, str(root), root, ContentCache(account.home / "cache"))
        far.install()

        def made(owner: str) -> RemoteSite:
            host = Host("gpu1", "box")
            reach = SimpleNamespace(host=host, agent=lambda: dataclasses.replace(far.agent, name=host.name))
            who = Controller(owner, f"{owner}@here", {})
            return RemoteSite(reach, who, None, None, None, look=lambda _: None)  # type: ignore[arg-type, return-value]

        yield made


def test_it_is_held_until_the_last_of_them_is_done(make: Make) -> None:
    site, other = make("me"), make("another")
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(site.working("deploying a"))
        second.enter_context(site.working("deploying b"))
        first.close()
        with pytest.raises(Locked) as caught, other.working("deploying c"):
            pass
        assert (caught.value.ref, caught.value.why.endswith(" s: deploying b")) == ("host-locked", True)
        assert caught.value.hint == "lyc hosts unlock gpu1, if nobody is"
    with other.working("deploying c"):
        pass


def test_what_fails_gives_it_back_too(make: Make) -> None:
    site, other = make("me"), make("another")
    with pytest.raises(KeyError), site.working("deploying a"):
        raise KeyError
    with other.working("deploying c"), pytest.raises(Locked), site.working("deploying a"):
        pass
    with site.working("deploying a"):
        pass
