"""How long a deployment takes to wake: measured where a replica becomes ready, told to whoever waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from lyc.records.deployment import Release, Replica, ReplicaState
from lyc.records.placement import Placement
from lyc.records.rental import Rental
from lyc.records.waketime import WakeStep, WakeTime
from lyc.store import Store

LAST = 5
"""So many of the newest count: a host that got other work since is slower now, or faster."""
ORDER: tuple[WakeStep, ...] = ("asleep", "stopped", "released", "new")
"""The quickest first."""
_ON_ITS_WAY = frozenset(
    {ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.LOADING, ReplicaState.PROBING, ReplicaState.BACKOFF}
)


def note(store: Store, replica: Replica, release: Release, woken: float | None = None) -> WakeTime | None:
    """Keep how long it took until this replica was ready, which it is since `replica.ready_at`. woken: since when its
    engine was to wake, where it had slept. None where that tells nothing: see `measured`.
    """
    name = replica.deployment
    found = measured(
        replica,
        release,
        others=store.replicas(name),
        rentals=store.rentals(deployment=name, open_only=True),
        placements=store.placements.list(name),
        woken=woken,
    )
    if found is not None:
        store.wake_times.add(found)
    return found


def measured(
    replica: Replica,
    release: Release,
    *,
    others: Sequence[Replica],
    rentals: Sequence[Rental] = (),
    placements: Sequence[Placement] = (),
    woken: float | None = None,
) -> WakeTime | None:
    """From the wish to this ready replica. The wish is the intent of the replica itself, or of what was rented or
    prepared for it. None for one that was started more than once on the way, and where the clock was set back.
    """
    if replica.ready_at is None:
        return None
    if woken is not None:
        return _took(replica, "asleep", woken)
    if (replica.attempts, replica.starts) != (1, 1):
        return None
    rental = next((one for one in rentals if one.host == replica.host and one.ready_at is None), None)
    if any(_has_served(one, replica) for one in others):
        return _took(replica, "stopped", replica.created_at)
    if rental is not None:
        return _took(replica, "new" if release.active_at is None else "released", rental.intended_at)
    if replica.host == release.spec.host and release.active_at is not None:
        return _took(replica, "stopped", replica.created_at)
    here = [one for one in placements if (one.release, one.host) == (replica.release, replica.host)]
    return _took(replica, "new", min([replica.created_at, *(one.created_at for one in here)]))


def _has_served(other: Replica, replica: Replica) -> bool:
    """Whether its host has had all that the release needs, what was compiled for it too."""
    same = (other.release, other.host) == (replica.release, replica.host)
    return same and other.id != replica.id and other.ready_at is not None


def _took(replica: Replica, step: WakeStep, since: float) -> WakeTime | None:
    at = replica.ready_at or 0.0
    return WakeTime(replica.deployment, replica.release, step, at, at - since) if at > since else None


def typical(times: Sequence[WakeTime], release: int | None) -> dict[WakeStep, float]:
    """Seconds from each step that was measured of a release: the median of the last few. times: oldest first."""
    found: dict[WakeStep, float] = {}
    for step in ORDER:
        took = [one.seconds for one in times if (one.release, one.step) == (release, step)]
        if took:
            found[step] = median(took[-LAST:])
    return found


def expected(times: Sequence[WakeTime], release: int | None, step: WakeStep) -> float | None:
    """Seconds that a wake of a release takes from this step. Where that was never measured: as the newest other
    release did, else from the next step that has more to do, of which it is a part. None = nothing is known.
    """
    for known in ORDER[ORDER.index(step) :]:
        if (took := typical(times, release).get(known)) is not None:
            return took
        of_others = [one for one in times if one.step == known]
        if of_others:
            return typical(times, max(one.release for one in of_others))[known]
    return None


def step(replicas: Sequence[Replica], *, released: bool = False) -> WakeStep:
    """From where a deployment would wake now. replicas: of its target. released: its machine was given back."""
    if any(one.state is ReplicaState.ASLEEP or one.woken_at is not None for one in replicas):
        return "asleep"
    return "released" if released else "stopped"


def remaining(
    times: Sequence[WakeTime],
    replicas: Sequence[Replica],
    release: int | None,
    now: float,
    *,
    released: bool = False,
    since: float | None = None,
) -> float | None:
    """Seconds until a request that comes now has a replica, less what has passed already of a wake under way; 0 where
    one is ready. None = not known. replicas: of the deployment, `release` is its target; released: as of `step`; since:
    when a wake began that no replica shows yet.
    """
    mine = [one for one in replicas if one.release == release]
    if any(one.state is ReplicaState.READY for one in mine):
        return 0.0
    whole = expected(times, release, step(mine, released=released))
    began = [one.created_at if one.woken_at is None else one.woken_at for one in coming(mine)]
    began += [] if since is None else [since]
    if whole is None or not began:
        return whole
    return max(0.0, whole - max(0.0, now - min(began)))


def coming(replicas: Sequence[Replica]) -> list[Replica]:
    """Those that are on their way to be ready."""
    return [one for one in replicas if one.state in _ON_ITS_WAY]


def document(times: Sequence[WakeTime], release: int | None) -> Mapping[str, float]:
    """For the API: seconds by step."""
    return {name: round(seconds, 3) for name, seconds in typical(times, release).items()}
