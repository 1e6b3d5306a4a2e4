"""How many replicas a deployment shall have: the user's policy, what was measured, and what was decided."""

from __future__ import annotations

from dataclasses import dataclass

SLEEP_AFTER = 900.0
"""Seconds without a request after which a deployment whose minimum is 0 goes to zero, where nothing else is said."""
DOZE_AFTER = 300.0
"""Seconds without a request after which an engine on the user's own cards sleeps, where nothing else is said."""
RELEASE_AFTER = 1800.0
"""Seconds without a request after which a rented machine is given back, where nothing else is said."""
WAKE_SECONDS = 600.0
"""So long a request waits for its deployment to wake, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class ScheduleRule:
    """Other bounds at some hours: `Mon-Fri 07-22 Europe/Berlin min=1`.

    days: 0 = Monday. start, end: minutes since midnight on the clocks of `zone` (IANA); an end that is not after the
    start is on the next day. minimum, maximum: what they are then, None = as otherwise. text: as written.
    """

    days: tuple[int, ...]
    start: int
    end: int
    zone: str
    minimum: int | None
    maximum: int | None
    text: str


@dataclass(frozen=True, slots=True)
class ScalePolicy:
    """What the user wishes. It belongs to a deployment, not to its releases.

    target_concurrency: requests that a replica shall have in flight, None = a share of what its plan says it can hold.
    idle: seconds without a request after which its processes end, where the minimum is 0. idle_sleep: after which one
    engine sleeps, its weights in the memory of the host, and the others end. idle_release: after which a rented
    machine is given back. Of each None = never. wake_timeout: seconds that a request waits for a deployment that wakes.
    queue: requests that may wait at once, and queue_bytes of their bodies. hosts: where replicas may run besides the
    host of the release: names, `any` = each that is known and fits, `rent` = machines rented as the first one was.
    """

    minimum: int = 1
    maximum: int = 1
    target_concurrency: float | None = None
    idle: float | None = SLEEP_AFTER
    schedule: tuple[ScheduleRule, ...] = ()
    wake_timeout: float = WAKE_SECONDS
    queue: int = 1000
    queue_bytes: int = 256 << 20
    idle_sleep: float | None = None
    idle_release: float | None = None
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScaleWish:
    """What a deploy says of replicas and of its rollout. None = nothing: as it is, of a new deployment by default.

    minimum … wake_timeout, hosts: as in `ScalePolicy`, but that `math.inf` of the idle ones = never.
    canary: share of the requests that a new release gets at first, between 0 and 1; None = all of them. bake: seconds,
    as in `Deployment`.
    """

    minimum: int | None = None
    maximum: int | None = None
    target_concurrency: float | None = None
    idle: float | None = None
    schedule: tuple[ScheduleRule, ...] | None = None
    wake_timeout: float | None = None
    canary: float | None = None
    bake: float | None = None
    idle_sleep: float | None = None
    idle_release: float | None = None
    hosts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured of a deployment at one instant. None = not known, which never means zero.

    at: seconds since the epoch. in_flight: requests at its replicas. held: requests that wait for a replica.
    finished: requests that have ended since the sample before. engine_waiting: requests that its engines hold back,
    all replicas together. kv_usage: of the fullest replica, 0 to 1. ready: replicas that took requests then.
    """

    at: float
    in_flight: int | None
    held: int = 0
    finished: int = 0
    engine_waiting: int | None = None
    kv_usage: float | None = None
    ready: int | None = None


@dataclass(frozen=True, slots=True)
class ScalerState:
    """What the autoscaler remembers from one decision to the next; stored, so that a new controller goes on with it.

    desired: replicas that shall be there. last_request: when the last request was seen. panic_since: since when the
    load is far above what there is. down_since: since when fewer would do. why: the last decision in a few words.
    panic_last: when it was so last. watched_since, watched_until: the first and the last sample of a row without a gap.
    needs: the highest needs of the last minutes, (when, replicas), ever fewer replicas. learned: requests at a replica
    that its engine bears, where that is less than was thought; learned_at: since when. asleep: whether an engine is
    kept asleep while none is wished. gave_way: none is wished because another deployment needed its cards.
    """

    desired: int = 1
    last_request: float | None = None
    panic_since: float | None = None
    down_since: float | None = None
    why: str = ""
    panic_last: float | None = None
    watched_since: float | None = None
    watched_until: float | None = None
    needs: tuple[tuple[float, int], ...] = ()
    learned: float | None = None
    learned_at: float | None = None
    asleep: bool = False
    gave_way: bool = False
