"""A host whose sshd forwards no ports is refused before anything is put there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyc.errors import Failed
from lyc.hosts.remote.forwarding import check_forwarding
from lyc.hosts.ssh.known import pin
from lyc.hosts.ssh.scan import scan
from lyc.hosts.ssh.target import Target
from tests.hosts.ssh.conftest import account, server, servers
from tests.hosts.ssh.server import Account, Server

__all__ = ["account", "server", "servers"]


@pytest.fixture
def target(account: Account, server: Server) -> Target:
    del server
    made = account.target("box")
    pin(made, scan(made))
    return made


@pytest.mark.parametrize("line", ["AllowTcpForwarding no", "AllowTcpForwarding remote", "PermitOpen none"])
def test_it_is_refused(target: Target, server: Server, line: str) -> None:
    server.stop()
    server.more = line
    server.start()
    refused(target)


def test_a_key_that_may_not_is_refused_too(target: Target, server: Server) -> None:
    check_forwarding(target, "gpu1")
    keys = Path(server.folder / "authorized_keys")
    keys.write_text(f"no-port-forwarding {keys.read_text()}")
    refused(target)


def refused(target: Target) -> None:
    with pytest.raises(Failed) as caught:
        check_forwarding(target, "gpu1")
    assert caught.value.ref == "no-forwarding"
    assert caught.value.hint.endswith("lyc hosts check gpu1")


def test_a_host_that_does_not_answer_is_not_blamed_for_it(target: Target, server: Server) -> None:
    server.stop()
    check_forwarding(target, "gpu1")
