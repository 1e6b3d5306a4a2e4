"""A host with the program on it, behind a real sshd of this machine; and a fetch onto it as a process to be killed:
`far_store.py PLACE MODEL`, where PLACE is what `FarStore.place` wrote. It prints its progress in bytes, line by line.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lyc.errors import LycError
from lyc.hosts.remote.calls import Agent
from lyc.hosts.remote.program import agent_zip
from lyc.hosts.remote.weights import RemoteCache
from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.target import Target
from lyc.ports import Source
from lyc.records.model import Listing, ModelRef, Snapshot, SourceKind
from lyc.sources.cache import ContentCache
from lyc.sources.local import LocalSource


@dataclass
class FarStore:
    """remote: the host. root: lyc's folder there. seen: the same as this machine sees it. here: the cache of this
    machine.
    """

    remote: SshRemote
    root: str
    seen: Path
    here: ContentCache
    python: str = sys.executable

    @property
    def agent(self) -> Agent:
        return Agent(self.remote, PurePosixPath(self.root), self.python, f"{self.root}/agent.pyz")

    @property
    def store(self) -> Path:
        return self.seen / "store"

    def install(self) -> None:
        self.remote.run(["mkdir", "-p", self.root])
        self.remote.put(agent_zip()[0], f"{self.root}/agent.pyz")

    def cache(self, reaches: Callable[[str], bool | None] = lambda _: None, **more: Any) -> RemoteCache:
        return RemoteCache(lambda: self.agent, self.here, reaches=reaches, **more)

    def arrived(self) -> int:
        """Bytes of weights there, finished or not."""
        found = 0
        for file in (*self.store.glob("incoming/*.part"), *self.store.glob("blobs/sha256/*")):
            try:
                found += file.stat().st_size
            except FileNotFoundError:  # finished since it was listed
                return self.arrived()
        return found

    def place(self, file: Path) -> Path:
        """Written down for another process."""
        target = self.remote.target
        words = [target.address, target.port, target.known_hosts, target.run_dir, target.config]
        document = {"target": [word and str(word) for word in words], "root": self.root, "here": str(self.here.root)}
        file.write_text(json.dumps(document | {"python": self.python}))
        return file


class Wire:
    """A line to a port of this machine, so many bytes a second wide on the way there, that can be cut.

    sent: bytes that went there. at: what happens when so many have, in order, each once; the line waits for it.
    """

    def __init__(self, port: int, *, rate: int) -> None:
        self._target = port
        self._rate = rate
        self.sent = 0
        self.at: list[tuple[int, Callable[[], object]]] = []
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)  # little is on its way
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Every connection that is there breaks. New ones are taken."""
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """No more."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._server.close()
        self.cut()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._open += [near, far]
            threading.Thread(target=self._pass_on, args=(near, far), kwargs={"count": True}, daemon=True).start()
            threading.Thread(target=self._pass_on, args=(far, near), daemon=True).start()

    def _pass_on(self, near: socket.socket, far: socket.socket, *, count: bool = False) -> None:
        with suppress(OSError):
            while data := near.recv(32 << 10):
                far.sendall(data)
                if count:
                    self.sent += len(data)
                    if self.at and self.sent >= self.at[0][0]:
                        self.at.pop(0)[1]()
                    time.sleep(len(data) / self._rate)
        for end in (near, far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def local(folder: Path) -> tuple[Source, Listing]:
    """A folder of this machine as a source, resolved."""
    source = LocalSource()
    return source, source.resolve(ModelRef(SourceKind.LOCAL, str(folder)))


def whole(far: FarStore, snapshot: Snapshot, files: dict[str, bytes]) -> bool:
    """Whether the host serves exactly these."""
    folder = far.seen / Path(snapshot.path).relative_to(far.root)
    there = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return there == files


def main(place: str, model: str) -> None:
    """See above. The last line is the path of the snapshot, or the error."""
    known = json.loads(Path(place).read_text())
    address, port, *paths = known["target"]
    remote = SshRemote(Target(address, port, *(Path(path) for path in paths)), persist=5)
    far = FarStore(remote, known["root"], Path(known["root"]), ContentCache(Path(known["here"])), known["python"])
    try:
        snapshot = far.cache().snapshot(*local(Path(model)), lambda done, total: print(done, flush=True))
        print(snapshot.path, flush=True)
    except LycError as error:
        print(json.dumps(error.document()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
