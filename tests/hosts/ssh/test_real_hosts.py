"""The transport on whole machines of the lab: power, links and disks that fail as they do elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lyc.errors import Failed, LycError, Unreachable
from lyc.hosts.ssh.known import HostKey, forget, parse, pin
from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.scan import scan
from lyc.hosts.ssh.target import Target
from tests.hosts.ssh.server import awaited
from tests.lab.lab import Lab
from tests.lab.machine import Machine

pytestmark = pytest.mark.slow
Borrow = Callable[[int], list[Machine]]
MIB = 1 << 20


class Place:
    """A user's configuration that knows hosts of the lab, and a lyc home."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.config = folder / "config"
        self.config.write_text(f"UserKnownHostsFile {folder}/user_known_hosts\nKexAlgorithms curve25519-sha256\n")

    def knows(self, alias: str, machine: Machine, *lines: str, direct: bool = True) -> None:
        with self.config.open("a") as file:
            file.write(self.lab.host_block(alias, machine, *lines, direct=direct))

    def target(self, alias: str) -> Target:
        return Target(alias, None, self.folder / "lyc" / "known_hosts", self.folder / "run", self.config)

    def pinned(self, alias: str) -> SshRemote:
        pin(self.target(alias), scan(self.target(alias)))
        return SshRemote(self.target(alias), persist=30)


