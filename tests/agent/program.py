"""The program as a process of this machine: what it does with weights is the same on every machine, without SSH."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lyc.hosts.remote.program import agent_zip

Document = dict[str, Any]


class Refusal(Exception):
    """The program refused."""

    def __init__(self, document: Document) -> None:
        super().__init__(json.dumps(document))
        self.document = document
        self.ref = str(document["ref"])
        self.kind = str(document["kind"])


class Program:
    """Calls it on a root of its own below `folder`. prefix: words before the interpreter. user: runs as. seen_at: what
    stands before the root for us, where the program lives in a mount namespace.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prefix: Iterable[str] = (),
        user: int | None = None,
        python: str = sys.executable,
        seen_at: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._root = folder / "root"
        self._root.mkdir(exist_ok=True)
        self.root = Path(f"{seen_at}{self._root}")
        self._zip = folder / "lyc.pyz"
        self._zip.write_bytes(agent_zip()[0])
        self._prefix = tuple(prefix)
        self._user = user
        self._python = python

    @property
    def store(self) -> Path:
        return self.root / "store"

    def start(self, command: str, *, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        argv = [*self._prefix, self._python, "-I", str(self._zip), "--root", str(self._root), command]
        return subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, user=self._user, umask=0o077,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip

    def call(self, command: str, request: Document | None = None, *, stdin: bytes | None = None) -> Document:
        """The answer. Raises Refusal."""
        return self.ended(self.start(command), stdin if stdin is not None else json.dumps(request or {}).encode())[-1]

    def ended(self, process: subprocess.Popen[bytes], stdin: bytes = b"") -> list[Document]:
        """All that it says once it has ended. Raises Refusal."""
        out, errors = process.communicate(stdin, timeout=120)
        lines = [json.loads(line) for line in out.splitlines()]
        if lines and "error" in lines[-1]:
            assert process.returncode == 3
            raise Refusal(lines[-1]["error"])
        assert process.returncode == 0, errors.decode()
        return lines

    def part(self, data: bytes) -> Path:
        return self.store / "incoming" / f"{hex_of(data)}.part"

    def blob(self, data: bytes) -> Path:
        return self.store / "blobs" / "sha256" / hex_of(data)

    def arrived(self, data: bytes) -> int:
        """Bytes of a part."""
        with suppress(FileNotFoundError):
            return self.part(data).stat().st_size
        return 0

    def give(self, *contents: bytes) -> None:
        """Make blobs of these, as a push does."""
        assert self.call("receive", stdin=b"".join(framed(data) for data in contents)) == {"stopped": None}

    def link(self, files: dict[str, bytes], **more: object) -> Path:
        """A snapshot of these, whose blobs are there."""
        return Path(self.call("link", {"manifest": text_of(files), **more})["path"])

    def missing(self, *contents: bytes) -> list[tuple[str, int, int]]:
        rows = [row(f"f{number}", data) for number, data in enumerate(contents)]
        found = self.call("missing", {"files": rows})["missing"]
        return [(each["digest"], each["size"], each["offset"]) for each in found]


def hex_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(data: bytes) -> str:
    return f"sha256:{hex_of(data)}"


def row(path: str, data: bytes) -> Document:
    return {"path": path, "size": len(data), "digest": digest_of(data)}


def text_of(files: dict[str, bytes]) -> str:
    """The canonical manifest, written down here once more so that a change of it is seen."""
    rows = ",".join(
        f'{{"digest":"{digest_of(data)}","path":{json.dumps(path)},"size":{len(data)}}}'
        for path, data in sorted(files.items())
    )
    return f'{{"files":[{rows}],"version":1}}'


def framed(data: bytes, offset: int = 0, digest: str | None = None) -> bytes:
    """A file as `receive` reads it."""
    return f"{digest or digest_of(data)} {len(data)} {offset}\n".encode() + data[offset:]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for `condition`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.005)


def listening(process: subprocess.Popen[bytes]) -> Iterator[Document]:
    """What it says, line by line."""
    assert process.stdout
    for line in process.stdout:
        yield json.loads(line)


@contextmanager
def on_a_disk_of(size: int, folder: Path) -> Iterator[Program]:
    """A program whose root is a disk of that many bytes. Skips where there can be none."""
    if os.getuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
        pytest.skip("a small disk needs root and namespaces")
    (folder / "root").mkdir()
    script = f'mount -t tmpfs -o size={size} none "$0" && echo ready && exec sleep 600'
    argv = ["unshare", "--mount", "sh", "-c", script, str(folder / "root")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as keeper:
        try:
            assert keeper.stdout
            assert keeper.stdout.readline() == b"ready\n"
            prefix = ("nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt")
            yield Program(folder, prefix=prefix, seen_at=f"/proc/{keeper.pid}/root")
        finally:
            keeper.kill()


class Heard:
    """What a process says, read meanwhile."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.lines: list[Document] = []
        self._thread = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._thread.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        self.lines.extend(listening(process))

    def all(self) -> list[Document]:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.lines
