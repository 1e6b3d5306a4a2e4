"""A world of several hosts, each with room for so many replicas."""

from __future__ import annotations

from lyc.records.deployment import Replica, ReplicaState
from lyc.rollout import Seen, Situation
from lyc.rollout.actions import Action, CreateReplica, Expand, MoveReplica, StartProcess, StopProcess
from lyc.rollout.situation import Place
from lyc.rollout.transitions import ENDED, Signal
from tests.rollout.world import World

HOME = "local"
SILENT_SECONDS = 30.0


class HostsWorld(World):
    """capacity: replicas that fit on a host. cost: of those that are rented. allowed: hosts besides the home where the
    policy lets replicas be. ready: (release, host) that engine and weights have been brought to.
    """

    def __init__(self, capacity: dict[str, int], cost: dict[str, float] | None = None) -> None:
        super().__init__()
        self.capacity = capacity
        self.cost = cost or {}
        self.allowed = set(capacity) - {HOME}
        self.ready_on: set[tuple[int, str]] = set()
        self.silent: dict[str, float] = {}  # host → since when
        self.leaving: set[str] = set()
        self.looking_for: int | None = None  # the release that another host is looked for
        self.in_vain = False  # the last search
        self.searches = 0

    def found(self, host: str | None = None) -> None:
        """The search is over. host: what was found, None = nothing."""
        number, self.looking_for = self.looking_for, None
        assert number is not None
        if host is None:
            self.in_vain = True
        else:
            assert host in self.candidates(number)
            self.ready_on.add((number, host))

    def candidates(self, number: int) -> list[str]:
        return sorted(one for one in self.allowed if (number, one) not in self.ready_on and one not in self.silent)

    def everywhere(self, number: int) -> None:
        self.ready_on |= {(number, host) for host in self.allowed}

    def there(self, host: str) -> list[Replica]:
        return [one for one in self.replicas.values() if one.host == host and one.state not in ENDED]

    def room(self, host: str) -> int:
        return 0 if host in self.silent else max(0, self.capacity[host] - len(self.there(host)))

    def on(self, number: int) -> dict[str, int]:
        """Ready replicas of a release by host."""
        hosts = [one.host for one in self.ready(number)]
        return {host: hosts.count(host) for host in sorted(set(hosts))}

    def seen(self, replica: Replica) -> Seen:
        self.away = replica.host in self.silent
        try:
            return super().seen(replica)
        finally:
            self.away = False

    def lost(self) -> frozenset[str]:
        over = {host for host, since in self.silent.items() if self.now - since >= SILENT_SECONDS}
        return frozenset(one.id for one in self.replicas.values() if one.host in over and one.state not in ENDED)

    def situation(self) -> Situation:
        plain = super().situation()
        places = tuple(
            Place(number, host, self.room(host), self.cost.get(host, 0.0))
            for number in self.releases
            for host in sorted(self.capacity)
            if host == HOME or (host in self.allowed and (number, host) in self.ready_on)
        )
        assert self.deployment
        possible = bool(self.candidates(self.deployment.target or 0)) and not self.in_vain
        expansion = "under way" if self.looking_for is not None else "known" if possible else "none"
        return Situation(
            plain.deployment, plain.releases, plain.replicas, plain.seen,
            leaving=frozenset(self.leaving), places=places, lost=self.lost(), expansion=expansion,
        )  # fmt: skip

    def apply(self, action: Action) -> None:
        match action:
            case Expand(number):
                assert self.looking_for is None, "two searches at once"
                self.looking_for = number
                self.searches += 1
                return
            case CreateReplica(number, host):
                self._may_be(number, host or HOME)
            case MoveReplica(identity, Signal.LOST):
                self.in_flight.pop(identity, None)
            case StartProcess(identity) | StopProcess(identity) if self.replicas[identity].host in self.silent:
                return
        super().apply(action)

    def _may_be(self, number: int, host: str) -> None:
        """Only where its release may be, and where there is room; the first one goes home all the same."""
        assert host not in self.leaving, "on a host that is taken back"
        assert host == HOME or (host in self.allowed and (number, host) in self.ready_on), "outside its places"
        first = host == HOME and not [r for r in self.replicas.values() if r.release == number and r.state not in ENDED]
        assert self.room(host) > 0 or first, "above the room"

    def _may_create(self, created: list[int]) -> None:
        """As in the world of one host, but that those that are lost or misplaced do not count."""
        if not created:
            return
        assert self.deployment
        assert not self.deployment.paused
        assert not self.deployment.stopping
        for number in set(created):
            mine = [r for r in self.replicas.values() if r.release == number and r.state not in ENDED]
            live = [r for r in mine if r.id not in self.lost() and (r.host == HOME or r.host in self.allowed)]
            live = [r for r in live if r.state not in (ReplicaState.DRAINING, ReplicaState.STOPPING)]
            asked = self.deployment.restart_before is not None and self.deployment.surge
            together = len(live) > 1 and len({r.host for r in live if r.state is ReplicaState.READY}) == 1
            assert len(live) + created.count(number) <= self.wished(number) + (asked or together)

    def _may_take_away(self, actions: tuple[Action, ...]) -> None:
        """Not the last one that serves, but for a restart in its place, or of a host that is taken back."""
        assert self.deployment
        if self.deployment.target is None or not self.desired() or not self.deployment.surge:
            return
        gone = {a.replica for a in actions if isinstance(a, MoveReplica) and a.signal in (Signal.DRAIN, Signal.STOP)}
        serving = [r for r in self.replicas.values() if r.state is ReplicaState.READY and self.well(r)]
        serving = [r for r in serving if r.host not in self.silent and r.host not in self.leaving]
        asked = self.deployment.restart_before is not None
        if gone & {r.id for r in serving} and not asked:
            assert [r for r in serving if r.id not in gone], "none is left that serves"


def several(replicas: int, capacity: dict[str, int], cost: dict[str, float] | None = None) -> tuple[HostsWorld, int]:
    """A world in which a first release serves from all hosts that it takes."""
    world = HostsWorld(capacity, cost)
    number = world.release(replicas)
    world.everywhere(number)
    world.come_up()
    assert len(world.ready(number)) == replicas
    world.now += 3600
    return world, number