@pytest.fixture
def place(lab: Lab) -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="lyc-lab-"))
    try:
        yield Place(lab, folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def remote(place: Place, machine: Machine) -> Iterator[SshRemote]:
    place.knows("gpu1", machine)
    made = place.pinned("gpu1")
    yield made
    made.close()


@contextmanager
def after(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Something that happens meanwhile."""
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def key_of(machine: Machine) -> HostKey:
    key = parse(f"x {machine.host_key()}")
    assert key
    return key


def test_the_key_that_is_shown_is_the_machines_own(place: Place, machine: Machine) -> None:
    place.knows("gpu1", machine)
    (key,) = scan(place.target("gpu1"))
    assert key.fingerprint == key_of(machine).fingerprint
    with pytest.raises(Failed) as caught:
        SshRemote(place.target("gpu1")).run(["true"])
    assert caught.value.ref == "host-key-unknown"


def test_a_jump_over_one_host_to_another(place: Place, machines: Borrow) -> None:
    jump, inner = machines(2)
    place.knows("jump", jump)
    place.knows("inner", inner, "ProxyJump jump", direct=False)
    (place.folder / "user_known_hosts").write_text(f"{jump.address} {jump.host_key()}\n")
    remote = place.pinned("inner")
    assert remote.run(["hostname"]).stdout.decode().strip() == inner.name
    remote.close()


def test_installed_anew(place: Place, remote: SshRemote, machine: Machine) -> None:
    old = key_of(machine).fingerprint
    remote.run(["true"])
    remote.close()
    machine.change_host_key()
    with pytest.raises(Failed) as caught:
        remote.run(["true"])
    assert caught.value.ref == "host-key-changed"
    assert old in caught.value.why
    assert key_of(machine).fingerprint in caught.value.why
    pin(remote.target, scan(remote.target))
    assert remote.run(["echo", "x"]).stdout == b"x\n"


def test_forgotten(remote: SshRemote) -> None:
    forget(remote.target)
    with pytest.raises(Failed) as caught:
        remote.run(["true"])
    assert caught.value.ref == "host-key-unknown"


def test_another_account(place: Place, machine: Machine) -> None:
    place.knows("gpu1", machine)
    target = Target("ubuntu@gpu1", None, place.folder / "known", place.folder / "run", place.config)
    pin(target, scan(target))
    remote = SshRemote(target)
    assert remote.run(["sudo", "-n", "id", "-un"]).stdout == b"root\n"
    assert remote.run(["id", "-un"]).stdout == b"ubuntu\n"
    remote.close()


def test_sshd_killed_and_back(remote: SshRemote, machine: Machine) -> None:
    remote.run(["true"])
    with after(1.0, machine.kill_sshd), pytest.raises(Unreachable):
        remote.run(["sleep", "20"])
    machine.wait()
    assert remote.run(["echo", "back"]).stdout == b"back\n"


def test_a_link_that_is_cut_for_5_seconds_loses_nothing(remote: SshRemote, machine: Machine) -> None:
    remote.run(["true"])
    numbers = [f"{number}".encode() for number in range(80)]
    with after(1.0, machine.cut), after(6.0, machine.join):
        lines = list(remote.stream(["sh", "-c", "for n in $(seq 0 79); do echo $n; sleep 0.1; done"]))
    assert lines == numbers
    with after(0.5, machine.cut), after(5.5, machine.join):
        assert remote.run(["sh", "-c", "sleep 2; echo out; exit 7"], check=False).code == 7


def test_a_dead_link_is_noticed(remote: SshRemote, machine: Machine) -> None:
    remote.run(["true"])
    began = time.monotonic()
    with after(0.5, machine.cut), pytest.raises(Unreachable) as caught:
        remote.run(["sleep", "60"])
    assert time.monotonic() - began < 20
    assert "lost" in caught.value.what
    machine.join()
    assert remote.run(["echo", "back"]).stdout == b"back\n"


def test_a_frozen_host(remote: SshRemote, machine: Machine) -> None:
    remote.run(["true"])
    machine.freeze()
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        remote.run(["true"])
    assert caught.value.ref == "host-unreachable"
    assert time.monotonic() - began < 30  # the shared connection is found dead, and another is not made
    machine.thaw()
    assert remote.run(["echo", "back"]).stdout == b"back\n"


def test_a_firewall_that_says_nothing(remote: SshRemote, machine: Machine) -> None:
    machine.blackhole(22)
    began = time.monotonic()
    with pytest.raises(Unreachable):
        remote.run(["true"])
    assert time.monotonic() - began < 25
    machine.unblackhole()
    assert remote.run(["echo", "back"]).stdout == b"back\n"


def test_power_cut_while_a_stream_runs(remote: SshRemote, machine: Machine) -> None:
    lines = remote.stream(["sh", "-c", "while :; do echo up; sleep 0.1; done"])
    assert next(lines) == b"up"
    machine.power_cut()
    with pytest.raises(Unreachable):
        list(lines)
    machine.start()
    machine.wait()
    awaited(lambda: remote.run(["systemctl", "is-active", "ssh"]).stdout == b"active\n", 20, "it is up")


def test_200_milliseconds_away(remote: SshRemote, machine: Machine) -> None:
    remote.run(["true"])
    machine.shape(delay_ms=100)
    took = []
    for number in range(3):
        began = time.monotonic()
        assert remote.run(["echo", str(number)]).stdout == f"{number}\n".encode()
        took.append(time.monotonic() - began)
    assert 0.2 < min(took) < 0.8  # a round trip or two, not those of a new connection
    data = os.urandom(4 * MIB)
    remote.put(data, "/srv/far")
    assert remote.get("/srv/far", most=4 * MIB) == data


def test_a_full_disk(remote: SshRemote, machine: Machine) -> None:
    remote.put(b"old", "/srv/file")
    machine.fill(leave=2 * MIB)
    with pytest.raises(Failed) as caught:
        remote.put(os.urandom(8 * MIB), "/srv/file")
    assert caught.value.ref == "remote-put-failed"
    assert "No space left" in caught.value.why
    assert remote.get("/srv/file") == b"old"
    assert remote.run(["sh", "-c", "ls -A /srv | grep lyc- || true"]).stdout == b""


def test_power_cut_while_a_file_comes(remote: SshRemote, machine: Machine, tmp_path: Path) -> None:
    remote.put(b"old", "/srv/file", mode=0o600)
    (tmp_path / "big").write_bytes(bytes(1))
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1024 * MIB)
    failed: list[LycError] = []

    def send() -> None:
        try:
            remote.put(tmp_path / "big", "/srv/file", mode=0o600)
        except LycError as error:
            failed.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    arriving = machine.root / "srv"
    awaited(lambda: sum(path.stat().st_size for path in arriving.glob(".file.lyc-*")) > MIB, 30, "bytes arrive")
    machine.power_cut()
    sender.join(60)
    assert [type(error) for error in failed] == [Unreachable]
    machine.start()
    machine.wait()
    assert remote.get("/srv/file") == b"old"
    for path in arriving.glob(".file.lyc-*"):
        path.unlink()
