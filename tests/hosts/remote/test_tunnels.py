"""Tunnels through a real sshd: up, back within a second, adopted, replaced, and nothing left."""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from lyc.errors import Failed
from lyc.hosts.local import LocalSupervisor
from lyc.hosts.remote.tunnels import LONGEST_PATH, Attention, Tunnels, check_path, directories
from lyc.hosts.ssh.known import pin
from lyc.hosts.ssh.scan import scan
from tests.hosts.named import named
from tests.hosts.ssh.conftest import account, server, servers
from tests.hosts.ssh.server import Account, Server, awaited, free_port, kill, sessions_of

__all__ = ["account", "server", "servers"]
ONE = "support-1-a1b2c3.1"


class Far:
    """Something that listens on a port of the loopback and says its name to whoever says a line."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = int(self._server.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        try:
            while data := client.recv(4096):
                client.sendall(self.name.encode() + b" " + data)
        except OSError:
            return

    def close(self) -> None:
        """As a process that ends; twice is fine."""
        for one in (self._server, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def said_by(path: Path, word: bytes = b"hello\n", seconds: float = 2.0) -> str:
    """What the far end answers; empty if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        try:
            client.connect(str(path))
            client.sendall(word)
            return client.recv(4096).decode().strip()
        except OSError:
            return ""


class Rig:
    """A lyc home with a supervisor, and a host that `box` names."""

    def __init__(self, account: Account, home: Path, stack: ExitStack) -> None:
        self.account = account
        self.home = home
        self.supervisor = LocalSupervisor(home)
        self.path = home / "run" / "r-1.sock"
        self.path.parent.mkdir()
        self.environ = dict(os.environ)
        self._stack = stack

    def tunnels(self, **attention: float) -> Tunnels:
        """As a controller makes them."""
        made = Tunnels(
            self.home, self.supervisor, self.account.target("box"), self.environ, attention=Attention(**attention)
        )
        self._stack.callback(made.close)
        return made

    def far(self, name: str, port: int = 0) -> Far:
        made = Far(name, port)
        self._stack.callback(made.close)
        return made

    def ssh(self) -> list[psutil.Process]:
        """The `ssh` of all tunnels of this home."""
        return named("ssh", self.supervisor.stray([]))


@contextmanager
def a_rig(account: Account) -> Iterator[Rig]:
    home = Path(tempfile.mkdtemp(prefix="lyc-tun-"))
    with ExitStack() as stack:
        rig = Rig(account, home, stack)
        try:
            yield rig
        finally:
            stack.close()
            rig.supervisor.reap(rig.supervisor.stray([]))
            assert rig.supervisor.stray([]) == []
            shutil.rmtree(home)


@pytest.fixture
def rig(account: Account, server: Server) -> Iterator[Rig]:
    pin(account.target("box"), scan(account.target("box")))
    with a_rig(account) as made:
        yield made


def test_there_and_gone(rig: Rig) -> None:
    tunnels, far = rig.tunnels(), rig.far("far")
    assert tunnels.down(ONE) == 0.0
    tunnels.ensure(ONE, rig.path, far.port)
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
    assert rig.path.stat().st_mode & 0o777 == 0o600
    awaited(lambda: tunnels.alive(ONE), 3, "it is known to be alive")
    assert tunnels.down(ONE) == 0.0
    assert tunnels.here() == [ONE]
    assert tunnels.directories() == directories(rig.home) == [rig.home / "tunnels" / ONE]
    assert rig.supervisor.stray(tunnels.directories()) == []
    tunnels.drop(ONE)
    assert said_by(rig.path) == ""
    assert not rig.path.exists()
    assert tunnels.directories() == []
    assert rig.supervisor.stray([]) == []
    assert not tunnels.alive(ONE)
    tunnels.drop(ONE)


def test_how_ssh_is_called(rig: Rig) -> None:
    """Pinned keys, a connection of its own, no question, and an environment without secrets."""
    sock = rig.account.home / "agent"
    rig.environ |= {"SSH_AUTH_SOCK": str(sock), "HF_TOKEN": "hf_secret", "AWS_SECRET_ACCESS_KEY": "secret"}
    tunnels, far = rig.tunnels(), rig.far("far")
    tunnels.ensure(ONE, rig.path, far.port)
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
    (ssh,) = rig.ssh()
    words = ssh.cmdline()
    first = {}
    for word in words[words.index("-N") :]:
        name, _, value = word.partition("=")
        first.setdefault(name, value)
    assert first["ControlPath"] == "none"
    assert first["ClearAllForwardings"] == "no"
    assert first["ExitOnForwardFailure"] == "yes"
    assert first["StrictHostKeyChecking"] == first["BatchMode"] == "yes"
    assert str(rig.account.lyc_known_hosts) in first["UserKnownHostsFile"]
    assert int(first["ServerAliveInterval"]) * int(first["ServerAliveCountMax"]) <= 15
    assert ssh.environ()["SSH_AUTH_SOCK"] == str(sock)
    assert ssh.environ()["HOME"] == os.environ["HOME"]
    kept = "".join(path.read_text() for path in (rig.home / "tunnels" / ONE).iterdir() if path.is_file())
    assert "secret" not in kept
    assert "secret" not in "".join(ssh.environ().values())


