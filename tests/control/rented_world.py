"""A controller that rents, on a real store and a fake cloud over real sockets, which can be killed at every point.

A point is one write to the store, or one exchange with the provider: all that a controller does to the world.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Connection, delete, event

from lyc.control.autoscale import wanted
from lyc.control.deps import Deps
from lyc.control.expand_rented import Settled, check_limits
from lyc.control.expanding import Expander
from lyc.control.market import Market
from lyc.control.operations import Talk, Unheard
from lyc.control.placing import Found
from lyc.control.rent_again import HOME, RentAgain
from lyc.control.rentals import Rentals, Swept, use_of
from lyc.control.rented import Question, RentedPlacing
from lyc.control.renting import Pace, Renter
from lyc.errors import Failed, LycError, Unreachable
from lyc.ports import Provider
from lyc.providers.accounts import ProviderAccounts
from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, RentWish, Replica, ReplicaState
from lyc.records.host import RENT, Disk, Host, RemoteFacts
from lyc.records.model import Listing, ModelFacts, ModelRef, SourceFile, SourceKind
from lyc.records.operation import Operation, OperationKind, OperationState
from lyc.records.placement import Placement
from lyc.records.plan import Accelerator
from lyc.records.rental import Capabilities, Rental, RentalState
from lyc.records.scaling import RELEASE_AFTER, ScalerState
from lyc.records.secret import Secret
from lyc.renting.transitions import OPEN
from lyc.renting.wanted import why_not
from lyc.store import Store
from lyc.store.schema import METADATA
from lyc.testing.clouds.core import Cloud, FakeMachine
from lyc.testing.clouds.server import App, Reply, Request, serve

OWNER = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
T = TypeVar("T")
MARK, OTHER = OWNER[:8], "99999999"
GIB = 1 << 30
NAME = "chat"
BEGAN = 1_790_000_000.0


class Killed(BaseException):
    """The controller is dead: nothing that it does from here on has an effect."""


@dataclass(slots=True)
class Clock:
    """Time that passes when somebody waits."""

    now: float = BEGAN

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True, slots=True)
class Point:
    """One write or exchange: which one (`POST /v1/pods`), and the how-manieth of these."""

    what: str
    number: int

    @property
    def changes(self) -> bool:
        """Whether it is an exchange that may change something at the provider."""
        return not self.what.startswith(("write", "GET"))


@dataclass(frozen=True, slots=True)
class Mishap:
    """What happens at a point. kind: `before`, `after` = the controller is killed, before it takes place or after it
    did, with the answer unseen; `lost` = it takes place, the answer does not arrive; `doubled` = it takes place twice;
    `delayed` = nothing is answered, and it takes place later.
    """

    point: Point
    kind: str


class Wire:
    """Counts points, and has mishaps happen. Thread-safe: some providers ask all their zones at once."""

    def __init__(self) -> None:
        self.mishaps: dict[Point, str] = {}
        self.fuse: tuple[int, str] | None = None
        """Points still to pass, and what happens then, at the first one at which it can."""
        self.seen: list[Point] = []
        self.happened: list[Mishap] = []
        self.held: list[Callable[[], object]] = []
        self.dead = self.counting = False
        self._count: Counter[str] = Counter()
        self._lock = threading.Lock()

    def at(self, what: str) -> str:
        """A point is reached: what happens there, empty = nothing."""
        with self._lock:
            if self.dead:
                raise Killed
            if self.fuse is not None:
                return self._burnt(what)
            if not self.counting:
                return ""
            self._count[what] += 1
            point = Point(what, self._count[what])
            self.seen.append(point)
            kind = self.mishaps.pop(point, "")
            if kind:
                self.happened.append(Mishap(point, kind))
            if kind == "before":
                self.die()
            return kind

    def _burnt(self, what: str) -> str:
        left, kind = self.fuse or (0, "")
        point = Point(what, 0)
        can = kind in ("before", "after") or (kind == "lost" and what != "write") or point.changes
        if left > 0 or not can:
            self.fuse = (max(left - 1, 0), kind)
            return ""
        self.fuse = None
        self.happened.append(Mishap(point, kind))
        if kind == "before":
            self.die()
        return kind

    def die(self) -> None:
        self.dead = True
        raise Killed

    def after(self, kind: str) -> None:
        if kind == "after" or self.dead:
            self.die()

    def send(self, what: str, real: Callable[[], T], again: Callable[[], object], lost: Callable[[], Exception]) -> T:
        """One exchange, with whatever happens to it. again: the same once more, past who sent it first; lost: what
        its client raises when no answer comes.
        """
        kind = self.at(what)
        if kind == "delayed":
            self.held.append(again)
            raise lost()
        answer = real()
        if kind == "doubled":
            again()
        if kind == "lost":
            raise lost()
        self.after(kind)
        return answer

    def release(self) -> None:
        """What was delayed takes place."""
        held, self.held = self.held, []
        for again in held:
            again()


def _plain(path: str) -> str:
    """A path without what is another one in each run."""
    return re.sub(r"[0-9a-f]{8}(-?[0-9a-f]{4,})*", "*", path)


def post(method: str, url: str, headers: Mapping[str, str], body: bytes) -> None:
    """One exchange whose answer nobody wants."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        plain = {name: value for name, value in headers.items() if name.lower() not in ("connection", "content-length")}
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, target, body, plain)
        connection.getresponse().read()
    finally:
        connection.close()


