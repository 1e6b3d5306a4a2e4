"""Whether something still uses a rented machine. What nobody uses is given back: it costs by the second. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lyc.records.deployment import Deployment, Replica, ReplicaState
from lyc.records.rental import Rental, RentalState

READY_SECONDS = 1800.0
"""Default of `--ready-timeout`: fetching 140 GB at 100 MB/s takes 24 minutes."""
GRACE_SECONDS = 600.0
"""So long a deployment whose time is up has to finish what runs."""
_ENDED = frozenset({ReplicaState.STOPPED, ReplicaState.FAILED})


@dataclass(frozen=True, slots=True)
class Use:
    """Who may use machines. deploying: names of deployments that are being deployed just now. targets: by name, the
    host of the release that shall serve. patience: by name, seconds that a machine may be without anything that serves.
    """

    deployments: Mapping[str, Deployment]
    targets: Mapping[str, str]
    replicas: Sequence[Replica]
    deploying: Collection[str]
    patience: Mapping[str, float]


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
    if rental.host is None or use.targets.get(rental.deployment) != rental.host:
        return "unused"
    if rental.notice_at is not None:
        return "taken-back"
    # A replica that was given up stays so until a person asks again; one that is about to be created is there soon.
    if any(one.state is ReplicaState.FAILED for one in mine):
        return "gave-up"
    idle = now - max([rental.updated_at, *(one.updated_at for one in mine)])
    return "unused" if idle > patience else None
