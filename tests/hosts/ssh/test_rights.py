"""Commands with the rights of root by an account that has them from sudo alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lyc.errors import Failed, UsageError
from lyc.hosts.ssh.known import pin
from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.scan import scan
from tests.hosts.ssh.server import awaited
from tests.hosts.ssh.test_real_hosts import Place, place
from tests.lab.machine import Machine

__all__ = ["place"]
pytestmark = pytest.mark.slow
SUDO = ("sudo", "-n", "--")


@pytest.fixture
def remote(place: Place, machine: Machine) -> Iterator[SshRemote]:
    place.knows("gpu1", machine, "User ubuntu")
    pin(place.target("gpu1"), scan(place.target("gpu1")))
    made = SshRemote(place.target("gpu1"), persist=30)
    yield made
    made.close()


def test_root_by_sudo(remote: SshRemote) -> None:
    root = remote.prefixed(*SUDO)
    assert root.run(["id", "-un"], stdin=b"unread").stdout == b"root\n"
    assert remote.run(["id", "-un"]).stdout == b"ubuntu\n"
    assert root.run(["sh", "-c", "echo no >&2; exit 255"], check=False).code == 255
    assert list(root.stream(["cat"], stdin=b"a\nb\n")) == [b"a", b"b"]
    root.put(b"x", "/srv/of-root", mode=0o600)
    assert root.get("/srv/of-root") == b"x"
    assert remote.run(["stat", "-c", "%U", "/srv/of-root"]).stdout == b"root\n"


def test_what_root_does_ends_when_nobody_waits(remote: SshRemote, machine: Machine) -> None:
    lines = remote.prefixed(*SUDO).stream(["sh", "-c", "echo begun; exec sleep 98765"])
    assert next(lines) == b"begun"
    assert machine.shell("pgrep -c -u root -fx 'sleep 98765'").strip() == "1"
    lines.close()  # type: ignore[attr-defined]
    awaited(lambda: "98765" not in machine.shell("ps -eo args"), 10, "the command has ended")


def test_without_sudo(place: Place, machine: Machine) -> None:
    place.knows("gpu2", machine, "User plain")
    pin(place.target("gpu2"), scan(place.target("gpu2")))
    with pytest.raises(Failed) as caught:
        SshRemote(place.target("gpu2"), persist=5, prefix=SUDO).run(["id"])
    assert caught.value.ref == "remote-shell"
    assert "sudo" in caught.value.why


def test_words_that_would_need_quotes(place: Place) -> None:
    with pytest.raises(UsageError):
        SshRemote(place.target("gpu1"), prefix=("env", "A=b c"))
