"""A server and a user for each test, or for each module where tests do not touch them; nothing left behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lyc.hosts.ssh.known import pin
from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.scan import scan
from tests.hosts.ssh.server import SSHD, Account, Server
from tests.lab.fixtures import lab, machine, machines

__all__ = ["account", "fresh", "lab", "machine", "machines", "remote", "server", "servers"]


@contextmanager
def an_account() -> Iterator[Account]:
    home = Path(tempfile.mkdtemp(prefix="lyc-ssh-"))  # short: a socket's path is at most 107 bytes
    try:
        yield Account(home)
    finally:
        shutil.rmtree(home)


@contextmanager
def a_server(account: Account, name: str) -> Iterator[Server]:
    """The account's key opens it, and its configuration knows it by that name."""
    if not SSHD:
        pytest.skip("sshd is not installed (Debian and Ubuntu: apt install openssh-server)")
    server = Server(account.home / name, account.public)
    try:
        server.start()
        account.knows(name, server)
        yield server
    finally:
        server.stop(connections=True)


@contextmanager
def a_remote(account: Account, name: str) -> Iterator[SshRemote]:
    """A host whose key is pinned."""
    pin(account.target(name), scan(account.target(name)))
    remote = account.remote(name)
    try:
        yield remote
    finally:
        remote.close()


@pytest.fixture
def account() -> Iterator[Account]:
    with an_account() as made:
        yield made


@pytest.fixture
def servers(account: Account) -> Iterator[Callable[[str], Server]]:
    """Makes servers by name."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(a_server(account, name))


@pytest.fixture
def server(servers: Callable[[str], Server]) -> Server:
    return servers("box")


@pytest.fixture
def fresh(account: Account, server: Server) -> Iterator[SshRemote]:
    """`server`, not yet connected to."""
    with a_remote(account, "box") as remote:
        yield remote


@pytest.fixture(scope="module")
def remote() -> Iterator[SshRemote]:
    """A host that all tests of a module share, for those that only run commands on it."""
    with an_account() as account, a_server(account, "box"), a_remote(account, "box") as remote:
        yield remote
