"""Whether something still uses a rented machine. What nobody uses is given back: it costs by the second. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lyc.records.deployment import Deployment, Replica, ReplicaState
from lyc.records.rental import Rental, RentalState

READY_SECONDS = 1800.0
"""Default of `--ready-timeout`: fetching 140 GB at 100 MB/s takes 24 minutes."""
GRACE_SECONDS = 600.0
"""So long a deployment whose time is up has to finish what runs."""
SPARE_SECONDS = 300.0
"""So long a machine on which nothing runs stays while its deployment serves elsewhere: the next burst may need it."""
LEAST_SECONDS = 10.0
"""So long one stays at least after the last of its replicas has ended."""
_ENDED = frozenset({ReplicaState.STOPPED, ReplicaState.FAILED})


@dataclass(frozen=True, slots=True)
class Use:
    """Who may use machines. deploying: names of deployments for which machines are being found just now. targets: by
    name, the host of the release that shall serve; placed: further ones where it is, or is being brought. patience: by
    name, seconds that a machine may be without anything that serves. desired: by name, replicas that there shall be.
    """

    deployments: Mapping[str, Deployment]
    targets: Mapping[str, str]
    replicas: Sequence[Replica]
    deploying: Collection[str]
    patience: Mapping[str, float]
    placed: Mapping[str, Collection[str]] = field(default_factory=dict)
    desired: Mapping[str, int] = field(default_factory=dict)


def why_not(rental: Rental, use: Use, now: float) -> str | None:
    """Why a rental is of no use any more, kebab-case; None while it is."""
    if rental.reason:
        return rental.reason
    if rental.time_limit is not None and now >= rental.time_limit + GRACE_SECONDS:
        return "ttl"  # it should have been taken down by now, whatever keeps that
    mine = [one for one in use.replicas if rental.host is not None and one.host == rental.host]
    live = [one for one in mine if one.state not in _ENDED]
    deploying = rental.deployment in use.deploying and rental.state in (RentalState.INTENDED, RentalState.RENTED)
    deployment = use.deployments.get(rental.deployment)
    patience = use.patience.get(rental.deployment, READY_SECONDS)
    if live:
        # What never gets any further, or cannot be reached, serves nobody: the host would only be paid for.
        since = max([rental.intended_at, *(one.updated_at for one in live)])
        serving = any(one.state in (ReplicaState.READY, ReplicaState.DRAINING) for one in live)
        return "never-ready" if not serving and now - since > patience else None
    if deploying:
        return None
    if deployment is None or deployment.stopping:
        return "down"
    name = rental.deployment
    if rental.host is None or rental.host not in {use.targets.get(name), *use.placed.get(name, ())}:
        return "unused"
    if rental.notice_at is not None:
        return "taken-back"
    # A replica that was given up stays so until a person asks again; one that is about to be created is there soon.
    if any(one.state is ReplicaState.FAILED for one in mine):
        return "gave-up"
    ended = max([rental.updated_at, *(one.updated_at for one in mine)])
    if use.desired.get(name, 1) == 0:
        return "unused" if _idled(deployment, ended, now) else None
    elsewhere = any(one.deployment == name and one.state is ReplicaState.READY for one in use.replicas)
    return "unused" if now - ended > (SPARE_SECONDS if elsewhere else patience) else None


def _idled(deployment: Deployment, ended: float, now: float) -> bool:
    """Whether one that is at zero has been there for long enough: as long after its last request as its policy says,
    and as long after the last of its replicas has ended (`ended`) as that is later than the stop of those.
    """
    policy = deployment.policy
    if policy.idle_release is None:
        return False
    stopped = policy.idle_release if policy.idle is None else min(policy.idle, policy.idle_release)
    last = deployment.scaler.last_request
    due = ended + max(policy.idle_release - stopped, LEAST_SECONDS)
    return now > (due if last is None else max(due, min(last, now) + policy.idle_release))