def test_a_connection_that_ends_is_made_again_within_a_second(rig: Rig, server: Server) -> None:
    tunnels, far = rig.tunnels(), rig.far("far")
    tunnels.ensure(ONE, rig.path, far.port)
    took = []
    for end in ("ssh", "session", "ssh", "session"):
        awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
        assert server._process
        for pid in [one.pid for one in rig.ssh()] if end == "ssh" else sessions_of(server._process.pid):
            kill(pid)
        awaited(lambda: tunnels.down(ONE) > 0, 2, "it is noticed")
        began = time.monotonic()
        awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers again")
        took.append(time.monotonic() - began)
    print(f"back after {', '.join(f'{one:.2f}' for one in took)} s")
    assert statistics.median(took) < 2.0  # 0.3 to 0.5 where nothing else runs


def test_sshd_that_was_away_for_a_while(rig: Rig, server: Server) -> None:
    tunnels, far = rig.tunnels(), rig.far("far")
    tunnels.ensure(ONE, rig.path, far.port)
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
    server.stop(connections=True)
    awaited(lambda: tunnels.down(ONE) > 1.5, 5, "it is down")
    assert not tunnels.alive(ONE)
    server.start()
    began = time.monotonic()
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers again")
    took = time.monotonic() - began
    print(f"back {took:.2f} s after sshd")
    assert took < 2.0  # 0.2 to 0.6 where nothing else runs


def test_nobody_at_the_far_end(rig: Rig) -> None:
    """An engine that loads does not listen yet: the tunnel is up, and leads nowhere."""
    tunnels, port = rig.tunnels(settle=0.3), free_port()
    tunnels.ensure(ONE, rig.path, port)
    awaited(lambda: rig.path.exists() and tunnels.down(ONE) == 0.0, 5, "it is up")
    with pytest.raises(AssertionError):
        awaited(lambda: tunnels.alive(ONE), 1.0, "alive, by mistake")
    far = rig.far("late", port)
    awaited(lambda: tunnels.alive(ONE), 3, "the engine listens")
    assert said_by(rig.path) == "late hello"
    far.close()
    awaited(lambda: not tunnels.alive(ONE), 2, "the engine has ended")
    assert tunnels.down(ONE) == 0.0


def test_a_controller_that_comes_back_adopts_them(rig: Rig) -> None:
    first, far = rig.tunnels(), rig.far("far")
    first.ensure(ONE, rig.path, far.port)
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
    (before,) = rig.ssh()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(str(rig.path))
        first.close()
        assert said_by(rig.path) == "far hello"
        rig.environ["SSH_AUTH_SOCK"] = "/another/agent"
        second = rig.tunnels()
        second.ensure(ONE, rig.path, far.port)
        awaited(lambda: second.alive(ONE), 4, "it is known to be alive")
        assert [one.pid for one in rig.ssh()] == [before.pid]
        stream.sendall(b"still\n")
        stream.settimeout(2)
        assert stream.recv(100) == b"far still\n"


def test_without_a_controller_it_mends_itself(rig: Rig) -> None:
    tunnels, far = rig.tunnels(), rig.far("far")
    tunnels.ensure(ONE, rig.path, far.port)
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
    tunnels.close()
    (before,) = rig.ssh()
    kill(before.pid)
    awaited(lambda: said_by(rig.path) == "far hello" and before.pid not in [s.pid for s in rig.ssh()], 5, "it is back")


@pytest.mark.parametrize("restarted", [False, True])
def test_another_port_replaces_it(rig: Rig, restarted: bool) -> None:
    tunnels, one, two = rig.tunnels(), rig.far("one"), rig.far("two")
    tunnels.ensure(ONE, rig.path, one.port)
    awaited(lambda: said_by(rig.path) == "one hello", 5, "the far end answers")
    if restarted:
        tunnels.close()
        tunnels = rig.tunnels()
    tunnels.ensure(ONE, rig.path, two.port)
    awaited(lambda: said_by(rig.path) == "two hello", 5, "the other far end answers")
    assert len(rig.ssh()) == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_another_attempt_takes_the_socket_over(rig: Rig, restarted: bool) -> None:
    tunnels, one, two = rig.tunnels(), rig.far("one"), rig.far("two")
    tunnels.ensure(ONE, rig.path, one.port)
    awaited(lambda: said_by(rig.path) == "one hello", 5, "the far end answers")
    if restarted:
        tunnels.close()
        tunnels = rig.tunnels()
    tunnels.ensure("support-1-a1b2c3.2", rig.path, two.port)
    awaited(lambda: said_by(rig.path) == "two hello", 5, "the other far end answers")
    awaited(lambda: tunnels.here() == ["support-1-a1b2c3.2"], 5, "the old one is gone")
    tunnels.drop(ONE)
    assert said_by(rig.path) == "two hello"
    assert len(rig.ssh()) == 1


