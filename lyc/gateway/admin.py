"""Envoy's admin interface over its unix socket (mode 0600: who may open it sees the engines' keys)."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from lyc.errors import Unreachable
from lyc.gateway.clusters import cluster_name

MAX_SOCKET_PATH = 103 if sys.platform == "darwin" else 107
"""Bytes that fit into `sockaddr_un` besides the closing zero."""

_DARWIN_PEER_PID = (0, 2)  # SOL_LOCAL, LOCAL_PEERPID


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("envoy", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fsencode(self._path))


@dataclass(frozen=True, slots=True)
class ReplicaHealth:
    """A replica as Envoy sees it. active: requests in flight, each until its last byte. healthy: gets new ones.

    total: requests since it came, tries of the same request counted each.
    """

    id: str
    active: int
    healthy: bool
    total: int


_HOST = re.compile(rb"::(rq_active|rq_total|hostname|health_flags)::([^\n]*)")


def replicas(text: bytes) -> list[ReplicaHealth]:
    """What Envoy's list of its clusters says of replicas, as text: as JSON it takes Envoy's main thread four times as
    long. The lines of a host follow one another, its flags last, each of them a reason to send nothing there.
    """
    found: list[ReplicaHealth] = []
    seen: dict[bytes, bytes] = {}
    prefix = cluster_name("").encode()
    for match in _HOST.finditer(text):
        name, value = match.groups()
        if name == b"hostname" and not text.startswith(prefix, text.rfind(b"\n", 0, match.start()) + 1):
            seen.clear()  # the activator's
        elif name != b"health_flags":
            seen[name] = value
        elif b"hostname" in seen:
            host, active, total = seen[b"hostname"].decode(), int(seen[b"rq_active"]), int(seen[b"rq_total"])
            found.append(ReplicaHealth(host, active, value == b"healthy", total))
            seen.clear()
    return found


class Admin:
    """The admin interface of one Envoy. Every call opens its own connection and raises `Unreachable`."""

    def __init__(self, path: Path, timeout: float = 5.0) -> None:
        self._path = path
        self._timeout = timeout

    def call(self, path: str, method: str = "GET") -> bytes:
        """The body of the answer."""
        connection = _UnixConnection(self._path, self._timeout)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise self._silent(f"it answered {answer.status} to {method} {path}")
        return body

    def state(self) -> str:
        """`LIVE`, `DRAINING`, `PRE_INITIALIZING` or `INITIALIZING`, as Envoy calls them."""
        return str(json.loads(self.call("/server_info"))["state"])

    def listening(self) -> bool:
        """Whether the port is open. Envoy lives on without it when the port was taken."""
        return bool(json.loads(self.call("/listeners?format=json")).get("listener_statuses"))

    def versions(self) -> frozenset[str]:
        """The versions of all files that Envoy has taken (see `lyc.gateway.xds.version`)."""
        lines = self.call("/stats?type=TextReadouts&filter=version_text$").decode().splitlines()
        return frozenset(line.rpartition(": ")[2].strip('"') for line in lines if ".version_text: " in line)

    def rejections(self) -> int:
        """How often Envoy has refused a file since it started."""
        lines = self.call("/stats?filter=update_rejected$").decode().splitlines()
        return sum(int(line.rpartition(": ")[2]) for line in lines)

    def listener_errors(self) -> list[str]:
        """Why the listener could not be made or changed, in Envoy's words."""
        dump = json.loads(self.call("/config_dump?resource=dynamic_listeners"))
        errors = (listener.get("error_state", {}).get("details") for listener in dump.get("configs", ()))
        return [str(error) for error in errors if error]

    def replicas(self) -> list[ReplicaHealth]:
        """Every replica that Envoy knows, draining ones too."""
        return replicas(self.call("/clusters"))

    def pid(self) -> int | None:
        """The process behind the socket, as the kernel says; None where the kernel does not."""
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(self._timeout)
                probe.connect(os.fsencode(self._path))
                if sys.platform == "darwin":
                    return probe.getsockopt(*_DARWIN_PEER_PID)
                else:  # noqa: RET505 (so that a type checker sees one branch a platform)
                    size = struct.calcsize("3i")
                    pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
                    return int(pid)
        except OSError:
            return None

    def _silent(self, why: str) -> Unreachable:
        return Unreachable(
            "gateway-silent",
            "the gateway does not answer on its admin socket",
            why=why,
            where=str(self._path),
            hint="lyc controller logs",
        )
