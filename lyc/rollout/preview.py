"""What would be done, all of it, if all went well. Pure: the decider is stepped through a world that obeys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from lyc.records.deployment import Deployment, Release, ReleaseState, Replica, ReplicaState
from lyc.rollout.actions import (
    Action,
    CreateReplica,
    Expand,
    MoveReplica,
    RemoveDeployment,
    Retarget,
    SettleRelease,
    SleepEngine,
    StartProcess,
    StopProcess,
    WakeEngine,
)
from lyc.rollout.decide import decide
from lyc.rollout.moved import moved
from lyc.rollout.situation import Policy, Seen, Situation
from lyc.rollout.transitions import ENDED

STEPS = 10_000
"""More turns than any deployment takes; a guard against a decision that never comes to rest."""


def preview(situation: Situation, now: float, policy: Policy) -> tuple[Action, ...]:
    """All actions in order until nothing is left to do: processes start, listen, answer and stop as they are told to,
    no request is under way, hosts that are silent stay so. A replica that was not looked at is taken to run if its
    state says so. Those that are yet to be made are called `<deployment>-<release>-new1`, `…-new2` and so on.
    """
    world = _World(situation, now, policy)
    done: list[Action] = []
    for _ in range(STEPS):
        if world.removed:
            break
        actions = decide(world.situation, world.now, policy)
        for action in actions:
            world.apply(action)
        done += actions
        if not actions and not world.wait():
            break
    return tuple(done)


@dataclass(slots=True)
class _World:
    situation: Situation
    now: float
    policy: Policy
    made: int = 0
    removed: bool = False
    processes: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assumed = {one.id: Seen("running" if _runs(one) else "exited", starts=one.starts) for one in self._all()}
        self.processes = assumed | self.situation.seen
        self._look()

    def apply(self, action: Action) -> None:
        match action:
            case CreateReplica(number, host):
                self._create(number, host)
            case Expand():  # whether one is found, nobody can tell
                self.situation = replace(self.situation, expansion="none")
            case MoveReplica(identity):
                self._move(identity, action)
            case StartProcess(identity):
                self.processes[identity] = Seen("running")
            case SleepEngine(identity):
                self.processes[identity] = replace(self.processes[identity], sleeping=True)
            case WakeEngine(identity):
                self.processes[identity] = replace(self.processes[identity], sleeping=False)
            case StopProcess(identity) if self.processes[identity].process == "running":
                self.processes[identity] = Seen("exited")
            case SettleRelease():
                self._settle(action)
            case Retarget(number, error):
                self._deployment(replace(self.situation.deployment, target=number, error=error))
            case RemoveDeployment():
                self.removed = True
            case _:
                pass
        self._look()

    def wait(self) -> bool:
        """Let time pass until something is due; False when nothing is, so that all is at rest."""
        due = [one.updated_at + self.policy.settle for one in self._all() if one.state is ReplicaState.DRAINING]
        due += [one.retry_at for one in self._all() if one.retry_at is not None]
        later = [at for at in due if at > self.now]
        if later:
            self.now = (
                min(later) + 0.001
            )  # what is due at an instant is due after it, however its fractions are rounded
        return bool(later)

    def _all(self) -> tuple[Replica, ...]:
        return self.situation.replicas

    def _replicas(self, replicas: Iterable[Replica]) -> None:
        self.situation = replace(self.situation, replicas=tuple(replicas))

    def _deployment(self, deployment: Deployment) -> None:
        self.situation = replace(self.situation, deployment=deployment)

    def _move(self, identity: str, action: MoveReplica) -> None:
        old = next(one for one in self._all() if one.id == identity)
        new = moved(old, action, self.now)
        self._replicas(new if one.id == identity else one for one in self._all())
        if new.state in ENDED and old.state not in ENDED:
            self._room(old.host, 1)

    def _room(self, host: str, more: int) -> None:
        places = (replace(one, room=one.room + more) if one.host == host else one for one in self.situation.places)
        self.situation = replace(self.situation, places=tuple(places))

    def _create(self, number: int, host: str | None) -> None:
        self.made += 1
        name, release = self.situation.deployment.name, self.situation.release(number)
        host = host or (release.spec.host if release else "local")
        self._room(host, -1)
        identity = f"{name}-{number}-new{self.made}"
        made = Replica(identity, name, number, host, ReplicaState.PENDING, self.now, self.now, socket="")
        self.processes[identity] = Seen("absent")
        self._replicas((*self._all(), made))

    def _settle(self, action: SettleRelease) -> None:
        fresh = action.state is ReleaseState.ACTIVE and not action.back
        self.situation = replace(
            self.situation,
            releases=tuple(
                self._settled(one, action, fresh) if one.number == action.release else one
                for one in self.situation.releases
            ),
        )

    def _settled(self, release: Release, action: SettleRelease, fresh: bool) -> Release:
        at = self.now if fresh else release.active_at
        return replace(release, state=action.state, error=action.error, active_at=at)

    def _look(self) -> None:
        """Whatever runs shows at once all that may be wished of it."""
        self.situation = replace(self.situation, seen={one.id: self._seen(one) for one in self._all()})

    def _seen(self, replica: Replica) -> Seen:
        found = self.processes[replica.id]
        if found.process != "running" or found.failure is not None:
            return found
        sleeping = replica.state is ReplicaState.ASLEEP if found.sleeping is None else found.sleeping
        awake = not sleeping
        return replace(found, loading=True, listening=True, proven=awake, in_flight=0, sleeping=sleeping)


def _runs(replica: Replica) -> bool:
    return replica.state not in ENDED | {ReplicaState.PENDING, ReplicaState.BACKOFF}
