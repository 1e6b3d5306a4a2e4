"""Looks after hosts that engines run on: renews their leases, and ends what runs there but nobody knows.

What is left behind when a host did not answer while its deployment went down is found here when it answers again.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lyc.control.deps import Deps
from lyc.control.hosts import Hosts
from lyc.control.layout import replica_root
from lyc.errors import Failed, LycError
from lyc.records.host import Host

log = logging.getLogger(__name__)

TICK_SECONDS = 20.0
AT_ONCE = 8
GONE, OLD = "host-not-prepared", "other-release-on-host"
ON_SILENCE = "stop"
"""What a host of the user's own does when nothing was heard for as long as its lease says."""


class Housekeeper:
    """One thread that begins the visits; a host that does not answer holds up no other."""

    def __init__(self, deps: Deps, hosts: Hosts) -> None:
        self._deps = deps
        self._hosts = hosts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="visit")
        self._visits: dict[str, Future[None]] = {}

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                for known in self._deps.store.hosts():
                    self._begin(known.host)
            except Exception:
                log.exception("housekeeping")
            self._stop.wait(TICK_SECONDS)

    def _begin(self, host: Host) -> None:
        before = self._visits.get(host.name)
        if (before is None or before.done()) and self._deps.store.prepared(host.name) is not None:
            self._visits[host.name] = self._pool.submit(self.visit, host)

    def visit(self, host: Host) -> None:
        """Once. Never raises."""
        try:
            try:
                self._look_after(host)
            except Failed as error:
                if error.ref not in (GONE, OLD):
                    raise
                if self._made_again(host, gone=error.ref == GONE):
                    self._look_after(host)
        except LycError as error:
            log.info("visiting %s: %s", host.name, error)
        except Exception:
            log.exception("visiting %s", host.name)

    def _made_again(self, host: Host, *, gone: bool) -> bool:
        """Prepare it, for what is to run there needs the agent, and what does and should not too. gone: lyc is not
        there any more: it was installed anew, or another controller purged it. Then it stays so unless we need it.
        """
        with self._hosts.alone(host.name):
            if self._deps.store.prepared(host.name) is None:
                return False
            if gone and not self._known(host):
                log.info("%s holds nothing of lyc any more", host.name)
                self._deps.store.set_prepared(host.name, None)
                return False
            self._deps.upkeep.prepare(host, log.info)
            return True

    def _look_after(self, host: Host) -> None:
        if host.lease_seconds is not None:
            self._deps.upkeep.lease(host, host.lease_seconds, "poweroff" if host.rental else ON_SILENCE)
        swept = self._deps.sites.sweep(host.name, lambda: self._known(host))
        if swept:
            log.warning("ended on %s, for nobody knows it: %s", host.name, ", ".join(swept))

    def _known(self, host: Host) -> list[Path]:
        store, settings = self._deps.store, self._deps.settings
        return [
            replica_root(settings, replica) / str(attempt)
            for deployment in store.deployments()
            for replica in store.replicas(deployment.name)
            if replica.host == host.name
            for attempt in range(1, replica.attempts + 1)
        ]
