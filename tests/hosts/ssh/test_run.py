"""Commands on a real sshd: what goes in, what comes out, how it ends."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from lyc.errors import Failed, UsageError
from lyc.hosts.ssh.remote import SshRemote
from tests.hosts.ssh.server import awaited

MIB = 1 << 20


def test_output_and_status(remote: SshRemote) -> None:
    done = remote.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


@pytest.mark.parametrize(
    "word",
    ["", "a b", "'", '"', "\\", "a\\", "$HOME", "`id`", "!x", "a\nb", "\n", "'\n'", "\n\n\n", "é – 漢字 🙂", "*", "~", "-n",
     "#", "a;b", "&", "a\tb", "\r", "\x01\x7f\x81", "\udcff\udc81"],
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


def test_too_slow_is_ended_there_too(remote: SshRemote) -> None:
    mark = f"30.{os.getpid()}1"
    began = time.monotonic()
    with pytest.raises(Failed) as caught:
        remote.run(["sh", "-c", f"echo so far >&2; sleep {mark}"], timeout=0.5)
    assert caught.value.ref == "remote-timeout"
    assert caught.value.detail == ("so far",)
    assert time.monotonic() - began < 4
    awaited(lambda: remote.run(["pgrep", "-f", f"^sleep {mark}"], check=False).code == 1, 5, "the sleep is gone")


def test_too_slow_with_stdin_is_ended_there_too(remote: SshRemote) -> None:
    mark = f"30.{os.getpid()}2"
    with pytest.raises(Failed):
        remote.run(["sleep", mark], stdin=b"some\nlines\n", timeout=0.5)
    awaited(lambda: remote.run(["pgrep", "-f", f"^sleep {mark}"], check=False).code == 1, 5, "the sleep is gone")


def test_one_that_ignores_the_signal_is_killed(remote: SshRemote) -> None:
    mark = f"30.{os.getpid()}3"
    with pytest.raises(Failed):
        remote.run(["sh", "-c", f"trap '' TERM; sleep {mark}; sleep {mark}"], timeout=0.5)
    awaited(lambda: remote.run(["pgrep", "-f", f"^sleep {mark}"], check=False).code == 1, 8, "the sleep is gone")


def test_what_a_command_leaves_running_stays(remote: SshRemote) -> None:
    mark = f"30.{os.getpid()}4"
    for stdin in (b"", b"x"):
        remote.run(["sh", "-c", f"cat; sleep {mark} >/dev/null 2>&1 </dev/null &"], stdin=stdin)
        time.sleep(0.3)  # long enough for a mistaken end to show
        assert remote.run(["pkill", "-f", f"^sleep {mark}"], check=False).code == 0


def test_nothing_of_a_command_is_in_a_process_list_here(remote: SshRemote) -> None:
    stream = remote.stream(["sh", "-c", "echo up; sleep 20 # a-word-to-find"])
    assert next(stream) == b"up"
    ours = [path.read_bytes() for path in _own_processes()]
    assert any(b"ControlPath" in line for line in ours)
    assert not any(b"a-word-to-find" in line and line.startswith(b"ssh\0") for line in ours)
    stream.close()  # type: ignore[attr-defined]


def _own_processes() -> list:  # type: ignore[type-arg]
    from pathlib import Path

    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
