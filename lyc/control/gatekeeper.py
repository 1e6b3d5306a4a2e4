"""Keeps Envoy running and told: its configuration is a function of the store, applied whenever that has changed."""

from __future__ import annotations

import logging
import socket
import threading

from lyc.control.deps import Deps
from lyc.control.layout import gateway_process
from lyc.control.routing import Routing
from lyc.errors import LycError, UsageError
from lyc.gateway.envoy import diagnose, port_free
from lyc.gateway.shared import Shared
from lyc.records.gateway import GatewayConfig

log = logging.getLogger(__name__)

PORTS_TO_TRY = 50
TICK_SECONDS = 1.0
START_SECONDS = 20.0
RESTART_FIRST, RESTART_LONGEST = 0.2, 15.0
STOP_GRACE = 5.0
ACCESS_LOG_BYTES = 64 << 20


class Gatekeeper:
    """Owns the gateway. `sync` tells it the present truth; a thread of its own brings it back when it dies."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gatekeeper", daemon=True)
        self._failures = 0
        self._routing = Routing(deps)
        self._told = Shared(self._sync)
        self.error: LycError | None = None

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread; Envoy goes on serving."""
        self._stop.set()
        self._wake.set()
        self._thread.join(10)

    @property
    def port(self) -> int | None:
        written = self._deps.store.meta("gateway.port")
        return int(written) if written else None

    def url(self, deployment: str) -> str | None:
        """The base URL of a deployment for OpenAI clients, once a port is known."""
        host = self._deps.settings.gateway_host
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - shown, not bound
        return None if self.port is None else f"http://{shown}:{self.port}/{deployment}/v1"

    def claim_port(self) -> int:
        """The port to listen on, decided once and stored, so that URLs stay. Raises UsageError `port-in-use`."""
        with self._lock:
            settings, known = self._deps.settings, self.port
            running = self._deps.supervisor.status(gateway_process(settings)).state == "running"
            wished = settings.gateway_port if settings.gateway_port_explicit and settings.gateway_port else known
            if running and known is not None and wished == known:
                return known
            if wished is None and settings.gateway_port == 0:
                port = _free_port(settings.gateway_host)
            else:
                first = wished or settings.gateway_port
                fixed = wished is not None
                port = _first_free(settings.gateway_host, first, 1 if fixed else PORTS_TO_TRY)
            self._deps.store.set_meta("gateway.port", str(port))
            return port

    def config(self) -> GatewayConfig | None:
        """What Envoy shall do just now; None while nothing is to be served: one that failed needs no gateway."""
        return self._routing.config(self.port)

    def sync(self) -> None:
        """Apply the present truth, and start Envoy if it should run. Returns when the files are written.

        Callers at the same time share the work: where a hundred replicas become ready at once, it is not done a hundred
        times.
        """
        self._told()

    def _sync(self) -> None:
        with self._lock:
            config = self.config()
            process = gateway_process(self._deps.settings)
            status = self._deps.supervisor.status(process)
            if config is None:
                if status.state == "running":
                    self._deps.supervisor.stop(process, grace=STOP_GRACE)
                return
            self._deps.gateway.apply(config)
            if status.state != "running":
                self._deps.supervisor.start(self._deps.gateway.process(config))

    def wait_until_running(self) -> None:
        """Returns once Envoy answers. Raises its error when it ends instead."""
        waited = threading.Event()
        deadline = self._deps.steady() + START_SECONDS
        while (seen := self._deps.gateway.status()).state != "running":
            if seen.error is not None:
                raise seen.error
            status = self._deps.supervisor.status(gateway_process(self._deps.settings))
            if status.state == "exited":
                raise self._why(status.exit_code)
            if self._deps.steady() > deadline:
                raise self._why(None)
            waited.wait(0.02)

    def _why(self, exit_code: int | None) -> LycError:
        path = gateway_process(self._deps.settings) / "output.log"
        lines = path.read_text(errors="replace").splitlines()[-50:] if path.exists() else []
        return diagnose(lines) or LycError(
            "gateway-failed",
            f"the gateway ended with exit code {exit_code}" if exit_code is not None else "the gateway does not answer",
            hint="lyc controller logs --gateway",
            detail=tuple(lines[-5:]),
        )

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = TICK_SECONDS
            try:
                before = self._deps.supervisor.status(gateway_process(self._deps.settings)).state
                self.sync()  # also drops keys that have expired meanwhile
                self._deps.gateway.rotate_log(ACCESS_LOG_BYTES)
                self._failures = self._failures + 1 if before == "exited" and self.config() else 0
                if self._failures:
                    log.warning("the gateway had ended; started again (%d)", self._failures)
                    pause = min(RESTART_FIRST * 2**self._failures, RESTART_LONGEST)
                self.error = None
            except LycError as error:
                self.error = error
                log.error("gateway: %s", error)
            except Exception:
                log.exception("gateway")
            self._wake.wait(pause)
            self._wake.clear()


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _first_free(host: str, first: int, count: int) -> int:
    for port in range(first, first + count):
        if port_free(host, port):
            return port
    raise UsageError(
        "port-in-use",
        f"port {first} on {host} is in use by another program",
        where="--gateway-port",
        hint=f"see who has it: ss -ltnp 'sport = :{first}'; or choose another: LYC_GATEWAY_PORT={first + 1}",
    )
