"""How a deployment stands between asleep and awake, and why: one sentence, and the times that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from lyc.control import waketimes
from lyc.control.autoscale import wanted
from lyc.control.deps import Deps
from lyc.errors import NotFound
from lyc.records.deployment import Deployment, Release, Replica, ReplicaState
from lyc.records.host import LOCAL
from lyc.records.scaling import Sample, ScalePolicy
from lyc.records.waketime import WakeTime
from lyc.scaling.hours import known_zone
from lyc.units import show_duration


class Scaling(Protocol):
    """What is known of the scaling of a deployment beyond the store; `lyc.control.autoscale.Autoscaler` is one."""

    def why(self, deployment: Deployment, now: float) -> str:
        """What it does, in a few words."""
        ...

    def last(self, name: str) -> Sample | None:
        """The newest measurement."""
        ...


def standing(
    deps: Deps,
    scaling: Scaling,
    deployment: Deployment,
    target: Release | None,
    replicas: Sequence[Replica],
    *,
    times: Sequence[WakeTime] | None = None,
) -> dict[str, Any]:
    """`why`, `wake`, `wakes` and `ready_in` of a `ScaleDocument`; a `DeploymentDocument` has all but `wakes`. times:
    all that was measured of the deployment, None = it is read.
    """
    if target is None:
        return {"why": "", "wake": None, "wakes": {}, "ready_in": None}
    now = deps.clock()
    times = deps.store.wake_times.list(deployment.name) if times is None else times
    mine = [one for one in replicas if one.release == target.number]
    wake = waketimes.expected(times, target.number, waketimes.step(mine, released=released(deps, target)))
    ready_in = waketimes.remaining(times, mine, target.number, now) if waketimes.coming(mine) else None
    wake, ready_in = (None if seconds is None else round(seconds, 3) for seconds in (wake, ready_in))
    said = scaling.why(deployment, now)
    if not any(one.state is ReplicaState.READY for one in replicas) and not deployment.paused:
        if ready_in is not None:
            said += f", ready in about {show_duration(ready_in)}" if ready_in else ", ready at any moment"
        elif wake is not None and not wanted(deployment, now):
            said += f", wakes in about {show_duration(wake)}"
    return {"why": said, "wake": wake, "wakes": waketimes.document(times, target.number), "ready_in": ready_in}


def warnings(policy: ScalePolicy) -> list[str]:
    """What of a policy cannot come true on this machine."""
    return [
        f"the rule {rule.text!r} never holds: this machine knows no time zone {rule.zone} (is tzdata installed?)"
        for rule in policy.schedule
        if not known_zone(rule.zone)
    ]


def released(deps: Deps, target: Release) -> bool:
    """Whether the machine of a release was given back."""
    if target.spec.host == LOCAL:
        return False
    try:
        deps.store.host(target.spec.host)
    except NotFound:
        return True
    return False
