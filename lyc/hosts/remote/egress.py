"""A way out, lent to a host that has none: uv there goes through this machine, while it installs and no longer.

A proxy listens on a private unix socket here, and `ssh -R` makes it a port of the host's loopback. It wants a password
that uv alone is told, and leads to public addresses and to the places that are configured: nobody on the host gets into
this machine's network by it. SOCKS by `ssh -R` alone would let everybody in, and everywhere.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lyc.errors import Unreachable
from lyc.hosts.remote.places import Places
from lyc.hosts.remote.relay import Outward, Relay
from lyc.hosts.ssh.link import Link
from lyc.hosts.ssh.target import Target, last_line, run

FORWARD_SECONDS = 20.0
STALE_SECONDS = 60.0


class Egress:
    """One host's way out. target: the host; its shared connection is used. environ: with this machine's own proxies."""

    def __init__(self, target: Target, environ: Mapping[str, str]) -> None:
        self._target = target
        self._environ = environ

    @contextmanager
    def lent(self, places: Places, *, all_of_it: bool) -> Iterator[dict[str, str]]:
        """Variables that make uv on the host go this way; they hold the password. all_of_it: else only places that are
        near or without TLS go by it, and the host fetches the rest itself.

        Raises Unreachable `no-way-out-lent` where sshd forwards no ports, and what connecting raises.
        """
        password = secrets.token_urlsafe(24)
        Link(self._target).ensure()  # makes the private folder too
        sweep(self._target.run_dir, time.time())
        path = self._target.run_dir / f"out-{secrets.token_hex(6)}"
        server = Relay(str(path), Outward(places.folders, places.servers, own_proxies(self._environ)), password)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            path.chmod(0o600)
            with forwarded(self._target, path) as port:
                way = f"http://lyc:{password}@127.0.0.1:{port}"
                names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") if all_of_it else ("HTTP_PROXY",)
                yield {name: way for upper in names for name in (upper, upper.lower())} | {
                    "NO_PROXY": "",
                    "no_proxy": "",
                }
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            path.unlink(missing_ok=True)


@contextmanager
def forwarded(target: Target, path: Path) -> Iterator[int]:
    """A port of the host's loopback that leads to the unix socket `path` here, over the shared connection.

    Raises Unreachable `no-way-out-lent`.
    """
    spec = f"127.0.0.1:0:{path}"
    port, why = _asked(target, "forward", spec)
    if not port.isdigit():
        raise Unreachable(
            "no-way-out-lent",
            f"{target.address} does not reach the package index, and sshd there does not let lyc lend it a way out",
            why=why,
            where=target.shown,
            hint="allow it there: AllowTcpForwarding yes in sshd_config; or give the host a way to the index",
        )
    try:
        yield int(port)
    finally:
        _asked(target, "cancel", spec)


def _asked(target: Target, what: str, spec: str) -> tuple[str, str]:
    """Ask the shared connection → (what it answered, what went wrong).

    Without the user's configuration, whose own forwardings would come along.
    """
    control = str(target.control).replace("%", "%%")
    try:
        done = run(["ssh", "-F", "/dev/null", "-S", control, "-O", what, "-R", spec, "--", "host"], FORWARD_SECONDS)
    except TimeoutError as error:
        return "", str(error)
    return (done.stdout.decode().strip(), "") if done.returncode == 0 else ("", last_line(done.stderr))


def sweep(folder: Path, now: float) -> None:
    """Remove sockets that controllers which were killed left behind; the young ones may be just coming up."""
    for path in folder.glob("out-*"):
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            if now - path.stat().st_mtime > STALE_SECONDS and probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                path.unlink()


def own_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies that this machine itself goes out by; see `lyc.hosts.remote.relay.Outward`."""

    def said(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name.upper()) or ""

    every = said("all_proxy")
    found = {"http": said("http_proxy") or every, "https": said("https_proxy") or every, "no": said("no_proxy")}
    return {name: value for name, value in found.items() if value}
