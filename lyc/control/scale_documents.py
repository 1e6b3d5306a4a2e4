"""The documents of the API that are about replicas and releases. Times: epoch seconds; spans: seconds."""

from __future__ import annotations

from typing import TypedDict


class PolicyDocument(TypedDict):
    """`lyc.records.scaling.ScalePolicy`. idle …: seconds, None = never. schedule: rules as written.
    hosts: where further replicas may run.
    """

    min: int
    max: int
    target_concurrency: float | None
    idle: float | None
    idle_sleep: float | None
    idle_release: float | None
    schedule: list[str]
    wake_timeout: float
    hosts: list[str]


class BoundsDocument(TypedDict):
    min: int
    max: int


class LoadDocument(TypedDict):
    """`lyc.records.scaling.Sample`, the last one."""

    at: float
    in_flight: int | None
    held: int
    engine_waiting: int | None
    kv_usage: float | None


class ScaledReplicaDocument(TypedDict):
    id: str
    release: int
    state: str
    host: str
    created_at: float
    ready_at: float | None
    error: dict[str, object] | None


class ScaleDocument(TypedDict):
    """bounds: those that hold now. target: requests that a replica shall have in flight. wake: seconds from a request
    to the first replica, from where it would wake now; None = not measured yet. wakes: the same as measured of this
    release, by what it woke from (`asleep | stopped | released | new`). ready_in: seconds until a replica on its way is
    ready; None = none is, or it is not known. next_change: when the schedule changes the bounds.
    load: None = not measured.
    """

    name: str
    state: str
    release: int | None
    paused: bool
    policy: PolicyDocument
    bounds: BoundsDocument
    desired: int
    ready: int
    target: float | None
    why: str
    last_request: float | None
    next_change: float | None
    wake: float | None
    wakes: dict[str, float]
    ready_in: float | None
    load: LoadDocument | None
    canary: float | None
    homeless: dict[str, object] | None
    warnings: list[str]
    replicas: list[ScaledReplicaDocument]


class StepDocument(TypedDict):
    """`lyc.control.changes.Step`."""

    action: str
    subject: str
    text: str


class ChangeDocument(TypedDict):
    """changed: whether anything is another now (or, of a dry run, would be). changes: what, in words. steps: of a dry
    run, what would be done for it. operation: that makes it real, where there is something to wait for.
    """

    name: str
    dry_run: bool
    changed: bool
    changes: list[str]
    steps: list[StepDocument]
    release: int | None
    operation: str | None


class ForetoldDocument(ChangeDocument):
    """What a deploy would do. model: the reference, pinned. host: None where it is not there yet. gpu, engine,
    max_model_len: None where that is decided on the machine. rent: the offer that would be taken first, a
    `lyc.records.rental.Offer`.
    """

    model: str
    host: str | None
    gpu: str | None
    engine: str | None
    max_model_len: int | None
    rent: dict[str, object] | None
    warnings: list[str]


class ReleaseRowDocument(TypedDict):
    """serves: whether requests go there now. share: of the requests, 0 to 1. ready, replicas: of it. target: whether it
    is the one that shall serve.
    """

    number: int
    state: str
    model: str
    host: str
    gpu: str
    image: str | None
    created_at: float
    active_at: float | None
    target: bool
    serves: bool
    share: float
    ready: int
    replicas: int
    error: dict[str, object] | None


class ReleasesDocument(TypedDict):
    name: str
    target: int | None
    canary: float | None
    bake: float
    releases: list[ReleaseRowDocument]


class JournalDocument(TypedDict):
    """`lyc.records.journal.JournalEntry`."""

    id: int
    at: float
    deployment: str
    actor: str
    action: str
    subject: str
    cause: str
    result: str | None
    detail: dict[str, object]