def test_another_host_replaces_it(rig: Rig, servers: Callable[[str], Server]) -> None:
    far = rig.far("far")
    first = rig.tunnels()
    first.ensure(ONE, rig.path, far.port)
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
    first.close()
    servers("other")
    target = rig.account.target("other")
    pin(target, scan(target))
    second = Tunnels(rig.home, rig.supervisor, target, rig.environ)
    assert second.here() == []
    second.ensure(ONE, rig.path, far.port)
    awaited(lambda: second.here() == [ONE], 5, "it is replaced")
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
    (ssh,) = rig.ssh()
    assert ssh.cmdline()[ssh.cmdline().index("--") + 1] == "other"
    second.close()


def test_a_killed_process_and_a_socket_taken_away(rig: Rig) -> None:
    tunnels, far = rig.tunnels(), rig.far("far")
    tunnels.ensure(ONE, rig.path, far.port)
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
    for pid in rig.supervisor.stray([]):
        kill(pid)
    awaited(lambda: said_by(rig.path) == "far hello", 5, "killed with its shim, it is begun anew")
    awaited(lambda: tunnels.down(ONE) == 0.0, 5, "it is up")
    rig.path.unlink()
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the socket is there again")
    assert len(rig.ssh()) == 1


def test_one_that_is_stuck_begins_anew(rig: Rig, server: Server) -> None:
    """What hangs without an end is not waited for forever, and not when the host is heard again."""
    tunnels, far = rig.tunnels(mend=0.5), rig.far("far")
    tunnels.ensure(ONE, rig.path, far.port)
    awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
    (before,) = rig.ssh()
    (loop,) = named("sh", rig.supervisor.stray([]))
    loop.suspend()
    kill(before.pid)
    awaited(lambda: tunnels.down(ONE) > 1.0, 5, "it is down")
    tunnels.mend()
    awaited(lambda: said_by(rig.path) == "far hello", 5, "it is begun anew")
    assert not psutil.pid_exists(loop.pid)


def test_a_configuration_with_forwards_of_its_own(rig: Rig, server: Server) -> None:
    """Another session of the user's may hold that port: ours does not end for it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        rig.account.configure(f"LocalForward {taken.getsockname()[1]} localhost:9")
        tunnels, far = rig.tunnels(), rig.far("far")
        tunnels.ensure(ONE, rig.path, far.port)
        awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")


def test_a_login_that_is_refused_is_not_tried_in_a_storm(rig: Rig, server: Server) -> None:
    (server.folder / "authorized_keys").write_text("")
    tunnels = rig.tunnels()
    tunnels.ensure(ONE, rig.path, 9)
    awaited(lambda: "Permission denied" in log_of(rig), 5, "it is refused")
    (server.folder / "authorized_keys").write_text(rig.account.public)
    awaited(lambda: tunnels.down(ONE) == 0.0, 5, "it is let in")


def log_of(rig: Rig) -> str:
    path = rig.home / "tunnels" / ONE / "output.log"
    return path.read_text() if path.exists() else ""


def test_odd_paths(account: Account, server: Server) -> None:
    pin(account.target("box"), scan(account.target("box")))
    with a_rig(account) as rig:
        rig.path = rig.home / "run" / "a b:c%d\\e'.sock"
        tunnels, far = rig.tunnels(), rig.far("far")
        tunnels.ensure(ONE, rig.path, far.port)
        awaited(lambda: said_by(rig.path) == "far hello", 5, "the far end answers")
        record = json.loads((rig.home / "tunnels" / ONE / "tunnel.json").read_text())
        assert record["socket"] == str(rig.path)


def test_a_path_that_no_socket_can_have() -> None:
    check_path(Path("/" + "x" * (LONGEST_PATH - 1)))
    with pytest.raises(Failed) as caught:
        check_path(Path("/" + "ü" * (LONGEST_PATH // 2 + 1)))
    assert caught.value.ref == "socket-path-too-long"


def test_the_pause_grows_after_many_failures() -> None:
    """The loop itself, with a program that fails at once and notes when it was run."""
    from lyc.hosts.remote.tunnels import LOOP

    code = LOOP.replace("sleep 0.2", "echo short").replace("sleep 5", "echo long; exit")
    done = subprocess.run(["sh", "-c", code, "tunnel", "false"], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.split() == ["short"] * 59 + ["long"]
