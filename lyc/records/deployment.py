"""Desired state and what became of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from lyc.records.engine import Reported
from lyc.records.plan import Plan
from lyc.records.scaling import ScalePolicy, ScalerState, ScaleWish

BAKE_SECONDS = 60.0
"""How long a new release is on probation, where nothing else is said."""
CONTAINER = "container"
"""The `runtime` of a spec whose engine comes as an image."""


@dataclass(frozen=True, slots=True)
class Speculative:
    """Speculative decoding as wished.

    method: ngram | draft_model | eagle | eagle3 | mtp | suffix. model: the draft's reference as written (draft_model,
    eagle, eagle3) or None. tokens: draft tokens per step, None = the method's default.
    """

    method: str
    model: str | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RentWish:
    """What may be rented for a deployment. It does not distinguish releases.

    providers: only these, empty = all that there are credentials for. residency: where the data may be, as written
    (`eu`, `de,fi`). sovereign: the owner of the provider must answer to no law outside the EU and EEA. max_price: of
    the machine for an hour, `3.50EUR`. spot: also machines that may be taken back. ttl: seconds after which everything
    goes, whatever happens. ready_timeout: seconds that a machine has to become ready before it is given back. disk:
    bytes wanted at least, None = from the size of the model. own: a machine of the user's own that is known and fits
    is taken first: it is paid for already.
    """

    providers: tuple[str, ...] = ()
    residency: str | None = None
    sovereign: bool = False
    max_price: str | None = None
    spot: bool = False
    ttl: float | None = None
    ready_timeout: float | None = None
    disk: int | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """A deployment as its user wishes it: everything that, changed, makes a new release.

    model: the reference as written, local paths made absolute. revision is resolved at deploy time.
    gpu: auto | cpu | a card's name. host: `local`, or the name of a host that is known. gpus: indices of the cards on
    the host that it may use, None = any that are free. runtime: process | container; image: of the container, None =
    vLLM's own; in a release by what names it for good.
    rent: where host is a machine to be rented, which ones will do.
    min_replicas, max_replicas, scale: how many replicas, and when. They do not distinguish releases; what counts is the
    deployment's policy, which `lyc.spec.scale.policy_of` makes of them.
    engine_args: vLLM options by long name without dashes, values as written (`{"enforce-eager": "true"}`).
    env: extra environment of the engine; values may be secrets, so they are never shown.
    """

    name: str
    model: str
    gpu: str = "auto"
    host: str = "local"
    quantization: str | None = None
    speculative: Speculative | None = None
    max_model_len: int | None = None
    min_replicas: int = 1
    max_replicas: int = 1
    engine_args: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    s3_endpoint: str | None = None
    gpus: tuple[int, ...] | None = None
    runtime: str = "process"
    image: str | None = None
    rent: RentWish = field(default_factory=RentWish)
    scale: ScaleWish = field(default_factory=ScaleWish)


class ReplicaState(enum.StrEnum):
    """What a replica is doing. Moves are in `lyc.rollout.transitions`, and nowhere else."""

    PENDING = "pending"  # intended; nothing started yet
    STARTING = "starting"  # the process is being started, or imports
    LOADING = "loading"  # the engine reads weights
    PROBING = "probing"  # the engine listens; one real completion has not come back yet
    READY = "ready"
    ASLEEP = "asleep"  # the engine runs, its cards are free: its weights are in the memory of the host
    DRAINING = "draining"  # takes no new requests, finishes those it has
    STOPPING = "stopping"
    BACKOFF = "backoff"  # died; will be started again at `retry_at`
    UNREACHABLE = "unreachable"  # was ready; its host does not answer now, so nobody knows what it does
    STOPPED = "stopped"
    FAILED = "failed"


class ReleaseState(enum.StrEnum):
    """What became of a release."""

    PENDING = "pending"  # not proven yet
    CANARY = "canary"  # proven; gets a share of the requests while an older one serves the rest
    ACTIVE = "active"  # has been ready; it is what the deployment serves
    SUPERSEDED = "superseded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Release:
    """One immutable version of a deployment.

    number counts from 1. model: the pinned reference. snapshot: digest of the weights. spec_digest: over everything
    that distinguishes releases. error: document of the error that failed it. reported: by its first ready replica, to
    be held against `plan.forecast`. active_at: when it became active, the last time.
    """

    deployment: str
    number: int
    spec: DeploymentSpec
    spec_digest: str
    model: str
    snapshot: str
    snapshot_path: str
    plan: Plan
    state: ReleaseState
    created_at: float
    error: dict[str, object] | None = None
    reported: Reported | None = None
    active_at: float | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A named desired state.

    target: the release that shall serve, None when none could. stopping: `lyc down` was asked for. surge: whether a
    new release may start beside the old one, or must wait until it is gone. abandon: go down although a host cannot be
    asked; what runs there is stopped when it answers again. error: why the last wish failed. policy: how many replicas,
    and when. scaler: what the autoscaler has decided last. paused: no replica runs and no request wakes one, until a
    person says so. canary: share of the requests that a new release gets while the one before it still serves the rest,
    0 < canary < 1; None = all of them. bake: seconds after its release became active in which an end of its engine
    makes the release before it serve again. restart_before: replicas made before this instant (seconds since the epoch)
    are replaced by new ones of the same release, beside them where `surge` allows it, else in their place; None = none.
    It stays: a replica that is made later is younger than it.
    """

    name: str
    created_at: float
    updated_at: float
    target: int | None = None
    stopping: bool = False
    drain_timeout: float = 30.0
    surge: bool = True
    error: dict[str, object] | None = None
    abandon: bool = False
    policy: ScalePolicy = field(default_factory=ScalePolicy)
    scaler: ScalerState = field(default_factory=ScalerState)
    paused: bool = False
    canary: float | None = None
    bake: float = BAKE_SECONDS
    restart_before: float | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One engine process of one release on one host, as the store knows it.

    id: `<deployment>-<release>-<random>`. socket: where the engine listens, or is reached if it runs on another host.
    attempts: how often its process was started; each attempt has its own folder and log. failures: ends in a row
    without a stable time between them. starts: how often its host itself has started this attempt, after a crash or a
    boot. devices: the cards of its host that it has, None = as the plan says. sleeps: its engine was started so that it
    can sleep. woken_at: since when it wakes from that. Times are seconds since the epoch.
    """

    id: str
    deployment: str
    release: int
    host: str
    state: ReplicaState
    created_at: float
    updated_at: float
    socket: str
    attempts: int = 0
    failures: int = 0
    retry_at: float | None = None
    ready_at: float | None = None
    drain_deadline: float | None = None
    error: dict[str, object] | None = None
    starts: int = 1
    devices: tuple[int, ...] | None = None
    sleeps: bool = False
    woken_at: float | None = None
