"""EnvoyGateway: `lyc.ports.Gateway` with a real Envoy, driven by files alone. It starts and stops no process."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from lyc.errors import Failed, LycError, Unreachable
from lyc.gateway.admin import MAX_SOCKET_PATH, Admin
from lyc.gateway.binary import envoy_binary, envoy_version
from lyc.gateway.clusters import cluster_name, endpoints_file
from lyc.gateway.diagnosis import diagnose, port_taken
from lyc.gateway.files import Folder, private_folder, private_log, replace
from lyc.gateway.listener import bind_address
from lyc.gateway.polling import intervals, polled
from lyc.gateway.render import BOOTSTRAP, CDS, ECDS_AUTH, ECDS_USAGE, LDS, RDS, Layout, render
from lyc.gateway.shared import Shared
from lyc.gateway.xds import resources, version
from lyc.records.gateway import GatewayConfig, GatewayStatus
from lyc.records.process import ProcessSpec

__all__ = ["EnvoyGateway", "diagnose", "envoy_binary", "envoy_version", "port_free", "port_taken"]

PROCESS_ID = "gateway"
DRAIN_SECONDS = 600
"""How long a replaced listener's streams may go on after a change of host or port."""
TAKE_SECONDS = 10.0
"""A running Envoy takes a change within milliseconds; on a machine with no CPU to spare it may be seconds."""
TAKE_SOON = 1.5
LOOK_SECONDS = 0.03

_LISTENERS_OWN = (ECDS_AUTH, ECDS_USAGE, RDS)  # read when the listener is there, not before


