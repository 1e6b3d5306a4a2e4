"""The doors between lyc's deciders and the world: Protocols only. The docstrings are the contracts.

Adapters (sources, hosts, gateway, store, observe) implement these; `control` uses them; `wiring` puts them together.
Sibling adapters meet only here. Every method may be called again after a crash at any instant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from lyc.records.gateway import GatewayConfig, GatewayStatus
from lyc.records.host import Completed, Host, HostUse, Pruned, RemoteFacts
from lyc.records.model import FetchRequest, Listing, ModelRef, Snapshot, SourceFile
from lyc.records.plan import EngineBuild, HostFacts
from lyc.records.process import ProcessSpec, ProcessStatus
from lyc.records.progress import PhaseEvent
from lyc.records.rental import Billed, Capabilities, Leftover, Machine, Offer, Order
from lyc.records.secret import Secret

ByteProgress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all), at most a few times a second."""


class Reporter(Protocol):
    """Whoever watches a long piece of work. Must not raise and must return at once."""

    def phase(self, event: PhaseEvent) -> None: ...

    def warn(self, message: str) -> None: ...


class Source(Protocol):
    """One place where models live. Errors: missing → SpecError, denied → NotAuthorised, no answer → Unreachable."""

    def resolve(self, ref: ModelRef) -> Listing:
        """The files of `ref` at an immutable revision. Costs one or a few small requests, never the weights."""
        ...

    def read(self, listing: Listing, file: SourceFile, *, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of one file, or of a range of it. For small things: config.json, tensor headers."""
        ...

    def download(
        self, listing: Listing, file: SourceFile, into: BinaryIO, *, start: int, progress: ByteProgress
    ) -> None:
        """Append the file's bytes from `start` on to `into`. Raises if the source changed since `resolve`."""
        ...

    def local_path(self, listing: Listing, file: SourceFile) -> Path | None:
        """Where the file already lies on this machine, if it does (so that it can be cloned instead of copied)."""
        ...

    def fetch_requests(self, listing: Listing, *, seconds: float) -> tuple[FetchRequest, ...] | None:
        """How another machine may fetch each file of the listing by itself, for `seconds` at least.

        None where it cannot: the files lie on this machine alone.
        """
        ...


class ModelCache(Protocol):
    """The content-addressed store of weights. Safe for several processes; a killed fetch resumes."""

    def snapshot(
        self, source: Source, listing: Listing, progress: ByteProgress, say: Callable[[str], None] | None = None
    ) -> Snapshot:
        """The model, complete and verified, on this machine. Fetches only what is missing.

        `progress` may raise to stop the fetch; what came is kept. `say` hears when another run is waited for.
        """
        ...

    def have(self, listing: Listing) -> Snapshot | None:
        """The snapshot of exactly this listing if it is here already, without touching the network."""
        ...

    def use(self, digest: str) -> Path | None:
        """The folder of the snapshot of this digest if it is whole, noted as used now; else None."""
        ...


class EngineInstaller(Protocol):
    """Engine environments by version, several side by side."""

    def bin_dir(self, build: EngineBuild) -> Path | None:
        """`bin` of the environment if it is complete, else None. Fast."""
        ...

    def distributions(self, build: EngineBuild) -> frozenset[str]:
        """Normalised names of the packages in the environment; empty when it is not complete."""
        ...

    def install(self, build: EngineBuild, say: Callable[[str], None]) -> Path:
        """Make the environment complete and return its `bin`. A second run does nothing and takes milliseconds."""
        ...


class Images(Protocol):
    """Images of containers, on one machine."""

    def provide(self, image: str, say: Callable[[str], None], *, cards: bool) -> str:
        """Make it be there, and return what names this very image for good. Quick where it is. cards: whether its
        container shall get some.

        Raises NotFound `no-such-image`, NotAuthorised `image-denied`, Unreachable `registry-unreachable`, Failed
        `no-container-runtime`, `no-cards-in-containers`, `no-space`, `image-not-pulled`.
        """
        ...


class Supervisor(Protocol):
    """Keeps processes on one host, alive beyond the controller that started them."""

    def start(self, spec: ProcessSpec) -> None:
        """Start it unless it runs already. When this returns, its record is on disk."""
        ...

    def status(self, directory: Path) -> ProcessStatus:
        """What became of the process whose private folder this is."""
        ...

    def stop(self, directory: Path, *, grace: float) -> None:
        """Ask (SIGTERM to the leader), and after `grace` seconds kill the whole group. Returns when none is left.

        A process that is gone already is a success. Blocks at most grace + a few seconds.
        """
        ...

    def stray(self, known: Sequence[Path]) -> list[int]:
        """Pids of processes that this supervisor's home started but that none of `known` accounts for."""
        ...

    def reap(self, pids: Sequence[int]) -> None:
        """Kill strays, with their children."""
        ...

    def forget(self, directory: Path) -> None:
        """Leave nothing of an ended process where it ran. The folder itself, with its log, is the caller's."""
        ...


class Site(Protocol):
    """One machine on which engines run: this one, or a host over SSH. What the parts below name is on that machine.

    name: `local`, or the host's. compiled: folder where its engines keep what they compiled. environ: what an engine
    may inherit there. Each part raises Unreachable `host-unreachable` and the like where the machine is another.
    """

    @property
    def name(self) -> str: ...

    @property
    def probe(self) -> HostProbe: ...

    @property
    def installer(self) -> EngineInstaller: ...

    @property
    def images(self) -> Images: ...

    @property
    def cache(self) -> ModelCache: ...

    @property
    def supervisor(self) -> Supervisor: ...

    @property
    def compiled(self) -> Path: ...

    @property
    def environ(self) -> Mapping[str, str]: ...

    def prepare(self, say: Callable[[str], None]) -> bool:
        """Make the machine fit to run engines: idempotent, and quick the second time. Whether anything changed."""
        ...

    def working(self, reason: str) -> AbstractContextManager[None]:
        """Keep other controllers from changing the machine meanwhile. Raises Failed `host-locked` where one does."""
        ...

    def folder(self, directory: Path) -> Path:
        """Where the private folder of the process whose folder here is `directory` lies on that machine."""
        ...

    def socket(self, socket: Path) -> Path | None:
        """Where an engine there listens that is to be reached at `socket` here; None: on a port of its loopback."""
        ...


class Sites(Protocol):
    """All machines, by name."""

    def site(self, host: str) -> Site:
        """Raises NotFound `no-such-host`. Quick: nothing is asked over the network."""
        ...

    def directories(self) -> Sequence[Path]:
        """Private folders here of processes that belong to other machines: the tunnels to them."""
        ...

    def sweep(self, host: str, known: Callable[[], Sequence[Path]]) -> Sequence[str]:
        """Stop and remove what runs on a host for this home but is not of one of `known`, folders here of processes.

        Returns what was removed. `known` is asked after the host was, so that what starts meanwhile is spared.
        """
        ...

    def leave(self, host: str) -> None:
        """Have nothing to do with a host any more: what watches it ends, and so do the tunnels to it."""
        ...

    def close(self) -> None:
        """End what watches; engines and tunnels go on."""
        ...


class HostProbe(Protocol):
    """Reads what a machine has."""

    def facts(self) -> HostFacts: ...


class Gateway(Protocol):
    """Envoy, driven by files. Every call is idempotent."""

    def apply(self, config: GatewayConfig) -> None:
        """Write the configuration; each file by an atomic rename, and only if it changed. Never cuts a stream."""
        ...

    def process(self, config: GatewayConfig) -> ProcessSpec:
        """How to run Envoy on what `apply` wrote."""
        ...

    def rotate_log(self, longest: int) -> None:
        """Set an access log of more than `longest` bytes aside as `.1`, in place of an older one. Never raises."""
        ...

    def status(self) -> GatewayStatus:
        """Whether it answers on its admin socket, and what is in flight. Never raises."""
        ...


class Remote(Protocol):
    """One host, reached over SSH. Every call opens the shared connection if there is none.

    Raises Unreachable `host-unreachable` when there is no connection or it was lost while the command ran (whether it
    had an effect is then unknown), NotAuthorised `host-denied`, Failed `host-key-unknown` and `host-key-changed`.
    """

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0, check: bool = True) -> Completed:
        """Run one command to its end. argv is quoted here and nowhere else. With `check`, a status other than 0 raises
        Failed `remote-command-failed` with the last lines of stderr; Failed `remote-timeout` when it takes longer.
        """
        ...

    def stream(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None, silence: float | None = None
    ) -> Iterator[bytes]:
        """The lines of a command's output (stdout and stderr as they come), without their ends, until it ends.

        Closing it ends the command. After the last line it raises Failed `remote-command-failed` for a status other
        than 0. silence: after so many seconds without a word it is ended with Unreachable `host-unreachable`.
        """
        ...

    def send(self, argv: Sequence[str], chunks: Callable[[], Iterable[bytes]], *, idle: float) -> Iterator[bytes]:
        """As `stream`, for a command that reads much: all of `chunks`, then its stdin ends. An empty line each `idle`
        seconds in which nothing is said, so that whoever listens can turn away from a link that hangs.

        `chunks` is called for each try and runs in a thread of its own. The command must know by itself when to end,
        and end when stdin ends early: that is all that it hears of a lost connection.
        """
        ...

    def put(self, data: bytes | Path, path: str, *, mode: int = 0o644) -> None:
        """Write a file there: whole or not at all, with `mode` from its first byte on, its SHA-256 compared."""
        ...

    def get(self, path: str, *, most: int = 1 << 20) -> bytes:
        """Read a small file. Raises NotFound `no-such-remote-file`."""
        ...

    def close(self) -> None:
        """End the shared connection."""
        ...


