"""A release on one more host: what was planned for it there, and whether all that its engine needs is there."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from lyc.records.plan import Plan


class PlacementState(enum.StrEnum):
    PREPARING = "preparing"  # intended: a machine is found or rented, and gets engine and weights
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Placement:
    """Beside the host of the release itself, which has no placement: the release says all of that one.

    id: random; the host is not known yet while one is looked for. host: None until it is decided. plan, snapshot_path,
    image: as of a `Release`, on that host; None until then. error: document of the error that failed it. retry_at:
    when another may be tried in its stead, None = as soon as it is needed. Times are seconds since the epoch.
    """

    id: str
    deployment: str
    release: int
    state: PlacementState
    created_at: float
    updated_at: float
    host: str | None = None
    plan: Plan | None = None
    snapshot_path: str | None = None
    image: str | None = None
    error: dict[str, object] | None = None
    retry_at: float | None = None