class EnvoyGateway:
    """The gateway of one controller.

    Args:
        directory: private folder for what Envoy reads; its siblings `log` and `process` are the gateway's too.
        run_directory: private folder for the admin socket; short, because a socket's path is at most 107 bytes.
        workers: Envoy's worker threads.
        admin_timeout: seconds after which an Envoy that does not answer on its admin socket counts as silent.
    """

    def __init__(self, directory: Path, run_directory: Path, *, workers: int = 2, admin_timeout: float = 5.0) -> None:
        files = directory.absolute()
        self.layout = Layout(
            files=files,
            admin_socket=run_directory.absolute() / "envoy.sock",
            access_log=files.with_name("log") / "access.jsonl",
        )
        self._files = Folder(files)
        self._workers = workers
        self._admin = Admin(self.layout.admin_socket, admin_timeout)
        self._last: tuple[GatewayConfig, Mapping[str, str]] | None = None
        self._polls: Mapping[str, str] | None = None
        self._asked = Shared(self._status)

    def apply(self, config: GatewayConfig) -> None:
        """Write what differs, in an order in which no state between two files is wrong; nothing running is cut.

        Keys go first (a revoked key is refused even if the rest fails); a cluster comes before its route and goes
        after it. When this returns, a running Envoy has taken all of it, also what an earlier call wrote.

        Raises `Failed` (`gateway-files-not-written`, `gateway-change-rejected`), `UsageError` (a port or address that
        cannot be had), `Unreachable` (`gateway-change-not-taken`: Envoy runs and does not look). What was written
        stays valid; calling again goes on from there.
        """
        wanted = self._rendered(config)
        if self._settled(wanted):
            return
        for folder in (self.layout.files, self.layout.access_log.parent, self.layout.admin_socket.parent):
            private_folder(folder)
        private_log(self.layout.access_log)
        former = self._files.text(CDS)
        replicas = [name for name in wanted if name not in (ECDS_AUTH, ECDS_USAGE, CDS, RDS, LDS, BOOTSTRAP)]
        self._put(
            {name: wanted[name] for name in (ECDS_AUTH, ECDS_USAGE, *replicas)} | {CDS: _both(former, wanted[CDS])}
        )
        self._put({RDS: wanted[RDS]})
        self._put({name: wanted[name] for name in (CDS, BOOTSTRAP, LDS)})
        for stale in self._stale(wanted):
            stale.unlink(missing_ok=True)

    def process(self, config: GatewayConfig) -> ProcessSpec:  # noqa: ARG002 (the port's; all is in the files)
        """How to run Envoy on what `apply` wrote. Raises `Failed` (`envoy-missing`) where there is no Envoy."""
        self._check_socket_path()
        argv = (
            str(envoy_binary()),
            "--config-path", str(self.layout.files / BOOTSTRAP),
            "--concurrency", str(self._workers),
            # No hot restart: a killed Envoy leaves no shared memory behind, and two never meet.
            "--disable-hot-restart",
            "--log-level", "warn",
            "--file-flush-interval-msec", "200",
            "--drain-time-s", str(DRAIN_SECONDS),
            "--drain-strategy", "immediate",
        )  # fmt: skip
        return ProcessSpec(id=PROCESS_ID, directory=self.layout.files.with_name("process"), argv=argv)

    def status(self) -> GatewayStatus:
        """`running` once the port is open; `starting` before that, and as long as the port cannot be had (`error`).

        Callers at the same time share an answer, none of it from before their calls.
        """
        return self._asked()

    def _status(self) -> GatewayStatus:
        if not self.layout.admin_socket.exists():
            return GatewayStatus("absent")
        try:
            state, listening, replicas = self._admin.state(), self._admin.listening(), self._admin.replicas()
            error = None if listening else diagnose(self._admin.listener_errors())
        except LycError:
            pid = self._admin.pid()
            return GatewayStatus("starting" if pid else "stopped", pid=pid)
        ready = listening and state in ("LIVE", "DRAINING")
        return GatewayStatus(
            "running" if ready else "starting",
            pid=self._admin.pid(),
            active={replica.id: replica.active for replica in replicas},
            healthy=frozenset(replica.id for replica in replicas if replica.healthy),
            error=error,
            total={replica.id: replica.total for replica in replicas},
        )

    def drain(self) -> None:
        """Tell clients to go: no connection is kept alive any more, running requests finish. Raises `Unreachable`."""
        self._admin.call("/drain_listeners?graceful", "POST")

    def rotate_log(self, longest: int) -> None:
        """Set an access log of more than `longest` bytes aside as `.1`, in place of an older one. Never raises."""
        log = self.layout.access_log
        with suppress(OSError, LycError):
            if log.stat().st_size > longest:
                log.replace(log.with_name(f"{log.name}.1"))
                private_log(log)
                self._admin.call("/reopen_logs", "POST")

    def _rendered(self, config: GatewayConfig) -> Mapping[str, str]:
        """A controller asks every second, and ten thousand keys take a tenth of a second to render."""
        if self._last is None or self._last[0] != config:
            if self._polls is None:
                self._polls = polled(self._files.text(CDS), cluster_name(""))
            self._polls = intervals([route.deployment for route in config.routes], self._polls)
            self._last = (config, render(config, self.layout, self._polls))
        return self._last[1]

    def _settled(self, wanted: Mapping[str, str]) -> bool:
        """Whether nothing is to be done: the files are as wanted, and a running Envoy has taken them."""
        if any(self._files.text(name) != text for name, text in wanted.items()) or self._stale(wanted):
            return False
        marks = {version(text) for name, text in wanted.items() if name != BOOTSTRAP}
        try:
            return marks <= self._admin.versions()
        except Unreachable:
            return False

    def _stale(self, wanted: Mapping[str, str]) -> list[Path]:
        pattern = endpoints_file("*")
        return [self._files.path / one for one in self._files.names() if one not in wanted and fnmatch(one, pattern)]

    def _put(self, wanted: Mapping[str, str]) -> None:
        """Bring these files and a running Envoy to `wanted`; with no Envoy, the files alone."""
        for name, text in wanted.items():
            if self._files.text(name) != text:
                replace(self.layout.files / name, text)
        try:
            without = (BOOTSTRAP,) if self._admin.listening() else (BOOTSTRAP, *_LISTENERS_OWN)
            marks = {version(text): name for name, text in wanted.items() if name not in without}
            waiting = self._waiting(marks, TAKE_SOON)
            refused = self._admin.rejections() if waiting else 0
            for name in waiting:  # Envoy missed it, or could not do it when it first saw it: once more
                replace(self.layout.files / name, wanted[name])
            deadline = time.monotonic() + TAKE_SECONDS
            while waiting and (waiting := self._waiting(marks, TAKE_SOON)):
                if self._admin.rejections() > refused:
                    raise self._rejected(waiting)
                if time.monotonic() > deadline:
                    raise _not_taken(waiting)
        except Unreachable as error:
            if error.ref != "gateway-silent":
                raise

    def _waiting(self, marks: Mapping[str, str], seconds: float) -> list[str]:
        """The files of `marks` that Envoy has not taken, asked again and again for `seconds`."""
        deadline, pause = time.monotonic() + seconds, 0.003
        while True:
            taken = self._admin.versions()
            waiting = [name for mark, name in marks.items() if mark not in taken]
            if not waiting or time.monotonic() > deadline:
                return waiting
            time.sleep(pause)
            pause = min(1.5 * pause, LOOK_SECONDS)  # the answer takes Envoy as long as it has deployments

    def _rejected(self, names: list[str]) -> LycError:
        return diagnose(self._admin.listener_errors()) or Failed(
            "gateway-change-rejected",
            "the gateway refused a part of its configuration and serves the former one",
            where=", ".join(names),
            hint="lyc controller logs --gateway",
        )

    def _check_socket_path(self) -> None:
        length = len(os.fsencode(self.layout.admin_socket))
        if length > MAX_SOCKET_PATH:
            raise Failed(
                "gateway-socket-path-too-long",
                "the path of the gateway's admin socket is too long",
                why=f"{length} bytes; the system allows {MAX_SOCKET_PATH}",
                where=str(self.layout.admin_socket),
                hint="set LYC_HOME to a shorter path",
            )


def port_free(host: str, port: int) -> bool:
    """Whether the gateway could listen there right now. Raises `UsageError` for a host that is not an address."""
    address = bind_address(host)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _both(former: str | None, wanted: str) -> str:
    """The clusters wanted, with those that are about to go: they must outlive their routes."""
    if former is None or former == wanted:
        return wanted
    try:
        old, new = (json.loads(text)["resources"] for text in (former, wanted))
        names = {cluster["name"] for cluster in new}
        going = [cluster for cluster in old if cluster["name"] not in names]
    except (ValueError, LookupError, TypeError):
        return wanted
    return resources([*new, *going]) if going else wanted


def _not_taken(names: list[str]) -> Unreachable:
    return Unreachable(
        "gateway-change-not-taken",
        f"the gateway runs but has not taken a change within {TAKE_SECONDS:.0f} s",
        where=", ".join(names),
        hint="lyc controller logs --gateway",
    )
