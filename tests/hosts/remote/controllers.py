"""Controllers of hosts of the lab, for the tests of what is done to hosts."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lyc.hosts.look import look
from lyc.hosts.remote.bootstrap import Bootstrap
from lyc.hosts.remote.egress import Egress
from lyc.hosts.ssh.known import pin
from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.scan import scan
from lyc.records.host import RemoteFacts
from tests.hosts.ssh.test_real_hosts import Place
from tests.lab.lab import Lab
from tests.lab.machine import Machine


class Controller:
    """A controller that knows one host by one account."""

    def __init__(self, remote: SshRemote, place: Place) -> None:
        self.remote = remote
        self.place = place
        self.said: list[str] = []
        self.facts: RemoteFacts = look(remote, ["https://pypi.org/simple"], time.time)

    def bootstrap(self, owner: str = "me") -> Bootstrap:
        egress = Egress(self.remote.target, os.environ)
        return Bootstrap(self.remote, self.facts, owner=owner, environ=os.environ, egress=egress)

    def prepare(self) -> Bootstrap:
        made = self.bootstrap()
        made.run(self.said.append)
        return made

    def purge(self, *, force: bool = False) -> bool:
        return self.bootstrap().purge(self.said.append, force=force)


@contextmanager
def controller_of(lab: Lab, machine: Machine, user: str = "root") -> Iterator[Controller]:
    folder = Path(tempfile.mkdtemp(prefix="lyc-lab-"))
    place = Place(lab, folder)
    place.knows("gpu1", machine, f"User {user}")
    target = place.target("gpu1")
    pin(target, scan(target))
    remote = SshRemote(target, persist=30)
    try:
        yield Controller(remote, place)
    finally:
        remote.close()
        shutil.rmtree(folder)


@contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[int]:
    """An HTTP server on 127.0.0.1; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
