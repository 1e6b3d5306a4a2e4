"""Commands on a real sshd: what goes in, what comes out, how it ends."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from lyc.errors import Failed, Unreachable, UsageError
from lyc.hosts.ssh.remote import SshRemote
from tests.hosts.ssh.server import awaited

MIB = 1 << 20


def test_output_and_status(remote: SshRemote) -> None:
    done = remote.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


@pytest.mark.parametrize(
    "word",
    ["", "a b", "'", '"', "\\", "a\\", "$HOME", "`id`", "!x", "a\nb", "\n", "'\n'", "\n\n\n", "é – 漢字 🙂", "*", "~",
     "-n", "#", "a;b", "&", "a\tb", "\r", "\x01\x7f\x81", "\udcff\udc81"],
)  # fmt: skip
def test_words_arrive_as_they_are(remote: SshRemote, word: str) -> None:
    done = remote.run(["printf", "%s\\0", word, "x", word])
    raw = word.encode("utf-8", "surrogateescape")
    assert done.stdout == raw + b"\0x\0" + raw + b"\0"


def test_a_command_longer_than_linux_takes_in_one_argument(remote: SshRemote) -> None:
    words = [f"{number:0100d}" for number in range(4000)]
    done = remote.run(["sh", "-c", 'printf "%s\\n" "$@"', "sh", *words])
    assert done.stdout.decode().split() == words


def test_nul_is_refused(remote: SshRemote) -> None:
    with pytest.raises(UsageError) as caught:
        remote.run(["echo", "a\0b"])
    assert caught.value.ref == "invalid-argument"


@pytest.mark.parametrize("code", [1, 126, 127, 254, 255])
def test_any_status_is_the_commands_own(remote: SshRemote, code: int) -> None:
    assert remote.run(["sh", "-c", f"exit {code}"], check=False).code == code
    assert remote.run(["sh", "-c", f"cat >/dev/null; exit {code}"], stdin=b"x", check=False).code == code


def test_death_by_a_signal(remote: SshRemote) -> None:
    assert remote.run(["sh", "-c", "kill -KILL $$"], check=False).code == 128 + 9


def test_a_failure_is_an_error_with_the_end_of_stderr(remote: SshRemote) -> None:
    with pytest.raises(Failed) as caught:
        remote.run(["sh", "-c", "echo one >&2; echo two >&2; exit 5"])
    assert caught.value.ref == "remote-command-failed"
    assert caught.value.why == "two"
    assert caught.value.detail == ("one", "two")


def test_a_command_that_is_not_there(remote: SshRemote) -> None:
    assert remote.run(["no-such-command"], check=False).code == 127


def test_stdin(remote: SshRemote) -> None:
    assert remote.run(["cat"], stdin=b"a\n\0b").stdout == b"a\n\0b"
    assert remote.run(["cat"]).stdout == b""


def test_64_mib_both_ways(remote: SshRemote) -> None:
    data = os.urandom(64 * MIB)
    done = remote.run(["cat"], stdin=data, timeout=120)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_stdin_that_nobody_reads(remote: SshRemote) -> None:
    assert remote.run(["echo", "done"], stdin=b"line\n" * (4 * MIB)).stdout == b"done\n"


SLOW = 'echo $$ >"$1"; echo so far >&2; exec sleep 30'


def gone(told: Path) -> bool:
    """Whether the process that wrote its number there has ended."""
    return not Path(f"/proc/{told.read_text().strip()}").exists()


@pytest.mark.parametrize("stdin", [b"", b"some\nlines\n"])
def test_too_slow_is_ended_there_too(remote: SshRemote, tmp_path: Path, stdin: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(Failed) as caught:
        remote.run(["sh", "-c", SLOW, "sh", str(tmp_path / "pid")], stdin=stdin, timeout=1.5)
    assert caught.value.ref == "remote-timeout"
    assert caught.value.detail == ("so far",)
    assert time.monotonic() - began < 5
    awaited(lambda: gone(tmp_path / "pid"), 5, "the command is gone")


def test_one_that_ignores_the_signal_is_killed(remote: SshRemote, tmp_path: Path) -> None:
    with pytest.raises(Failed):
        remote.run(["sh", "-c", f"trap '' TERM; {SLOW}", "sh", str(tmp_path / "pid")], timeout=1.5)
    awaited(lambda: gone(tmp_path / "pid"), 8, "the command is gone")


def test_a_stream_that_falls_silent_is_ended(remote: SshRemote, tmp_path: Path) -> None:
    said = f"for n in 1 2 3 4; do echo $n; sleep 0.4; done; printf half; {SLOW}"
    lines: list[bytes] = []
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        lines.extend(remote.stream(["sh", "-c", said, "sh", str(tmp_path / "pid")], silence=1.0))
    assert lines == [b"1", b"2", b"3", b"4", b"halfso far"]
    assert 2.5 < time.monotonic() - began < 5.0
    assert caught.value.ref == "host-unreachable"
    awaited(lambda: gone(tmp_path / "pid"), 8, "the command is gone")


@pytest.mark.parametrize("stdin", [b"", b"x"])
def test_what_a_command_leaves_running_stays(remote: SshRemote, stdin: bytes) -> None:
    done = remote.run(["sh", "-c", "cat >/dev/null; sleep 30 >/dev/null 2>&1 </dev/null & echo $!"], stdin=stdin)
    pid = int(done.stdout)
    with pytest.raises(AssertionError):
        awaited(lambda: not Path(f"/proc/{pid}").exists(), 0.5, "it has ended, by mistake")
    os.kill(pid, 9)


def test_nothing_of_a_command_is_in_the_list_of_processes_here(remote: SshRemote) -> None:
    lines = remote.stream(["sh", "-c", "echo up; sleep 20 # a-word-to-find"])
    assert next(lines) == b"up"
    ours = [line for line in map(argv_of, Path("/proc").glob("[0-9]*")) if line.startswith(b"ssh\0")]
    assert any(str(remote.target.control).encode() in line for line in ours)
    assert not any(b"a-word-to-find" in line for line in ours)
    lines.close()  # type: ignore[attr-defined]


def argv_of(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
