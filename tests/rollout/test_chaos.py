"""Anything may happen, and the controller may be killed between any two actions; in the end it must come right."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lyc.records.deployment import ReleaseState, ReplicaState
from lyc.rollout import preview, split, summarise, words
from lyc.rollout.transitions import RUNNING
from tests.rollout.world import MAXIMUM, POLICY, World

WORDS = frozenset(
    "pending starting ready degraded updating canary idle waking paused failed stopping".split()  # noqa: SIM905
)
SHARES = st.none() | st.sampled_from([0.01, 0.1, 0.5, 0.9])


class Chaos(RuleBasedStateMachine):
    """The rules of what a single decision may do are in `World`; here is where it must all end."""

    @initialize(replicas=st.integers(0, 3), surge=st.booleans(), dozy=st.booleans())
    def start(self, replicas: int, surge: bool, dozy: bool) -> None:
        self.world = World()
        if dozy:
            self.world.can_sleep()
        self.world.release(replicas, surge=surge)

    def down(self) -> bool:
        return self.world.deployment is None or self.world.deployment.stopping

    # the controller, and time
    @rule(kill_after=st.none() | st.integers(0, 4))
    def loop(self, kill_after: int | None) -> None:
        self.world.step(kill_after)

    @rule()
    def loop_until_it_waits(self) -> None:
        for _ in range(30):
            if not self.world.step():
                return

    @rule(seconds=st.floats(0.1, 200))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(seconds=st.sampled_from([30.0, 86400.0]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.world.now -= seconds

    # the world
    @rule()
    def engines_come_up(self) -> None:
        self.world.listen()

    @rule(data=st.data(), state=st.sampled_from(["exited", "hung", "gave-up"]))
    def a_process_fails(self, data: st.DataObject, state: str) -> None:
        running = self.world.running()
        if running:
            self.world.fail(data.draw(st.sampled_from(running)), state)

    @rule(data=st.data())
    def the_host_starts_a_process_again(self, data: st.DataObject) -> None:
        running = self.world.running()
        if running:
            self.world.host_starts_again(data.draw(st.sampled_from(running)))

    @rule(unheard=st.booleans())
    def the_host_goes_away_or_comes_back(self, unheard: bool) -> None:
        self.world.away, self.world.unheard = not self.world.away, unheard

    @rule(data=st.data(), count=st.integers(0, 5))
    def requests(self, data: st.DataObject, count: int) -> None:
        ready = [r for r in self.world.replicas.values() if r.state in (ReplicaState.READY, ReplicaState.DRAINING)]
        # Of one that its host has just started again, those that come before that is seen are lost.
        starts = self.world.starts
        ready = [r for r in ready if self.world.well(r) and starts.get((r.id, r.attempts), 1) == r.starts]
        if ready:
            replica = data.draw(st.sampled_from(ready))
            if replica.state is ReplicaState.READY or count == 0:
                self.world.in_flight[replica.id] = count

    # people, and the autoscaler
    @precondition(lambda self: not self.down())
    @rule(desired=st.integers(0, MAXIMUM + 1), asleep=st.booleans())
    def scale(self, desired: int, asleep: bool) -> None:
        self.world.scale(desired, asleep=asleep)

    @precondition(lambda self: not self.down() and len(self.world.releases) < 5)
    @rule(surge=st.booleans(), canary=SHARES)
    def deploy(self, surge: bool, canary: float | None) -> None:
        self.world.release(surge=surge, canary=canary)

    @precondition(lambda self: not self.down())
    @rule(canary=SHARES)
    def promote_or_shift(self, canary: float | None) -> None:
        self.world.change(canary=canary)

    @precondition(lambda self: not self.down())
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        served = [n for n, one in self.world.releases.items() if one.active_at is not None and n != self.target()]
        if served:
            self.world.roll_back(data.draw(st.sampled_from(served)))

    @precondition(lambda self: not self.down())
    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        self.world.change(paused=paused)

    @precondition(lambda self: not self.down())
    @rule()
    def restart(self) -> None:
        self.world.restart()

    @precondition(lambda self: not self.down())
    @rule(bake=st.sampled_from([0.0, 60.0, 1000.0]))
    def bake(self, bake: float) -> None:
        self.world.change(bake=bake)

    @precondition(lambda self: not self.down())
    @rule(rare=st.integers(0, 9))
    def take_down(self, rare: int) -> None:
        if not rare:
            self.world.change(stopping=True)

    # what holds always
    def target(self) -> int | None:
        return self.world.deployment.target if self.world.deployment else None

    @invariant()
    def no_process_without_a_replica_that_may_have_one(self) -> None:
        if not hasattr(self, "world"):
            return
        for identity, attempt in self.world.running():
            assert identity in self.world.replicas
            replica = self.world.replicas[identity]
            assert replica.attempts == attempt
            assert replica.state is not ReplicaState.PENDING

    @invariant()
    def no_stream_is_cut(self) -> None:
        assert not hasattr(self, "world") or self.world.cut == 0

    @invariant()
    def it_can_always_be_told(self) -> None:
        if not hasattr(self, "world") or self.world.deployment is None:
            return
        situation = self.world.situation()
        assert summarise(situation) in WORDS
        ready = {r.id for r in self.world.replicas.values() if r.state is ReplicaState.READY}
        weights = split(situation)
        assert set(weights) == ready
        assert all(1 <= weight <= 100 for weight in weights.values())

    @precondition(lambda self: hasattr(self, "world") and self.world.deployment is not None)
    @rule()
    def what_would_be_done_can_be_told(self) -> None:
        actions = preview(self.world.situation(), self.world.now, POLICY)
        assert len(actions) < 500
        assert all(words(action) for action in actions)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.in_flight.clear()
        world.away = False
        world.become("exited")  # whatever hangs is over, too
        self.calm()
        if world.deployment is None or world.deployment.stopping:
            assert world.deployment is None
            assert world.running() == []
            return
        self.rests()
        # Whatever became of it: a person may go on with it.
        world.change(paused=False)
        number = world.release(2, surge=world.deployment.surge)
        self.calm()
        assert len(world.ready(number)) == len(world.running()) == 2
        assert world.releases[number].state is ReleaseState.ACTIVE

    def calm(self) -> None:
        for _ in range(14):
            self.world.settle()
            self.world.listen()
            self.world.now += 300
        self.world.settle()

    def rests(self) -> None:
        world = self.world
        deployment = world.deployment
        assert deployment is not None
        served_ever = any(one.active_at is not None for one in world.releases.values())
        if deployment.paused:
            assert world.running() == []
            assert not [r for r in world.replicas.values() if r.state in RUNNING]
            return
        if deployment.target is None:
            assert not served_ever, "what served once does so again"
            assert world.running() == []
            return
        trial = world.trial()
        expected = ReleaseState.CANARY if trial else ReleaseState.ACTIVE
        assert world.releases[deployment.target].state is expected
        for number in world.releases:
            failed = world.states(number).count("failed")
            missing = world.wished(number) - len(world.ready(number))
            assert 0 <= missing <= failed, f"release {number}"
        asleep = [key for key in world.running() if world.processes[key] == "asleep"]
        assert len(world.running()) == sum(len(world.ready(number)) for number in world.releases) + len(asleep)
        assert len(asleep) <= (deployment.scaler.asleep and not world.desired())
        assert [key[0] for key in asleep] == [r.id for r in world.replicas.values() if r.state is ReplicaState.ASLEEP]
        if not trial:
            active = [n for n, one in world.releases.items() if one.state is ReleaseState.ACTIVE]
            assert active == [deployment.target]


TestChaos = Chaos.TestCase
TestChaos.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
