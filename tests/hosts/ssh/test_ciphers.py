"""Which cipher a connection uses: the fastest of those that the user's configuration allows."""

from __future__ import annotations

import re

import pytest

from lyc.hosts.ssh.target import FAST_CIPHER
from tests.hosts.ssh.conftest import a_remote
from tests.hosts.ssh.server import Account, Server

CHACHA = "chacha20-poly1305@openssh.com"


@pytest.mark.parametrize(
    ("line", "used"),
    [
        ("", FAST_CIPHER),
        (f"Ciphers {CHACHA},{FAST_CIPHER}", FAST_CIPHER),
        (f"Ciphers {CHACHA},aes256-ctr", CHACHA),
        (f"Ciphers -{FAST_CIPHER}", CHACHA),
        ("Ciphers aes256-gcm@openssh.com", "aes256-gcm@openssh.com"),
    ],
)
def test_the_fastest_that_is_allowed(account: Account, server: Server, line: str, used: str) -> None:
    server.stop()
    server.more = "LogLevel DEBUG1"
    server.start()
    if line:
        account.configure(line)
    with a_remote(account, "box") as remote:
        remote.run(["true"])
    assert re.findall(r"kex: client->server cipher: (\S+)", server.log())[-1] == used


def test_a_server_that_knows_it_not(account: Account, server: Server) -> None:
    server.stop()
    server.more = f"LogLevel DEBUG1\nCiphers {CHACHA}"
    server.start()
    with a_remote(account, "box") as remote:
        remote.run(["true"])
    assert re.findall(r"kex: client->server cipher: (\S+)", server.log())[-1] == CHACHA
