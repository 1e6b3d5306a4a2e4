"""A server and a user for each test; nothing left behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lyc.hosts.ssh.known import pin
from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.scan import scan
from tests.hosts.ssh.server import SSHD, Account, Server


@pytest.fixture
def account() -> Iterator[Account]:
    home = Path(tempfile.mkdtemp(prefix="lyc-ssh-"))  # short: a socket's path is at most 107 bytes
    try:
        yield Account(home)
    finally:
        shutil.rmtree(home)


@pytest.fixture
def servers(account: Account) -> Iterator[Callable[[str], Server]]:
    """Makes servers by name; the account's key opens them, and its configuration knows them by that name."""
    if not SSHD:
        pytest.skip("sshd is not installed (Debian and Ubuntu: apt install openssh-server)")
    made: list[Server] = []

    def make(name: str) -> Server:
        server = Server(account.home / name, account.public)
        made.append(server)
        server.start()
        account.knows(name, server)
        return server

    try:
        yield make
    finally:
        for server in made:
            server.stop(connections=True)


@pytest.fixture
def server(servers: Callable[[str], Server]) -> Server:
    return servers("box")


@pytest.fixture
def remote(account: Account, server: Server) -> Iterator[SshRemote]:
    """`box`, whose key is pinned."""
    target = account.target("box")
    pin(target, scan(target))
    made = account.remote("box")
    yield made
    made.close()