class HostAccess(Protocol):
    """Machines that are reached over SSH: which keys they show, which are trusted, and what they are.

    Fingerprints are `SHA256:…`. Each raises Unreachable `host-unreachable` and UsageError `ssh-config-refused`.
    """

    def shown(self, host: Host) -> tuple[str, ...]:
        """Fingerprints of the keys that the machine shows now. No credential is offered to it."""
        ...

    def trusted(self, host: Host) -> tuple[str, ...]:
        """Fingerprints that are accepted for it: those pinned here, and those that the user's own OpenSSH knows."""
        ...

    def pin(self, host: Host, fingerprints: Sequence[str]) -> None:
        """Trust the keys of these fingerprints, among those that the machine shows now, and no others pinned before."""
        ...

    def own_key(self) -> tuple[Path, str]:
        """The key pair by which lyc opens machines that it rents: (file of the private key, public key as one line).

        Made on first use. Raises Failed `no-ssh`.
        """
        ...

    def forget(self, host: Host) -> None:
        """Trust no key that was pinned here any more, and end the connection. Nothing happens where none was."""
        ...

    def look(self, host: Host, hub: str | None = None, *, reach: bool = True) -> RemoteFacts:
        """What it is and has, in one round trip. hub: address that is asked for in the place of the Hub's own. reach:
        whether to ask what it reaches, which takes 5 s where nothing answers.

        Raises what `Remote.run` does, and Failed `host-shell-odd`.
        """
        ...


