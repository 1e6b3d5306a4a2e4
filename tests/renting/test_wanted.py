"""Whether something uses a rented machine: each reason, and what keeps it from being one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from lyc.records.deployment import Deployment, Replica, ReplicaState
from lyc.records.rental import Rental, RentalState
from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.renting.wanted import GRACE_SECONDS, READY_SECONDS, SPARE_SECONDS, Use, why_not
from tests.renting.ledger_book import at, rental

T = at("2026-11-20T10:00")
NAME, HOST = "support-8b", "rent-01"
SERVES = Deployment(NAME, T, T, target=1)
FAR = READY_SECONDS * 10


def replica(state: ReplicaState, *, since: float = T, host: str = HOST, of: str = NAME) -> Replica:
    return Replica("r", of, 1, host, state, since, since, "s")


READY, LOADING, FAILED, STOPPED = (
    replica(one) for one in (ReplicaState.READY, ReplicaState.LOADING, ReplicaState.FAILED, ReplicaState.STOPPED)
)


@dataclass(frozen=True)
class Case:
    """now: seconds after the rental was begun."""

    says: str | None
    rental: Rental = field(default_factory=rental)
    deployment: Deployment | None = SERVES
    target: str | None = HOST
    replicas: tuple[Replica, ...] = (READY,)
    deploying: bool = False
    patience: float | None = None
    now: float = 10.0
    desired: int | None = None
    placed: tuple[str, ...] = ()


ONE = rental()
STOP, BACK = 900.0, 1800.0
IDLE = replace(SERVES, policy=ScalePolicy(0, 1, idle=STOP, idle_release=BACK), scaler=ScalerState(0, last_request=T))
ENDED = replica(ReplicaState.STOPPED, since=T + STOP)


def idle(*, last: float | None = T, release: float | None = BACK, stop: float | None = STOP) -> Deployment:
    policy = replace(IDLE.policy, idle=stop, idle_release=release)
    return replace(IDLE, policy=policy, scaler=replace(IDLE.scaler, last_request=last))


def zero(says: str | None, now: float, deployment: Deployment = IDLE, **more: Any) -> Case:
    return Case(says, deployment=deployment, replicas=more.pop("replicas", (ENDED,)), now=now, desired=0, **more)


CASES = {
    "nobody has asked for half an hour": zero("unused", BACK + 1),
    "nobody has asked for less": zero(None, BACK - 1),
    "nobody has asked for less, and its patience is over": zero(None, BACK - 1, patience=60.0),
    "it still runs, though nobody asks": zero(None, FAR, replicas=(READY,)),
    "it is never given back": zero(None, FAR, idle(release=None)),
    "it was paused only just now": zero(None, FAR + 1, replicas=(replica(ReplicaState.STOPPED, since=T + FAR),)),
    "it was paused as long ago as it would have slept": zero(
        "unused", FAR + BACK - STOP + 1, replicas=(replica(ReplicaState.STOPPED, since=T + FAR),)
    ),
    "it is given back as soon as it has stopped": zero("unused", STOP + 11, idle(release=STOP)),
    "it has only just stopped": zero(None, STOP + 9, idle(release=STOP)),
    "it is given back before it would have stopped": zero("unused", STOP + 11, idle(release=60.0)),
    "it stops only to be given back": zero("unused", BACK + 11, idle(stop=None)),
    "nobody has ever asked": zero("unused", BACK + 1, idle(last=None)),
    "the clock was set back since the last request": zero(None, BACK + 1, idle(last=T + FAR)),
    "it serves on another machine too": Case(
        None, replicas=(replica(ReplicaState.READY, host="rent-02"),), desired=1, now=SPARE_SECONDS
    ),
    "it serves on another machine alone": Case(
        "unused", replicas=(replica(ReplicaState.READY, host="rent-02"),), desired=1, now=SPARE_SECONDS + 1
    ),
    "it is one of several machines": Case(None, target="rent-02", placed=(HOST,), desired=2),
    "it is one of several, and nothing runs there any more": Case(
        "unused",
        target="rent-02",
        placed=(HOST,),
        replicas=(STOPPED, replica(ReplicaState.READY, host="rent-02")),
        desired=1,
        now=SPARE_SECONDS + 1,
    ),
    "it serves": Case(None),
    "it serves for ever": Case(None, now=FAR),
    "it has a reason already": Case("host-unfit", rental=replace(ONE, reason="host-unfit"), deploying=True),
    "its time is up": Case("ttl", rental=replace(ONE, time_limit=T), now=GRACE_SECONDS, deploying=True),
    "its time is up, and it may finish": Case(None, rental=replace(ONE, time_limit=T), now=GRACE_SECONDS - 1),
    "it is being deployed": Case(None, deployment=None, target=None, replicas=(), deploying=True, now=FAR),
    "it is being deployed, and not known as a host yet": Case(
        None, rental=rental(host=None), deployment=None, target=None, replicas=(), deploying=True
    ),
    "it is intended by a deploy": Case(
        None, rental=rental(host=None, state=RentalState.INTENDED), target=None, replicas=(), deploying=True
    ),
    "it is on its way out while another is deployed": Case(
        "down", rental=rental(state=RentalState.RELEASING), deployment=None, replicas=(), deploying=True
    ),
    "it is taken down": Case("down", deployment=None, target=None, replicas=()),
    "it is being taken down": Case("down", deployment=replace(SERVES, stopping=True), replicas=()),
    "it is being taken down, and something drains": Case(
        None, deployment=replace(SERVES, stopping=True), replicas=(replica(ReplicaState.DRAINING),), now=FAR
    ),
    "the release went elsewhere": Case("unused", target="rent-02", replicas=()),
    "the release went elsewhere, the old one drains": Case(
        None, target="rent-02", replicas=(replica(ReplicaState.DRAINING),)
    ),
    "no release can serve": Case("unused", target=None, replicas=()),
    "the deploy ended before it was a host": Case("unused", rental=rental(host=None), replicas=()),
    "a replica is about to be": Case(None, replicas=()),
    "nothing ever runs": Case("unused", replicas=(), now=READY_SECONDS + 1),
    "nothing ever runs, and patience is short": Case("unused", replicas=(), patience=60.0, now=61.0),
    "a replica stopped just now": Case(None, replicas=(replica(ReplicaState.STOPPED, since=T + FAR),), now=FAR + 5),
    "it gave up": Case("gave-up", replicas=(FAILED,)),
    "one gave up, one serves": Case(None, replicas=(FAILED, READY)),
    "one gave up while it is deployed anew": Case(None, replicas=(FAILED,), deploying=True),
    "it loads": Case(None, replicas=(LOADING,), now=READY_SECONDS - 1),
    "it never gets ready": Case("never-ready", replicas=(LOADING,), now=READY_SECONDS + 1),
    "it never gets ready, and the deploy waits on": Case(
        "never-ready", replicas=(LOADING,), deploying=True, now=READY_SECONDS + 1
    ),
    "it never gets ready, patience is long": Case(None, replicas=(LOADING,), patience=FAR, now=FAR - 1),
    "it moved on meanwhile": Case(None, replicas=(replica(ReplicaState.PROBING, since=T + 1000),), now=2000.0),
    "it cannot be reached": Case("never-ready", replicas=(replica(ReplicaState.UNREACHABLE),), now=READY_SECONDS + 1),
    "one of two never gets ready": Case(None, replicas=(LOADING, READY), now=FAR),
    "another deployment runs on it": Case(
        None, deployment=None, target=None, replicas=(replica(ReplicaState.READY, of="other"),), now=FAR
    ),
    "what runs elsewhere counts for nothing": Case(
        "down", deployment=None, replicas=(replica(ReplicaState.READY, host="rent-09"),)
    ),
    "only what has stopped is on it": Case("unused", replicas=(STOPPED,), now=READY_SECONDS + 1),
    "it is no host, and a replica has no host either": Case(
        "down", rental=rental(host=None), deployment=None, replicas=(replica(ReplicaState.READY, host=""),)
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_why_it_is_of_no_use(case: Case) -> None:
    use = Use(
        deployments={NAME: case.deployment} if case.deployment else {},
        targets={NAME: case.target} if case.target else {},
        replicas=case.replicas,
        deploying={NAME} if case.deploying else set(),
        patience={} if case.patience is None else {NAME: case.patience},
        placed={NAME: case.placed} if case.placed else {},
        desired={} if case.desired is None else {NAME: case.desired},
    )
    assert why_not(case.rental, use, T + case.now) == case.says
