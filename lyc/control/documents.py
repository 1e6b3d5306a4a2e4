"""The JSON documents of the controller's API as types; `docs/controller-api.md` is their text. Times: epoch seconds.

Every key is optional to the reader in practice (a newer controller may add some), so the client never relies on more
than what is written here.
"""

from __future__ import annotations

from typing import TypedDict

from lyc.control.rent_documents import RentedDocument

API = 4
"""Number of the API. It grows when a client written for the old one would be misled by the new one."""


class ErrorDocument(TypedDict):
    """`lyc.errors.LycError.document`."""

    kind: str
    ref: str
    what: str
    why: str
    where: str
    hint: str
    detail: list[str]
    exit_code: int
    retry: str


class GatewayDocument(TypedDict):
    url: str | None
    host: str
    port: int | None
    state: str
    pid: int | None
    error: ErrorDocument | None


class ControllerDocument(TypedDict):
    version: str
    api: int
    pid: int
    started_at: float
    home: str
    gateway: GatewayDocument
    log: str
    settings: dict[str, str]


class StopDocument(TypedDict):
    stopped: bool
    serving: list[str]
    rented: list[str]


class ReplicaDocument(TypedDict):
    id: str
    release: int
    state: str
    host: str
    pid: int | None
    gpus: list[int] | None
    created_at: float
    ready_at: float | None
    attempts: int
    error: ErrorDocument | None


class ForecastDocument(TypedDict):
    """`lyc.records.plan.Forecast`: bytes on one GPU."""

    weights: int
    kv_cache: int
    kv_tokens: int
    kv_blocks: int
    concurrency: float
    non_torch: int
    activation: int
    cuda_graph: int
    band: int


class ReportedDocument(TypedDict):
    """`lyc.records.engine.Reported`: bytes on one GPU, None where the engine did not say."""

    weights: int | None
    kv_cache: int | None
    cuda_graph: int | None
    kv_tokens: int | None
    kv_blocks: int | None
    concurrency: float | None


class ReleaseDocument(TypedDict):
    number: int
    state: str
    model: str
    created_at: float
    forecast: ForecastDocument | None
    reported: ReportedDocument | None


class ReplicaCounts(TypedDict):
    ready: int
    desired: int


class DeploymentDocument(TypedDict):
    """None where nothing is decided yet: the first deploy still looks at the model. why: as many replicas as it has, in
    a sentence. wake, ready_in: as of a `ScaleDocument`.
    """

    name: str
    state: str
    url: str | None
    model: str | None
    release: int | None
    host: str | None
    gpu: str | None
    engine: str | None
    min: int | None
    max: int | None
    replicas: ReplicaCounts
    why: str
    wake: float | None
    ready_in: float | None
    replica_list: list[ReplicaDocument]
    releases: list[ReleaseDocument]
    rented: list[RentedDocument]
    operation: str | None
    error: ErrorDocument | None
    warnings: list[str]
    created_at: float
    updated_at: float


class DeployResult(TypedDict):
    name: str
    url: str
    model: str
    release: int
    host: str
    changed: bool
    ready: bool
    first: bool
    served_name: str
    task: str
    rented: RentedDocument | None
    seconds: float


class OperationDocument(TypedDict):
    id: str
    kind: str
    deployment: str
    state: str
    created_at: float
    finished_at: float | None
    result: dict[str, object] | None
    error: ErrorDocument | None


class EventDocument(TypedDict):
    """data: by kind, see `docs/controller-api.md`."""

    seq: int
    at: float
    kind: str
    data: dict[str, object]


class LogDocument(TypedDict):
    replica: str
    at: float
    line: str


class DiskDocument(TypedDict):
    path: str
    total: int
    free: int


class CardDocument(TypedDict):
    """`lyc.records.plan.Accelerator`."""

    name: str
    product: str
    memory_total: int
    memory_free: int
    compute_capability: int | None
    uuid: str


class GpuProcessDocument(TypedDict):
    gpu: str
    pid: int
    name: str
    used: int


class FactsDocument(TypedDict):
    """`lyc.records.host.RemoteFacts`."""

    hostname: str
    os: str
    os_id: str
    system: str
    kernel: str
    machine: str
    user: str
    home: str
    home_writable: bool | None
    boot_id: str
    cpus: int | None
    cpu_model: str
    cpu_flags: list[str]
    memory_total: int | None
    memory_available: int | None
    disks: list[DiskDocument]
    libc: str | None
    accelerators: list[CardDocument]
    processes: list[GpuProcessDocument]
    mig: bool
    driver: str | None
    cuda: list[int] | None
    gpu_problem: str | None
    gpu_status: int | None
    gpus_seen: int | None
    systemd: int | None
    container: str | None
    sudo: str
    runtimes: dict[str, str]
    runtimes_denied: dict[str, str]
    toolkit: str | None
    clock_skew: float | None
    reaches: dict[str, bool]
    missing: list[str]
    looked_at: float
    round_trip: float


class CheckDocument(TypedDict):
    """`lyc.records.host.Check`."""

    name: str
    state: str
    found: str
    why: str
    remedy: str


class HostReplicaDocument(TypedDict):
    """A replica on a host. gpus: the cards that it was given, None = no set of its own."""

    id: str
    deployment: str
    release: int
    state: str
    gpus: list[int] | None


class HostDocument(TypedDict):
    name: str
    address: str
    state: str
    fingerprints: list[str]
    added_at: float
    seen_at: float | None
    facts: FactsDocument | None
    checks: list[CheckDocument]
    error: ErrorDocument | None
    lease_seconds: int | None
    country: str
    rental: str
    rented: RentedDocument | None
    prepared: bool
    replicas: list[HostReplicaDocument]


class LockDocument(TypedDict):
    """`lyc.records.host.HostLock`."""

    owner: str
    who: str
    reason: str
    age: float
    ours: bool


class LeaseDocument(TypedDict):
    """`lyc.records.host.HostLease`."""

    seconds: int
    action: str
    left: float


class UseDocument(TypedDict):
    """`lyc.records.host.HostUse`."""

    root: str
    mode: str
    lock: LockDocument | None
    lease: LeaseDocument | None
    engines: dict[str, int]
    snapshots: int
    weights: int
    processes: dict[str, str]
    others: int


class UnlockDocument(TypedDict):
    """lock: what was held, None = nothing was."""

    name: str
    unlocked: bool
    lock: LockDocument | None


class PrunedDocument(TypedDict):
    """`lyc.records.host.Pruned`."""

    kind: str
    name: str
    bytes: int


class PruneDocument(TypedDict):
    name: str
    dry_run: bool
    removed: list[PrunedDocument]
    bytes: int


class KeyDocument(TypedDict):
    id: str
    label: str
    prefix: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None


class NewKeyDocument(TypedDict):
    id: str
    key: str
    label: str
    created_at: float
    expires_at: float | None