class Upkeep(Protocol):
    """What is done to a host as a whole, beside the engines on it. Quick calls may be made for every host.

    Each raises what `Remote.run` does, and Failed `host-locked` (who, why, how long) where another controller works on
    the host; all but `prepare` raise Failed `host-not-prepared` where lyc was never at work. No call changes the store.
    """

    def use(self, host: Host) -> HostUse:
        """What lyc has and does there now: lock, lease, processes, disk."""
        ...

    def prepare(self, host: Host, say: Callable[[str], None]) -> bool:
        """As `Site.prepare`: bootstrap it now, so that a deploy finds it ready. Whether anything changed."""
        ...

    def unlock(self, host: Host, *, force: bool) -> None:
        """Give its lock back. Without `force` only if this controller holds it, else Failed `host-locked`. Nothing
        happens where nobody holds it.
        """
        ...

    def lease(self, host: Host, seconds: int | None, action: str) -> None:
        """Renew the lease: after `seconds` of silence the host does `action` (none | stop | poweroff) by itself.

        None ends it. Nothing happens where lyc was never at work.
        """
        ...

    def prune(
        self, host: Host, keep: Sequence[str], engines: Sequence[str], *, free: int | None, dry_run: bool
    ) -> tuple[Pruned, ...]:
        """Remove weights and engines, the longest unused first, until `free` bytes are free; None = all that may go.

        keep: digests of snapshots, and engines: ids of builds, that stay whatever is asked. dry_run: say it only.
        """
        ...

    def purge(self, host: Host, *, force: bool, say: Callable[[str], None]) -> None:
        """Leave nothing of lyc there: no process, unit, account or file. Twice is a success.

        Raises Failed `host-in-use` while engines of another controller run there, or that holds the lock; `force`
        ends them.
        """
        ...


