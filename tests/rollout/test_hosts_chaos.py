"""Anything may happen on several hosts: never a replica outside its places or above the room, and it comes to rest."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from lyc.records.deployment import ReleaseState
from tests.rollout.hosts_world import HOME, HostsWorld
from tests.rollout.test_chaos import Chaos

HOSTS = (HOME, "b", "c")


class HostsChaos(Chaos):
    """What one decision may do is asserted in `HostsWorld`."""

    world: HostsWorld

    @initialize(
        replicas=st.integers(0, 3),
        surge=st.booleans(),
        home=st.integers(1, 3),
        b=st.integers(0, 2),
        c=st.integers(1, 2),
    )
    def start(self, replicas: int, surge: bool, home: int, b: int, c: int) -> None:  # type: ignore[override]
        self.world = HostsWorld({HOME: home, "b": b, "c": c}, {"c": 2.0})
        self.world.release(replicas, surge=surge)

    @rule(host=st.sampled_from(HOSTS))
    def the_host_goes_away_or_comes_back(self, host: str) -> None:  # type: ignore[override]
        if host in self.world.silent:
            del self.world.silent[host]
        else:
            self.world.silent[host] = self.world.now

    @precondition(lambda self: self.world.looking_for is not None)
    @rule(data=st.data(), vain=st.booleans())
    def the_search_ends(self, data: st.DataObject, vain: bool) -> None:
        hosts = self.world.candidates(self.world.looking_for or 0)
        self.world.found(None if vain or not hosts else data.draw(st.sampled_from(hosts)))

    @rule()
    def it_may_be_looked_for_again(self) -> None:
        self.world.in_vain = False

    @rule(host=st.sampled_from(HOSTS[1:]))
    def the_policy_names_other_hosts(self, host: str) -> None:
        self.world.allowed ^= {host}

    @rule(host=st.sampled_from(HOSTS[1:]))
    def a_host_is_taken_back_or_not(self, host: str) -> None:
        self.world.leaving ^= {host}

    def calm(self) -> None:
        self.world.silent.clear()
        self.world.leaving.clear()
        self.world.allowed = set(HOSTS[1:])
        self.world.in_vain = False
        for _ in range(14):
            self.world.settle()
            if (number := self.world.looking_for) is not None:
                self.world.found(next(iter(self.world.candidates(number)), None))
            self.world.listen()
            self.world.now += 300
        self.world.settle()

    def rests(self) -> None:
        world, deployment = self.world, self.world.deployment
        assert deployment is not None
        if deployment.paused:
            assert world.running() == []
            return
        if deployment.target is None:
            assert not any(one.active_at is not None for one in world.releases.values())
            return
        trial = world.trial()
        assert world.releases[deployment.target].state is (ReleaseState.CANARY if trial else ReleaseState.ACTIVE)
        if not trial:
            assert len(world.ready(deployment.target)) <= world.wished(deployment.target)
            assert len(world.running()) == len(world.ready(deployment.target)), "only what shall serve runs"

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.in_flight.clear()
            self.world.become("exited")
            self.calm()
            self.never_hangs()
            self.world.capacity = dict.fromkeys(HOSTS, 8)  # so that it may end as on one host
        super().teardown()

    def never_hangs(self) -> None:
        """With as little room as there is: a release that has begun comes to its end."""
        deployment = self.world.deployment
        if deployment is None or deployment.paused or deployment.stopping or deployment.target is None:
            return
        assert self.world.releases[deployment.target].state in (ReleaseState.ACTIVE, ReleaseState.CANARY)


TestHostsChaos = HostsChaos.TestCase
TestHostsChaos.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
