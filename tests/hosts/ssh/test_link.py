"""The shared connection: made once, found by everybody, made again, and its loss told apart from a failed command."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lyc.errors import Failed, Unreachable
from lyc.hosts.ssh.known import pin
from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.scan import scan
from tests.hosts.ssh.server import Account, Server, awaited, kill, sessions_of


def logins(server: Server) -> int:
    return server.log().count("Accepted publickey")


def sessions(server: Server) -> list[int]:
    assert server._process
    return sessions_of(server._process.pid)


def test_one_connection_for_all(account: Account, server: Server, fresh: SshRemote) -> None:
    with ThreadPoolExecutor(8) as pool:
        outs = list(pool.map(lambda number: fresh.run(["echo", str(number)]).stdout, range(16)))
    assert outs == [f"{number}\n".encode() for number in range(16)]
    assert account.remote("box").run(["echo", "x"]).stdout == b"x\n"
    assert logins(server) <= 2  # sshd takes ten sessions on one connection; more get one of their own
    fresh.close()
    awaited(lambda: sessions(server) == [], 5, "the connection has ended")


def test_more_at_once_than_one_connection_carries(fresh: SshRemote) -> None:
    with ThreadPoolExecutor(14) as pool:
        outs = list(pool.map(lambda number: fresh.run(["sh", "-c", f"sleep 1; echo {number}"]).stdout, range(14)))
    assert outs == [f"{number}\n".encode() for number in range(14)]
    fresh.close()


def test_closing_what_is_not_open(fresh: SshRemote) -> None:
    fresh.close()
    fresh.close()


def test_the_socket_is_private(account: Account, fresh: SshRemote) -> None:
    fresh.run(["true"])
    assert fresh.target.control.stat().st_mode & 0o777 == 0o600
    assert fresh.target.run_dir.stat().st_mode & 0o777 == 0o700
    fresh.close()


def test_a_folder_open_to_others_is_refused(account: Account, server: Server, fresh: SshRemote) -> None:
    fresh.target.run_dir.mkdir()
    fresh.target.run_dir.chmod(0o777)
    with pytest.raises(Failed) as caught:
        fresh.run(["true"])
    assert caught.value.ref == "run-dir-not-ours"


def test_the_socket_of_a_killed_master_is_no_obstacle(account: Account, server: Server, fresh: SshRemote) -> None:
    fresh.run(["true"])
    kill(master(fresh))
    awaited(lambda: not listens(fresh.target.control), 5, "the master is dead")
    assert fresh.target.control.exists()
    assert fresh.run(["echo", "again"]).stdout == b"again\n"
    fresh.close()


def master(remote: SshRemote) -> int:
    said = subprocess.run(
        ["ssh", "-o", f"ControlPath={remote.target.control}", "-O", "check", "box"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return int(said.stderr.split("pid=")[1].split(")")[0])


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_lost_while_a_command_runs(server: Server, fresh: SshRemote, tmp_path: Path) -> None:
    started = tmp_path / "started"
    fresh.run(["true"])
    threading.Thread(target=lambda: (awaited(started.exists, 10, "it runs"), server.stop(connections=True))).start()
    with pytest.raises(Unreachable) as caught:
        fresh.run(["sh", "-c", f"touch {started}; sleep 20"])
    assert caught.value.ref == "host-unreachable"
    assert "lost" in caught.value.what
    with pytest.raises(Unreachable):
        fresh.run(["true"])
    server.start()
    assert fresh.run(["echo", "back"]).stdout == b"back\n"
    fresh.close()


def test_lost_while_a_stream_runs(server: Server, fresh: SshRemote) -> None:
    lines = fresh.stream(["sh", "-c", "echo one; sleep 20; echo two"])
    assert next(lines) == b"one"
    server.stop(connections=True)
    with pytest.raises(Unreachable):
        next(lines)
    server.start()


def test_sshd_restarted_between_commands(server: Server, fresh: SshRemote) -> None:
    assert fresh.run(["echo", "1"]).stdout == b"1\n"
    server.stop(connections=True)
    server.start()
    assert fresh.run(["echo", "2"]).stdout == b"2\n"
    fresh.close()


def test_a_new_connection_cannot_be_made_but_the_shared_one_works(server: Server, fresh: SshRemote) -> None:
    fresh.run(["true"])
    server.stop()
    assert fresh.run(["echo", "still"]).stdout == b"still\n"
    server.start()
    fresh.close()


def test_a_login_shell_that_runs_nothing(account: Account, server: Server) -> None:
    server.stop()
    server.more = 'ForceCommand echo "This account is currently not available."; exit 1'
    server.start()
    target = account.target("box")
    pin(target, scan(target))
    remote = account.remote("box")
    with pytest.raises(Failed) as caught:
        remote.run(["true"])
    assert caught.value.ref == "remote-shell"
    remote.close()


def test_a_server_that_says_nothing(account: Account) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = account.remote("127.0.0.1", silent.getsockname()[1])
        began = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            remote.run(["true"])
        assert caught.value.ref == "host-unreachable"
        assert time.monotonic() - began < 15


def test_nothing_is_left_after_an_interrupt(server: Server, fresh: SshRemote, tmp_path: Path) -> None:
    fresh.run(["true"])
    lines = fresh.stream(["sh", "-c", "echo $$; exec sleep 30"])
    pid = int(next(lines))
    with pytest.raises(KeyboardInterrupt):
        lines.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    awaited(lambda: not Path(f"/proc/{pid}").exists(), 5, "the command has ended")
    fresh.close()
