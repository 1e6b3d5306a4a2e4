"""A machine reached over SSH: where it is, who it proved to be, and what a look at it found."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from lyc.records.plan import Accelerator

LOCAL, ANY, RENT = "local", "any", "rent"
"""In the place of a host's name: the machine that the controller runs on, whichever known host fits, and a machine that
is rented for it.
"""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that lyc may use.

    address: what OpenSSH takes, `user@box`, `box` or an alias of the user's `~/.ssh/config`, without a port. port:
    None = what OpenSSH's configuration says. fingerprints: `SHA256:…` of each host key that was accepted. Times:
    epoch seconds. lease_seconds: the host stops its replicas when the controller was silent for so long; None = never.
    rental: run id of a machine that lyc rented; then it powers off in place of stopping its replicas. identity: file
    of the private key that opens it, empty = as OpenSSH's configuration says. country: ISO code of where it stands,
    empty = nobody has said.
    """

    name: str
    address: str
    port: int | None = None
    fingerprints: tuple[str, ...] = ()
    added_at: float = 0.0
    lease_seconds: int | None = None
    rental: str = ""
    identity: str = ""
    country: str = ""

    @property
    def own(self) -> bool:
        """Whether it is the user's, not rented by lyc."""
        return not self.rental

    @property
    def key_alias(self) -> str | None:
        """The name under which its key is known: addresses of rented machines are used again by others."""
        return f"lyc-{self.rental}" if self.rental else None


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran to its end on a host. code: its exit status; a death by signal N is 128 + N, as a shell
    says.
    """

    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Disk:
    """The filesystem that holds `path`. Bytes."""

    path: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory of a card. used: bytes."""

    gpu: str  # uuid of the card
    pid: int
    name: str
    used: int


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """What one round trip to a host found. None (of a text: empty) = it could not be told; bytes and epoch seconds.

    os: as it calls itself; os_id: `debian`, `nixos`; system: `Linux`. kernel: its release. boot_id: changes with every
    start of the machine. cpus, memory_total and memory_available are what this account may use. cuda: newest that the
    driver supports; gpu_problem, gpu_status: what nvidia-smi said and ended with when it could not tell of the cards;
    gpus_seen: NVIDIA cards on the PCI bus, driver or not. systemd: version, None where PID 1 is another. container:
    what kind of container the host itself is. sudo: none | password | free (free for root). runtimes: container
    runtimes that this user may use, with their versions; runtimes_denied: the others and why. toolkit: version of
    NVIDIA's container toolkit. clock_skew: the host's clock minus ours. reaches: URL → whether it answered. missing:
    tools that were looked for and are not there. looked_at: when, by our clock. round_trip: seconds of the look.
    """

    hostname: str
    os: str
    kernel: str
    machine: str
    user: str
    home: str
    boot_id: str
    cpus: int | None
    memory_total: int | None
    memory_available: int | None
    disks: tuple[Disk, ...]
    cpu_flags: frozenset[str] = frozenset()
    libc: str | None = None
    accelerators: tuple[Accelerator, ...] = ()
    processes: tuple[GpuProcess, ...] = ()
    mig: bool = False
    driver: str | None = None
    cuda: tuple[int, int] | None = None
    systemd: int | None = None
    sudo: str = "none"
    runtimes: dict[str, str] = field(default_factory=dict)
    clock_skew: float | None = None
    reaches: dict[str, bool] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    system: str = ""
    os_id: str = ""
    cpu_model: str = ""
    home_writable: bool | None = None
    container: str | None = None
    gpu_problem: str | None = None
    gpu_status: int | None = None
    gpus_seen: int | None = None
    runtimes_denied: dict[str, str] = field(default_factory=dict)
    toolkit: str | None = None
    looked_at: float = 0.0
    round_trip: float = 0.0

    @property
    def place(self) -> Disk | None:
        """The filesystem where lyc's folder goes: below /var/lib with the rights of root, else in the home.

        None where its room cannot be told.
        """
        paths = ("/var/lib", "/") if self.sudo == "free" else (self.home,)
        return next((disk for path in paths for disk in self.disks if disk.path == path), None)


class CheckState(enum.StrEnum):
    """What a check came to, the worst first. UNKNOWN: what it needs could not be told."""

    FAILED = "failed"
    WARNING = "warning"
    UNKNOWN = "unknown"
    PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement held against a host. found: what is there; why: what hangs on it; remedy: what to type."""

    name: str
    state: CheckState
    found: str
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class KnownHost:
    """A host with its last look. error: the document of what kept the last look from succeeding; facts are then those
    of an earlier one, if there was one. seen_at: when it was last tried.
    """

    host: Host
    facts: RemoteFacts | None = None
    error: dict[str, object] | None = None
    seen_at: float | None = None


@dataclass(frozen=True, slots=True)
class HostLock:
    """Who works on a host now, so that no other controller does. who: a person's words for it (`user@machine`).

    age: seconds since it was taken, by the host's own clock. ours: whether the controller that asks holds it.
    """

    owner: str
    who: str
    reason: str
    age: float
    ours: bool


@dataclass(frozen=True, slots=True)
class HostLease:
    """What a host does by itself when its controller is silent. action: none | stop | poweroff. left: seconds."""

    seconds: int
    action: str
    left: float


@dataclass(frozen=True, slots=True)
class HostUse:
    """What lyc has and does on a host, asked just now. Bytes.

    root: lyc's folder there. mode: `system` or `user`. engines: bytes by build (`vllm-0.32.0`). weights: of all
    snapshots, shared files counted once. processes: engine processes of this controller, by id → state; others: how
    many belong to other controllers.
    """

    root: str
    mode: str
    lock: HostLock | None = None
    lease: HostLease | None = None
    engines: dict[str, int] = field(default_factory=dict)
    snapshots: int = 0
    weights: int = 0
    processes: dict[str, str] = field(default_factory=dict)
    others: int = 0


@dataclass(frozen=True, slots=True)
class Pruned:
    """One thing that was removed from a host, or would be. kind: `engine`, `compiled`, `weights` or `leftovers`."""

    kind: str
    name: str
    bytes: int
