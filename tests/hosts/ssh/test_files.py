"""Files to and from a real sshd, and streams: whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from lyc.errors import Failed, LycError, NotFound, Unreachable
from lyc.hosts.ssh.remote import SshRemote
from tests.hosts.ssh.server import Server, awaited

MIB = 1 << 20


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o400])
def test_content_and_mode(remote: SshRemote, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a file, 'quoted'"
    for data in (b"", b"first", os.urandom(3 * MIB)):
        remote.put(data, str(path), mode=mode)
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert remote.get(str(path), most=4 * MIB) == data
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_local_file(remote: SshRemote, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(os.urandom(20 * MIB + 1))
    remote.put(tmp_path / "here", str(tmp_path / "there"))
    assert digest(tmp_path / "here") == digest(tmp_path / "there")
    with pytest.raises(Failed) as caught:
        remote.put(tmp_path / "nowhere", str(tmp_path / "there"))
    assert caught.value.ref == "no-such-file"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_secret_is_never_readable_by_others(remote: SshRemote, tmp_path: Path) -> None:
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            with contextlib.suppress(FileNotFoundError):
                seen.extend(stat.S_IMODE(entry.lstat().st_mode) for entry in tmp_path.iterdir())

    looker = threading.Thread(target=look)
    looker.start()
    try:
        remote.put(os.urandom(16 * MIB), str(tmp_path / "secret"), mode=0o600)
    finally:
        over.set()
        looker.join()
    assert seen
    assert {mode & 0o077 for mode in seen} == {0}


def test_content_is_in_no_argv(remote: SshRemote, tmp_path: Path) -> None:
    secret = b"a-secret-" + os.urandom(8).hex().encode()
    seen: list[bytes] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208  Path looks into each, and may fail
                with contextlib.suppress(OSError):  # it has just ended
                    seen.append(Path("/proc", name, "cmdline").read_bytes())

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(5):
            remote.put(secret, str(tmp_path / "secret"), mode=0o600)
            remote.run(["cat"], stdin=secret)
    finally:
        over.set()
        looker.join()
    assert any(b"lyc-" in line for line in seen)
    assert not any(secret in line for line in seen)


@pytest.mark.parametrize("old", [None, b"the old content"])
def test_cut_off_in_the_middle(fresh: SshRemote, server: Server, tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "there" / "file"
    path.parent.mkdir()
    if old is not None:
        path.write_bytes(old)
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(512 * MIB)
    failed: list[LycError] = []

    def send() -> None:
        try:
            fresh.put(big, str(path))
        except LycError as error:
            failed.append(error)

    fresh.run(["true"])
    sender = threading.Thread(target=send)
    sender.start()
    awaited(lambda: sum(entry.stat().st_size for entry in path.parent.glob(".file.lyc-*")) > MIB, 30, "bytes arrive")
    server.stop(connections=True)
    sender.join(30)
    assert [type(error) for error in failed] == [Unreachable]
    assert (path.read_bytes() if path.exists() else None) == old
    awaited(lambda: list(path.parent.glob(".file.lyc-*")) == [], 10, "what came is taken away")


def test_a_folder_that_is_not_there(remote: SshRemote, tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        remote.put(b"x", str(tmp_path / "no" / "file"))
    assert caught.value.ref == "remote-put-failed"
    assert "No such file" in caught.value.why


def test_a_folder_in_the_way(remote: SshRemote, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Failed) as caught:
        remote.put(b"x", str(tmp_path / "folder"))
    assert caught.value.ref == "remote-put-failed"
    assert list((tmp_path / "folder").iterdir()) == []
    with pytest.raises(Failed):
        remote.get(str(tmp_path / "folder"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_file_that_is_not_there(remote: SshRemote, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        remote.get(str(tmp_path / "nowhere"))
    assert caught.value.ref == "no-such-remote-file"


def test_a_file_larger_than_wanted(remote: SshRemote, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert remote.get(str(tmp_path / "file"), most=5) == b"12345"
    with pytest.raises(Failed) as caught:
        remote.get(str(tmp_path / "file"), most=4)
    assert caught.value.ref == "remote-file-too-large"


def test_lines_come_while_the_command_runs(remote: SshRemote) -> None:
    began = time.monotonic()
    lines = remote.stream(["sh", "-c", "echo one; echo two >&2; sleep 3; printf three"])
    assert [next(lines), next(lines)] == [b"one", b"two"]
    assert time.monotonic() - began < 2
    assert list(lines) == [b"three"]


def test_a_stream_ends_with_the_commands_failure(remote: SshRemote) -> None:
    lines = remote.stream(["sh", "-c", "echo one; exit 255"])
    assert next(lines) == b"one"
    with pytest.raises(Failed) as caught:
        next(lines)
    assert caught.value.ref == "remote-command-failed"
    assert "255" in caught.value.what


def test_closing_a_stream_ends_the_command(remote: SshRemote) -> None:
    lines = remote.stream(["sh", "-c", "echo $$; while :; do sleep 0.1; done"])
    pid = int(next(lines))
    assert Path(f"/proc/{pid}").exists()
    lines.close()  # type: ignore[attr-defined]
    awaited(lambda: not Path(f"/proc/{pid}").exists(), 5, "the command has ended")


def test_a_stream_that_takes_too_long(remote: SshRemote) -> None:
    lines = remote.stream(["sh", "-c", "echo up; sleep 30"], timeout=1.0)
    assert next(lines) == b"up"
    with pytest.raises(Failed) as caught:
        next(lines)
    assert caught.value.ref == "remote-timeout"


def test_a_stream_of_64_mib(remote: SshRemote) -> None:
    count = sum(len(line) + 1 for line in remote.stream(["sh", "-c", "yes 0123456789abcde | head -c 67108864"]))
    assert count == 64 * MIB
