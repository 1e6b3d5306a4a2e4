"""The controller's life: one a home, a socket that only its user can open, threads that end, processes that go on."""

from __future__ import annotations

import logging
import os
import signal
import socket
from pathlib import Path

import uvicorn

import lyc
from lyc.control.autoscale import Autoscaler
from lyc.control.come_up import ComeUp
from lyc.control.deploy import Deployer
from lyc.control.deps import Deps
from lyc.control.down import Remover
from lyc.control.expand_rented import RentsFor
from lyc.control.expanding import Expander
from lyc.control.feed import Feed
from lyc.control.gatekeeper import Gatekeeper
from lyc.control.home import watched
from lyc.control.hosts import Hosts
from lyc.control.housekeeping import Housekeeper
from lyc.control.keys import Keys
from lyc.control.layout import activator_socket
from lyc.control.limits import Limits
from lyc.control.market import Market
from lyc.control.operations import Operations, Work
from lyc.control.reconcile import Reconciler
from lyc.control.rent_again import HOME, RentAgain
from lyc.control.rentals import Rentals
from lyc.control.renting import Renter
from lyc.control.server import Parts, build
from lyc.control.share import Share
from lyc.control.waking import Wakes
from lyc.errors import Failed
from lyc.gateway.activator import Activator
from lyc.records.operation import OperationKind
from lyc.spec.settings import Settings

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 2


def private_run_dir(settings: Settings) -> Path:
    """The folder of the sockets, made 0700. Raises Failed `run-dir-not-ours` when somebody else owns it."""
    path = settings.run_dir
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = path.lstat()
    if status.st_uid != os.getuid() or path.is_symlink():
        raise Failed("run-dir-not-ours", f"{path} belongs to somebody else", hint="choose another LYC_HOME")
    path.chmod(0o700)
    return path


def listen(path: Path) -> socket.socket:
    """A socket at `path`, 0600 from its first instant. A stale one is replaced: the lock says that nobody has it."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        server.bind(str(path))
    finally:
        os.umask(old)
    server.listen(128)
    return server


def _scaling(deps: Deps, reconciler: Reconciler) -> tuple[Autoscaler, Wakes, Activator]:
    """Who decides how many there are, who wakes them, and where requests wait meanwhile: each hears of the others."""
    autoscaler = Autoscaler(deps, reconciler.load, reconciler.wake)
    wakes = Wakes(deps, autoscaler)
    activator = Activator(activator_socket(deps.settings), wakes)
    wakes.changed = activator.changed
    reconciler.in_flight, reconciler.sent = autoscaler.active, autoscaler.sent
    share = Share(deps, autoscaler.quiet, autoscaler.make_way, reconciler.sleeping)
    reconciler.waiting, reconciler.waits, wakes.waits = share.waiting, share.why, share.why
    autoscaler.aside = lambda one: share.why(one.name)
    autoscaler.held, autoscaler.arrived = activator.held, activator.arrived
    autoscaler.passing = reconciler.passing = activator.passing
    return autoscaler, wakes, activator


def _renting_again(
    deps: Deps, renter: Renter, reconciler: Reconciler, wakes: Wakes, autoscaler: Autoscaler
) -> RentAgain:
    """Asked by the loops, by whoever wakes a deployment, and by whoever says how it is."""
    found = RentAgain(deps, renter, RentsFor(deps, renter), reconciler.wake)
    reconciler.wished, wakes.rent_again = found.wished, found
    shared = autoscaler.aside
    autoscaler.aside = lambda one: found.tells(one) or shared(one)
    return found


def _expanding(deps: Deps, renter: Renter, reconciler: Reconciler, again: RentAgain) -> tuple[Expander, Work]:
    """Who finds one more host for a release, and the work of both operations that bring one somewhere."""
    expander = Expander(deps, renter, RentsFor(deps, renter), reconciler.wake)
    reconciler.expand = expander.look_for
    return expander, lambda one, talk: (again if one.request.get(HOME) else expander).run(one, talk)


def run(deps: Deps, claimed: int) -> None:
    """Serve until told to stop. The caller has set the umask. claimed: what `claim` gave."""
    private_run_dir(deps.settings)
    gatekeeper = Gatekeeper(deps)
    reconciler = Reconciler(deps, gatekeeper)
    autoscaler, wakes, activator = _scaling(deps, reconciler)
    feed = Feed(deps.store, deps.clock)
    rentals, market = Rentals(deps), Market(deps.accounts, deps.clock)
    renter = Renter(deps, rentals, market)
    rent_again = _renting_again(deps, renter, reconciler, wakes, autoscaler)
    expander, expand = _expanding(deps, renter, reconciler, rent_again)
    deployer = Deployer(deps, gatekeeper, reconciler, renter)
    come_up = ComeUp(deps, gatekeeper, reconciler).run
    work = {
        OperationKind.DEPLOY: deployer.run,
        OperationKind.DOWN: Remover(deps, reconciler, rentals).run,
        OperationKind.ROLLBACK: come_up,
        OperationKind.RESTART: come_up,
        OperationKind.RESUME: come_up,
        OperationKind.EXPAND: expand,
    }
    operations = Operations(deps, feed, work)
    rent_again.begin = expander.begin = operations.begin
    rentals.limits = Limits(
        deps, lambda name: operations.begin(OperationKind.DOWN, name, {"drain_timeout": 30.0, "written": True})
    )

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    hosts = Hosts(deps)
    parts = Parts(
        deps, gatekeeper, operations, feed, Keys(deps, gatekeeper), hosts, rentals, market, renter,
        reconciler=reconciler, scaling=autoscaler,
        started_at=deps.clock(), pid=os.getpid(), stop=stop,
    )  # fmt: skip
    server = uvicorn.Server(
        uvicorn.Config(
            build(parts), log_config=None, access_log=False, lifespan="off", ws="none",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )  # fmt: skip
    housekeeper = Housekeeper(deps, hosts)
    activator.start()
    wakes.start()
    gatekeeper.start()
    reconciler.start()
    autoscaler.start()
    housekeeper.start()
    rentals.start()
    operations.resume()
    log.info("controller %s of %s, pid %d", lyc.__version__, deps.settings.home, os.getpid())
    try:
        with watched(deps.settings, claimed, stop):
            server.run(sockets=[listen(deps.settings.controller_socket)])
    finally:
        rentals.close()
        housekeeper.close()
        autoscaler.close()
        reconciler.close()
        deps.sites.close()
        gatekeeper.close()
        activator.close()
        wakes.close()
        deps.store.close()
        deps.settings.controller_socket.unlink(missing_ok=True)
        log.info("controller ended; gateway and replicas go on")
