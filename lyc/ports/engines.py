"""Sources, the cache of weights, machines that engines run on, and the gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from lyc.records.gateway import GatewayConfig, GatewayStatus
from lyc.records.model import FetchRequest, Listing, ModelRef, Snapshot, SourceFile
from lyc.records.plan import EngineBuild, HostFacts
from lyc.records.process import ProcessSpec, ProcessStatus
from lyc.records.progress import PhaseEvent

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
