"""EnvoyGateway: `lyc.ports.Gateway` with a real Envoy, driven by files alone. It starts and stops no process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from lyc.errors import Failed, LycError, Unreachable
from lyc.gateway.admin import MAX_SOCKET_PATH, Admin
from lyc.gateway.binary import envoy_binary, envoy_version
from lyc.gateway.clusters import endpoints_file
from lyc.gateway.diagnosis import diagnose, port_taken
from lyc.gateway.listener import bind_address
from lyc.gateway.render import BOOTSTRAP, CDS, ECDS_AUTH, ECDS_USAGE, LDS, RDS, Layout, render
from lyc.gateway.xds import resources, version
from lyc.records.gateway import GatewayConfig, GatewayStatus
from lyc.records.process import ProcessSpec

__all__ = ["EnvoyGateway", "diagnose", "envoy_binary", "envoy_version", "port_free", "port_taken"]

PROCESS_ID = "gateway"
DRAIN_SECONDS = 600
"""How long a replaced listener's streams may go on after a change of host or port."""
TAKE_SECONDS = 10.0
"""A running Envoy takes a change within milliseconds; on a machine with no CPU to spare it may be seconds."""


class EnvoyGateway:
    """The gateway of one controller.

    Args:
        directory: private folder for what Envoy reads; its siblings `log` and `process` are the gateway's too.
        run_directory: private folder for the admin socket; short, because a socket's path is at most 107 bytes.
        workers: Envoy's worker threads.
    """

    def __init__(self, directory: Path, run_directory: Path, *, workers: int = 2) -> None:
        files = directory.absolute()
        self.layout = Layout(
            files=files,
            admin_socket=run_directory.absolute() / "envoy.sock",
            access_log=files.with_name("log") / "access.jsonl",
        )
        self._workers = workers
        self._admin = Admin(self.layout.admin_socket)

    def apply(self, config: GatewayConfig) -> None:
        """Write what differs, in an order in which no state between two files is wrong; nothing running is cut.

        Keys go first (a revoked key is refused even if the rest fails); a cluster comes before its route and goes
        after it. When this returns, a running Envoy has taken the change. Raises `Failed`
        (`gateway-files-not-written`) naming the file, `Unreachable` (`gateway-change-not-taken`) where Envoy runs but
        does not take it; what was written stays valid, and calling again goes on from there.
        """
        wanted = render(config, self.layout)
        self._make_folders()
        with_former = {**wanted, CDS: _both(self._read(CDS), wanted[CDS])}
        later = {CDS, RDS, LDS, BOOTSTRAP}
        self._put((ECDS_AUTH, ECDS_USAGE, *(name for name in wanted if name not in later), CDS), with_former)
        self._put((RDS,), wanted)
        self._put((CDS, LDS, BOOTSTRAP), wanted)
        for stale in self.layout.files.glob(endpoints_file("*")):
            if stale.name not in wanted:
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
        """`running` once the port is open; `starting` before that, and as long as the port cannot be had."""
        if not self.layout.admin_socket.exists():
            return GatewayStatus("absent")
        try:
            state, listening, replicas = self._admin.state(), self._admin.listening(), self._admin.replicas()
        except LycError:
            pid = self._admin.pid()
            return GatewayStatus("starting" if pid else "stopped", pid=pid)
        ready = listening and state in ("LIVE", "DRAINING")
        return GatewayStatus(
            "running" if ready else "starting",
            pid=self._admin.pid(),
            active={replica.id: replica.active for replica in replicas},
            healthy=frozenset(replica.id for replica in replicas if replica.healthy),
        )

    def drain(self) -> None:
        """Tell clients to go: no connection is kept alive any more, running requests finish. Raises `Unreachable`."""
        self._admin.call("/drain_listeners?graceful", "POST")

    def reopen_access_log(self) -> None:
        """Let go of the access log's old file after it was renamed. Raises `Unreachable`."""
        self._touch_log()
        self._admin.call("/reopen_logs", "POST")

    def _make_folders(self) -> None:
        for folder in (self.layout.files, self.layout.access_log.parent, self.layout.admin_socket.parent):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if folder.stat().st_mode & 0o077:
                    folder.chmod(0o700)
            except OSError as error:
                raise _not_written(folder, error) from error
        self._touch_log()

    def _touch_log(self) -> None:
        try:
            os.close(os.open(self.layout.access_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        except OSError as error:
            raise _not_written(self.layout.access_log, error) from error

    def _read(self, name: str) -> str | None:
        try:
            return (self.layout.files / name).read_text(encoding="utf-8")
        except OSError:
            return None

    def _put(self, names: Iterable[str], files: Mapping[str, str]) -> None:
        """Write those of `names` that differ, and wait until a running Envoy has taken them."""
        changed = [name for name in names if self._read(name) != files[name]]
        for name in changed:
            self._replace(self.layout.files / name, files[name])
        waiting = {version(files[name]): name for name in changed if name != BOOTSTRAP}
        deadline = time.monotonic() + TAKE_SECONDS
        while waiting:
            try:
                taken = self._admin.versions()
            except LycError:
                return  # no Envoy: it will read the files when it starts
            waiting = {mark: name for mark, name in waiting.items() if mark not in taken}
            if waiting and time.monotonic() > deadline:
                raise Unreachable(
                    "gateway-change-not-taken",
                    f"the gateway runs but has not taken a change within {TAKE_SECONDS:.0f} s",
                    where=", ".join(sorted(waiting.values())),
                    hint="lyc controller logs",
                )
            if waiting:
                time.sleep(0.003)

    @staticmethod
    def _replace(path: Path, text: str) -> None:
        temporary = path.with_name(f".{path.name}.new")
        try:
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise _not_written(path, error) from error

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
    if former is None:
        return wanted
    try:
        old, new = (json.loads(text)["resources"] for text in (former, wanted))
        names = {cluster["name"] for cluster in new}
        going = [cluster for cluster in old if cluster["name"] not in names]
    except (ValueError, LookupError, TypeError):
        return wanted
    return resources([*new, *going]) if going else wanted


def _not_written(path: Path, error: OSError) -> Failed:
    return Failed(
        "gateway-files-not-written",
        "the gateway's configuration could not be written",
        why=error.strerror or str(error),
        where=str(path),
        hint="lyc doctor",
    )
