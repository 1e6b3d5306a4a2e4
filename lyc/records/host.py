"""A machine reached over SSH: where it is, who it proved to be, and what a look at it found."""

from __future__ import annotations

from dataclasses import dataclass, field

from lyc.records.plan import Accelerator


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that lyc may use.

    address: what OpenSSH takes, `user@box`, `box` or an alias of the user's `~/.ssh/config`, without a port. port:
    None = what OpenSSH's configuration says. fingerprints: `SHA256:…` of each host key that was accepted. Times:
    epoch seconds.
    """

    name: str
    address: str
    port: int | None = None
    fingerprints: tuple[str, ...] = ()
    added_at: float = 0.0


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
    """What one round trip to a host found. None = it could not be told; sizes in bytes, times in epoch seconds.

    boot_id: changes with every start of the machine. systemd: version, None where PID 1 is another. sudo: none |
    password | free. runtimes: container runtimes with their versions. clock_skew: the host's clock minus ours,
    seconds. reaches: URL → whether it answered. missing: tools that were looked for and are not there. toolkits: cuda
    as the driver supports it.
    """

    hostname: str
    os: str
    kernel: str
    machine: str
    user: str
    home: str
    boot_id: str
    cpus: int
    memory_total: int
    memory_available: int
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