class Journal(Store):
    """The real store; each of its writes is a point."""

    def __init__(self, path: Path) -> None:
        self.wire: Wire | None = None
        super().__init__(path)
        # Nothing but this process dies here, so nothing has to be forced onto the disk.
        event.listen(self._engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        self._engine.dispose()

    @contextlib.contextmanager
    def _write(self) -> Iterator[Connection]:
        kind = self.wire.at("write") if self.wire else ""
        with super()._write() as connection:
            yield connection
        if self.wire:
            self.wire.after(kind)

    def empty(self) -> None:
        """As it was at first: quicker than a new one, of which every statement is compiled anew."""
        with super()._write() as connection:
            for table in reversed(METADATA.sorted_tables):
                if table.name not in ("meta", "changes"):  # the latter numbers changes, these deletions too
                    connection.execute(delete(table))


@dataclass(frozen=True, slots=True)
class Shape:
    """A provider on its fake. make: the cloud and its app on a clock; open: the account at an address."""

    capabilities: Capabilities
    make: Callable[[Clock], tuple[Cloud, App]]
    open: Callable[[str, Clock], Provider]


@dataclass(frozen=True, slots=True)
class Kind:
    """Implements `lyc.ports.ProviderKind`: the account of a shape, waiting on the clock of the world."""

    shape: Shape
    base: str
    world_clock: Clock

    @property
    def capabilities(self) -> Capabilities:
        return self.shape.capabilities

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        del credentials, endpoint, clock
        return self.shape.open(self.base, self.world_clock)


class Front:
    """One server for the clouds of many runs, one after the other: what `serve` wants of an App."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Journal(folder / "lyc.db")
        self.app: App | None = None
        self.bugs: list[str] = []
        self.ended = threading.Event()
        self.wire = Wire()
        self.base = self.name = ""
        self.began: Callable[[], float] = lambda: BEGAN
        self.shape = cast("Shape", None)

    def answer(self, request: Request) -> Reply | None:
        app = self.app
        if app is None:
            return None
        answer = app.answer(request)
        self.bugs += app.bugs
        return answer


_WIRES: dict[int, Front] = {}
_SEND = httpx.HTTPTransport.handle_request


def _handle(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
    front = _WIRES.get(request.url.port or 0)
    if front is None:
        return _SEND(transport, request)
    body = request.read()
    return front.wire.send(
        f"{request.method} {_plain(request.url.path)}",
        lambda: _SEND(transport, request),
        lambda: post(request.method, str(request.url), dict(request.headers), body),
        lambda: httpx.ReadError("no answer", request=request),
    )


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Front]:
    """A front on a port of its own, whose every exchange passes through the wire of the moment."""
    front = Front(folder)
    with serve(cast("App", front)) as base:
        front.base, port = base, int(base.rpartition(":")[2])
        _WIRES[port] = front
        httpx.HTTPTransport.handle_request = _handle  # type: ignore[method-assign]
        try:
            yield front
        finally:
            front.store.close()
            del _WIRES[port]
            if not _WIRES:
                httpx.HTTPTransport.handle_request = _SEND  # type: ignore[method-assign]


CARD = Accelerator("h100", "NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB, 90, "GPU-1")
FACTS = RemoteFacts(
    hostname="box", os="Ubuntu 24.04", os_id="ubuntu", system="Linux", kernel="6.8", machine="x86_64", user="root",
    home="/root", boot_id="b", cpus=26, memory_total=200 * GIB, memory_available=190 * GIB, libc="glibc 2.39",
    disks=(Disk("/root", 1000 * GIB, 900 * GIB),), cpu_flags=frozenset({"avx2", "avx512f"}), accelerators=(CARD,) * 1,
    driver="580.95.05", cuda=(13, 0), systemd=255, sudo="free", home_writable=True, gpus_seen=1, looked_at=BEGAN,
)  # fmt: skip


class Reach:
    """In the place of SSH, for there is no machine to log in to: what renting uses of `lyc.ports.HostAccess`.

    One answers while it runs in the cloud; the key that was pinned is kept by alias.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.pinned: dict[str, tuple[str, ...]] = {}
        self.facts = FACTS

    def own_key(self) -> tuple[Path, str]:
        return Path(
            "/nowhere/key"
        ), "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAdXGzVRz9B8AHGyqLSUOhh4AXr1eJ7sWnjR0C3y9bXk lyc"

    def shown(self, host: Host) -> tuple[str, ...]:
        self._up(host)
        return (f"SHA256:{host.address}",)

    def trusted(self, host: Host) -> tuple[str, ...]:
        return self.pinned.get(host.key_alias or host.name, ())

    def pin(self, host: Host, fingerprints: Sequence[str]) -> None:
        self.pinned[host.key_alias or host.name] = tuple(fingerprints)

    def forget(self, host: Host) -> None:
        self.pinned.pop(host.key_alias or host.name, None)

    def look(self, host: Host, hub: str | None = None, *, reach: bool = True) -> RemoteFacts:
        del hub, reach
        self._up(host)
        return replace(self.facts, looked_at=self._cloud.clock())

    def _up(self, host: Host) -> None:
        address = host.address.partition("@")[2]
        if not any(one.address and one.address.host == address for one in self._cloud.alive()):
            raise Unreachable("host-unreachable", f"{host.name} does not answer")


class Bare:
    """In the place of a machine's parts over SSH: nothing is installed there yet."""

    def __getattr__(self, name: str) -> Any:
        raise Failed("host-not-prepared", f"{name} of a machine that was never prepared")


class Places:
    """In the place of `lyc.ports.Sites`."""

    def site(self, host: str) -> Any:
        del host
        return _SITE

    def leave(self, host: str) -> None:
        """There is no tunnel."""


class _Site:
    name = "rented"
    cache = installer = Bare()


_SITE = _Site()
SPEC = DeploymentSpec(NAME, "hf:org/model", gpu="h100", host=RENT, rent=RentWish())
MODEL = Found(
    cast("Any", None),
    Listing(ModelRef(SourceKind.HF, "org/model", "a" * 40), (SourceFile("model.safetensors", 16 * GIB),)),
    ModelFacts(("LlamaForCausalLM",), weights_bytes=16 * GIB, max_position_embeddings=4096),
)


class Further(Expander):
    """As it is, but that no weights are brought to a machine which is known already."""

    def _on_known(self, row: Placement, release: Release, hosts: list[str], talk: Talk) -> Settled:
        del hosts
        return self._rent(release, talk, lambda: self._wanted(row), {release.spec.host})


@dataclass(slots=True)
class World:
    """A home of lyc, an account at one provider, and whoever else has machines there."""

    shape: Shape
    front: Front
    clock: Clock = field(default_factory=Clock)
    wire: Wire = field(default_factory=Wire)
    env: dict[str, str] = field(default_factory=dict)
    cloud: Cloud = field(init=False)
    app: App = field(init=False)
    hosts: Reach = field(init=False)
    rentals: Rentals = field(init=False)
    renter: Renter = field(init=False)
    again: RentAgain = field(init=False)
    expander: Expander = field(init=False)
    deps: Deps = field(init=False)
    visits: int = 0

    def __post_init__(self) -> None:
        self.clock.now = self.front.began()
        self.cloud, self.app = self.shape.make(self.clock)
        self.cloud.halt = lambda machine: setattr(machine, "word", None)  # one that ends is seen to end
        self.hosts = Reach(self.cloud)
        self.front.app, self.front.wire = self.app, self.wire
        self.front.store.empty()
        self.front.store.wire = self.wire
        self.credential(there=True)
        for name in ("mail", f"lyc-{OTHER}-00000001", f"lyc-{MARK}", f"lyc-{MARK}-1", f"old-lyc-{MARK}-00000001"):
            self.cloud.put_foreign(name)
        self.start()

    @property
    def store(self) -> Journal:
        return self.front.store

    @property
    def provider(self) -> str:
        return self.shape.capabilities.name

    def start(self) -> None:
        """A controller begins, on what the store of an earlier one holds."""
        self.wire.dead = False
        kind = Kind(self.shape, self.front.base, self.clock)
        accounts = ProviderAccounts(self.front.folder / "accounts", self.env, self.clock, {self.provider: kind})
        nothing = cast("Any", None)
        self.deps = Deps(
            settings=nothing, store=self.store, supervisor=nothing, gateway=nothing, sites=cast("Any", Places()),
            hosts=cast("Any", self.hosts), upkeep=nothing, accounts=accounts, owner=OWNER, open_source=nothing,
            clock=self.clock,
        )  # fmt: skip
        self.rentals = Rentals(self.deps)
        self.renter = Renter(
            self.deps, self.rentals, Market(accounts, self.clock), Pace(ask=45.0, reach=20.0), pause=self._wait
        )

        self.again = RentAgain(self.deps, self.renter, self.rent, lambda _: None)
        self.expander = Further(self.deps, self.renter, self.rent, lambda _: None)
        self.again.begin = self.expander.begin = self._begin

    def _wait(self, seconds: float) -> None:
        """Somebody waits: the thread that looks after machines has its turn."""
        self.clock.pass_(seconds)
        self.visit()

    def visit(self, *, leftovers: bool = False, dry_run: bool = False) -> Swept:
        self.visits += 1
        return self.rentals.visit(self.provider, leftovers=leftovers, dry_run=dry_run)

    # What a user does.

    def deploy(self, name: str = NAME) -> LycError | None:
        """As `lyc deploy`: the operation is stored, then carried out."""
        operation = Operation(
            f"op-{len(self.store.running_operations())}-{self.clock.now}", OperationKind.DEPLOY, name, {},
            OperationState.RUNNING, self.clock(),
        )  # fmt: skip
        self.store.put_operation(operation)
        return self._deploy(operation)

    def _deploy(self, operation: Operation) -> LycError | None:
        store, name = self.store, operation.deployment
        if store.find_deployment(name) is None:
            store.add_deployment(Deployment(name, self.clock(), self.clock()))
        failure: LycError | None = None
        try:
            self._placed(name)
        except LycError as error:
            failure = error
            if not store.releases(name):
                store.remove_deployment(name)
        state = OperationState.FAILED if failure else OperationState.SUCCEEDED
        store.put_operation(replace(operation, state=state, finished_at=self.clock()))
        return failure

    def _placed(self, name: str) -> None:
        store, now = self.store, self.clock()
        spec = replace(SPEC, name=name)

        def cancelled() -> None:
            found = store.find_deployment(name)
            if found is None or found.stopping:
                raise Failed("taken-down", f"{name} was taken down")

        placing = RentedPlacing(self.deps, self.renter, Question(spec, MODEL, None, 0), Unheard(), cancelled)
        placed = placing.place()
        spec = replace(spec, host=placed.host)
        deployment = store.deployment(name)
        release = next((one for one in store.releases(name) if one.number == deployment.target), None)
        if release is None or release.spec.host != placed.host:
            made = Release(name, 0, spec, "x", "m", "sha256:0", "/m", placed.plan, ReleaseState.PENDING, now)
            release = store.add_release(made, surge=False)
        self._serve(release)

    def _serve(self, release: Release) -> None:
        """As the loop does: what the release wants runs, everything older does not."""
        name, now = release.deployment, self.clock()
        for old in self.store.replicas(name):
            if old.release != release.number:
                self.store.remove_replica(old.id)
        if not self.store.replicas(name):
            self.store.put_replica(
                Replica(
                    f"{name}-{release.number}",
                    name,
                    release.number,
                    release.spec.host,
                    ReplicaState.READY,
                    now,
                    now,
                    "s",
                )
            )

    def down(self, name: str = NAME) -> None:
        """As `lyc down`, until every provider has confirmed."""
        operation = Operation(
            f"down-{self.clock.now}", OperationKind.DOWN, name, {}, OperationState.RUNNING, self.clock()
        )
        self.store.put_operation(operation)
        self._down(operation)

    def fall_asleep(self, name: str = NAME) -> None:
        """Nobody asks for it: its replicas end, and after a time its machine goes back."""
        store, now = self.store, self.clock()
        policy = replace(store.deployment(name).policy, minimum=0, idle_release=RELEASE_AFTER)
        store.change_deployment(name, now, policy=policy, scaler=ScalerState(desired=0, last_request=now))
        self.loop(name)
        self.clock.pass_(RELEASE_AFTER + 1)
        for _ in range(30):
            self.visit()
            if not store.rentals(deployment=name, open_only=True):
                return
            self.clock.pass_(self.shape.capabilities.settle / 4)
        raise AssertionError(f"its machine does not go: {self.state()}")

    def ask(self, name: str = NAME) -> None:
        """A request comes: as the autoscaler, then the loop."""
        found = self.store.find_deployment(name)
        assert found is not None
        scaler = ScalerState(desired=1, last_request=self.clock())
        self.store.change_deployment(name, self.clock(), scaler=scaler)
        for _ in range(3):
            self.loop(name)

    def loop(self, name: str = NAME) -> None:
        """As the loop of a deployment does, with engines that are ready at once."""
        store, now = self.store, self.clock()
        found = store.find_deployment(name)
        if found is None or found.target is None:
            return
        releases, replicas = store.releases(name), store.replicas(name)
        count = self.again.wished(found, releases, replicas, wanted(found, now))
        live = [one for one in replicas if one.state not in (ReplicaState.STOPPED, ReplicaState.FAILED)]
        if not count:
            for one in live:
                store.put_replica(replace(one, state=ReplicaState.STOPPED, updated_at=now))
        elif not live:
            release = next(one for one in releases if one.number == found.target)
            made = f"{name}-{release.number}-{len(replicas)}"
            host = release.spec.host
            store.put_replica(
                Replica(made, name, release.number, host, ReplicaState.READY, now, now, "s", ready_at=now)
            )

    def _begin(self, kind: OperationKind, name: str, request: dict[str, object]) -> None:
        identity = f"op-{len(self.store.operations(name))}-{self.clock.now}"
        operation = Operation(identity, kind, name, request, OperationState.RUNNING, self.clock())
        self.store.put_operation(operation)
        self._expand(operation)

    def _expand(self, operation: Operation) -> None:
        """As `Operations` carries it out."""
        failure: LycError | None = None
        try:
            (self.again if operation.request.get(HOME) else self.expander).run(operation, Unheard())
        except LycError as error:
            failure = error
        self.store.put_operation(
            replace(
                operation,
                state=OperationState.FAILED if failure else OperationState.SUCCEEDED,
                finished_at=self.clock(),
                error=failure.document() if failure else None,
            )
        )

    def rent(self, release: Release, talk: Talk, cancelled: Callable[[], None], taken: Collection[str]) -> Settled:
        """As `rent_for`, without weights."""
        until = check_limits(self.deps, release)
        spec = replace(release.spec, host=RENT)
        question = Question(spec, MODEL, None, 0, taken=frozenset(taken), until=until)
        placed = RentedPlacing(self.deps, self.renter, question, talk, cancelled).place()
        return Settled(placed.host, placed.plan, "/m", None, "x")

    def _down(self, operation: Operation) -> None:
        store, name = self.store, operation.deployment
        store.change_deployment(name, self.clock(), stopping=True)
        for replica in store.replicas(name):
            store.remove_replica(replica.id)
        store.remove_deployment(name)
        for _ in range(30):
            if not store.rentals(deployment=name, open_only=True):
                break
            self._wait(self.shape.capabilities.settle / 4)
        store.put_operation(replace(operation, state=OperationState.SUCCEEDED, finished_at=self.clock()))

    # What befalls it.

    def take(self, machine: FakeMachine) -> None:
        """Its provider ends it, as one does with spot machines; what was attached to it stays."""
        self.cloud.end(machine.id)
        for thing in self.cloud.things.values():
            if thing.machine == machine.id:
                thing.machine = None

    def crash(self, replica: Replica, state: ReplicaState) -> None:
        self.store.put_replica(replace(replica, state=state, updated_at=self.clock()))

    def credential(self, *, there: bool) -> None:
        """Whether the environment holds one."""
        self.env.clear()
        if there:
            self.env.update({one.env: "x" for one in self.shape.capabilities.credentials})

    def restart(self, *, resume: bool) -> None:
        """A new controller. resume: it takes up what the old one had begun; else each of these fails at once."""
        self.clock.pass_(5.0)
        self.start()
        for operation in self.store.running_operations():
            deploys = operation.kind is OperationKind.DEPLOY
            if not resume and deploys:
                if not self.store.releases(operation.deployment):
                    self.store.remove_deployment(operation.deployment)
                self.store.put_operation(replace(operation, state=OperationState.FAILED))
            elif operation.kind is OperationKind.EXPAND:
                self._expand(operation)
            else:
                (self._deploy if deploys else self._down)(operation)

    def rest(self) -> None:
        """Visits, until nothing changes any more although time passes; what was delayed takes place meanwhile."""
        same, before = 0, self.state()
        for number in range(60):
            self.clock.pass_(self.shape.capabilities.settle + 1)
            self.visit()
            now = self.state()
            # A visit may be in vain where the machine is busy: what is under way is no rest, however it stands still.
            moving = any(one.state in (RentalState.INTENDED, RentalState.RELEASING) for one in self.store.rentals())
            same, before = (same + 1 if now == before and not moving else 0), now
            if number >= 1 and self.wire.held:
                self.wire.release()
            elif same >= 2:
                return
        raise AssertionError(f"it does not come to rest: {before}")

    def state(self) -> tuple[object, ...]:
        rows = [(one.run_id, one.state, one.machine, one.host, one.reason) for one in self.store.rentals()]
        alive = sorted((one.id, one.state) for one in self.cloud.alive())
        return tuple(rows), tuple(alive), tuple(one.host.name for one in self.store.hosts())

    # What must be true at rest.

    def wanted(self) -> list[Rental]:
        use = use_of(self.store, self.clock())
        rented = [one for one in self.store.rentals() if one.state is RentalState.RENTED]
        return [one for one in rented if why_not(one, use, self.clock()) is None]

    def check(self, most: int = 1) -> None:
        """Raises AssertionError for an orphan, a machine too many, one of somebody else that was touched, a row that
        does not say what is so. most: machines that a deployment may have.
        """
        alive = {one.id: one for one in self.cloud.alive()}
        assert set(alive) == {one.machine for one in self.wanted()}, ("orphans", self.state())
        per_deployment = Counter(one.deployment for one in self.wanted())
        assert not per_deployment or max(per_deployment.values()) <= most, ("rented twice", self.state())
        assert self.cloud.foreign_ended() == []
        rows = {one.run_id: one for one in self.store.rentals()}
        for row in rows.values():
            assert row.state in (RentalState.RENTED, RentalState.GONE, RentalState.REFUSED), (row.state, row.reason)
            mine = [one for one in self.cloud.ever if one.run_id == row.run_id]
            if row.state is RentalState.REFUSED:
                assert not any(one.alive for one in mine)
                assert (row.billed_from, row.machine) == (None, None)
            if row.machine is not None:
                assert {row.machine, *row.extra} <= {one.id for one in mine}
                _covered(row, mine)
        for machine in self.cloud.ever:
            assert machine.run_id in rows, "a machine that was never intended"
            assert rows[machine.run_id].intended_at <= machine.created_at
        for known in self.store.hosts():
            assert rows[known.host.rental].state in OPEN, "a host whose machine is gone"
        assert self.app.bugs == []

    def check_nothing_left(self) -> None:
        """After `down`: no machine, and after a sweep nothing beside machines either."""
        swept = self.visit(leftovers=True)
        assert swept.problem is None
        assert self.cloud.alive() == []
        assert self.store.rentals(open_only=True) == []
        assert list(self.account().leftovers(MARK)) == []
        assert [one for one in self.cloud.things.values() if not one.foreign and one.kind != "trash"] == []
        assert self.store.hosts() == []

    def account(self) -> Provider:
        return self.deps.accounts.open(self.provider)


def _covered(row: Rental, machines: Sequence[FakeMachine]) -> None:
    """What is billed reaches from the beginning of the machine to its end."""
    mine = next(one for one in machines if one.id == row.machine)
    assert row.billed_from is not None
    assert row.billed_from <= mine.created_at + 1.0  # some say it in whole seconds
    if row.state is RentalState.GONE:
        assert mine.ended_at is not None
        assert row.billed_until is not None
        assert row.billed_until >= mine.ended_at
    else:
        assert row.billed_until is None