class Provider(Protocol):
    """One account at one provider of machines. `lyc.testing` has the suite that each must pass.

    Errors, whatever the provider's own words are: NotAuthorised `provider-denied` (credential wrong, expired, or
    allows too little), Unreachable `provider-unreachable` (no answer in time, 5xx) and `provider-busy` (429; tried
    again within reason before), Failed `provider-odd-answer` (not what it documents), Failed `provider-refused` (it
    says that the request itself is wrong). No secret is in any of them.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def account(self) -> str:
        """Proves the credential with one small request: a word for whose it is, without a secret; may be empty."""
        ...

    def offers(self) -> Sequence[Offer]:
        """Everything with a GPU that it sells, sold out or not; nothing is filtered here. As fresh as it has them."""
        ...

    def create(self, order: Order) -> Machine:
        """Ask for one machine. Returns as soon as the provider has given it an id, ready or not.

        Raises NoFit `no-capacity` (sold out; try another offer), NoFit `quota-exceeded`, UsageError `offer-gone`: after
        these, after NotAuthorised, `provider-busy` and `provider-refused`, nothing was created. After any other error
        it is not known whether a machine was: list before asking again. What had to be made for it first (a key, a
        disk) and is of no use any more is removed, or else found by `leftovers`.
        """
        ...

    def get(self, identity: str) -> Machine | None:
        """One machine; None when the provider says that there is none of this id, or that it is gone for good."""
        ...

    def list_owned(self, owner: str) -> Sequence[Machine]:
        """Every machine, in every region and on every page, of a run id that begins with `<owner>-`, gone ones left
        out. Raises rather than return a part of them.
        """
        ...

    def terminate(self, identity: str) -> None:
        """Ask for its end, together with the disks and addresses that came with it. Of a missing one: a success.

        Returns as soon as the provider has taken the request; whether it is gone, `get` tells.
        """
        ...

    def leftovers(self, owner: str) -> Sequence[Leftover]:
        """What is there of this owner beside machines: disks, addresses, keys, scripts. Those of living machines too:
        who asks compares the run ids.
        """
        ...

    def remove(self, leftover: Leftover) -> None:
        """Remove one of `leftovers`. Of a missing one: a success."""
        ...

    def billed(self, since: float, until: float) -> Sequence[Billed] | None:
        """What it says that it bills; None where it has no such call."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class ProviderKind(Protocol):
    """What an entry point of the group `lyc.providers` names: a provider, before there is an account.

    Loading it must be cheap: what is heavy is imported in `open`.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        """The account of these credentials, by the names in the capabilities; all that are required are there.

        endpoint: in place of the provider's own address. Touches no network.
        """
        ...


class Accounts(Protocol):
    """The user's accounts at providers: which there are, and their credentials.

    A credential comes from, in this order: what the last caller had in its environment (`hear`), `lyc providers login`
    (a file of 0600, or the keyring), and the controller's own environment.
    """

    def kinds(self) -> Mapping[str, ProviderKind]:
        """All providers that are installed, by name."""
        ...

    def sources(self) -> Mapping[str, str]:
        """Of providers with all credentials that they need: name → where those come from, in a word."""
        ...

    def open(self, name: str) -> Provider:
        """The account; opened once as long as its credential stays the same.

        Raises UsageError `unknown-provider` and NotAuthorised `no-provider-credential`.
        """
        ...

    def trial(self, name: str, credentials: Mapping[str, Secret]) -> Provider:
        """The account of these credentials, which are not kept. Raises as `open`, and UsageError `unknown-credential`.

        Close it when done.
        """
        ...

    def hear(self, credentials: Mapping[str, Secret]) -> None:
        """Take over what a caller has in its environment, for as long as something is rented with it."""
        ...

    def settle(self, renting: Collection[str]) -> None:
        """Forget what `hear` took over, but for these providers: something is rented there."""
        ...

    def login(self, name: str, credentials: Mapping[str, Secret], *, keyring: bool) -> None:
        """Keep a credential for good.

        Raises UsageError `unknown-provider` and `unknown-credential`, Failed `no-keyring`.
        """
        ...

    def logout(self, name: str) -> bool:
        """Forget it; whether there was one."""
        ...
