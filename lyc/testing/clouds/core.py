"""What stands in a fake cloud, whatever its API says: machines, what lies beside them, and how many are for sale.

Time passes by `advance`, which the server calls before each request: a machine that is being created asks `boot` for
its address, one that is ending goes after `linger` further looks. So no test waits, and none depends on speed.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lyc.records.rental import MachineState, machine_name, run_id_of


class SoldOut(Exception):
    """No machine of this offer is left; the fake says so in its provider's words."""


class NoSuchOffer(Exception):
    """Nothing of this name is for sale."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where sshd of a machine answers."""

    host: str
    port: int = 22


@dataclass(slots=True)
class FakeMachine:
    """One machine. word: an odd status word, said in place of that of `state`. payload: what the create call sent.

    tags: for clouds that have them. data: whatever else a fake keeps of it. foreign: somebody else's; `ended_at` of
    such a one must stay None. doom: it will fail with this problem instead of running. looks: `advance`s still to
    come before it boots, or is gone.
    """

    id: str
    name: str
    offer: str
    region: str
    state: MachineState
    created_at: float
    payload: Mapping[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    address: Address | None = None
    word: str | None = None
    problem: str = ""
    doom: str | None = None
    foreign: bool = False
    ended_at: float | None = None
    looks: int = 0

    @property
    def alive(self) -> bool:
        return self.state is not MachineState.GONE

    @property
    def run_id(self) -> str | None:
        return run_id_of(self.name)


@dataclass(slots=True)
class Thing:
    """What is beside machines: a volume, key, address, script, group. machine: id of the one that it belongs to."""

    kind: str
    id: str
    name: str
    machine: str | None = None
    region: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    foreign: bool = False

    @property
    def run_id(self) -> str | None:
        return run_id_of(self.name)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that has arrived, whatever became of it. path: as sent, without query; body: decoded."""

    op: str
    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


class Cloud:
    """The state. capacity: machines left by offer, None = without end; what is not in it is not sold.

    boot: asked again at each `advance` until it gives an address; must not block (it may start something that takes
    long, and say None until that is there). halt: told when a machine ends. linger: looks for which an ended machine
    is still seen to be ending; boot_looks: those before `boot` is first asked. clock: epoch seconds.
    """

    def __init__(
        self,
        capacity: Mapping[str, int | None],
        *,
        boot: Callable[[FakeMachine], Address | None] | None = None,
        halt: Callable[[FakeMachine], None] | None = None,
        linger: int = 0,
        boot_looks: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lock = threading.RLock()
        self.capacity = dict(capacity)
        self.machines: dict[str, FakeMachine] = {}
        self.things: dict[str, Thing] = {}
        self.ever: list[FakeMachine] = []
        self.calls: list[Call] = []
        self.boot = boot or self._address
        self.halt = halt or (lambda _machine: None)
        self.linger = linger
        self.boot_looks = boot_looks
        self.clock = clock
        self.fates: list[Callable[[FakeMachine], None]] = []
        """Each is applied to one of the next machines to be launched, the first to the first."""
        self._hosts = itertools.count(1)

    def launch(
        self,
        name: str,
        offer: str,
        region: str = "",
        payload: Mapping[str, Any] | None = None,
        *,
        identity: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> FakeMachine:
        """A machine that is being created. Raises NoSuchOffer and SoldOut, after which nothing is there."""
        with self.lock:
            self._take(offer)
            machine = FakeMachine(
                identity or uuid.uuid4().hex, name, offer, region, MachineState.CREATING, self.clock(),
                payload=payload or {}, tags=dict(tags or {}), looks=self.boot_looks,
            )  # fmt: skip
            if self.fates:
                self.fates.pop(0)(machine)
            self.machines[machine.id] = machine
            self.ever.append(machine)
            return machine

    def put_foreign(self, name: str, offer: str = "", region: str = "", identity: str | None = None) -> FakeMachine:
        """A running machine of somebody else in the same account."""
        with self.lock:
            machine = FakeMachine(
                identity or uuid.uuid4().hex, name, offer or next(iter(self.capacity)), region, MachineState.RUNNING,
                self.clock(), foreign=True,
            )  # fmt: skip
            machine.address = self._address(machine)
            self.machines[machine.id] = machine
            return machine

    def put_many(self, owner: str, count: int, region: str = "") -> list[FakeMachine]:
        """Running machines `lyc-<owner>-00000000` and on, as if lyc had made them; they take no capacity."""
        with self.lock:
            made = [self.put_foreign(machine_name(f"{owner}-{number:08x}"), region=region) for number in range(count)]
            for machine in made:
                machine.foreign = False
            self.ever += made
            return made

    def end(self, identity: str) -> FakeMachine | None:
        """The API's delete: the machine that it hit, None where there is none that is alive."""
        with self.lock:
            machine = self.machines.get(identity)
            if machine is None or not machine.alive:
                return None
            if machine.state is not MachineState.ENDING:
                machine.state, machine.looks, machine.ended_at = MachineState.ENDING, self.linger, self.clock()
                self.halt(machine)
                self._give_back(machine.offer)
            if machine.looks == 0:
                machine.state = MachineState.GONE
            return machine

    def advance(self) -> None:
        """One step on for each machine that is being created or is ending."""
        with self.lock:
            for machine in self.machines.values():
                if machine.state not in (MachineState.CREATING, MachineState.ENDING):
                    continue
                if machine.looks > 0:
                    machine.looks -= 1
                elif machine.state is MachineState.ENDING:
                    machine.state = MachineState.GONE
                elif machine.doom is not None:
                    machine.state, machine.problem = MachineState.FAILED, machine.doom
                elif address := self.boot(machine):
                    machine.state, machine.address = MachineState.RUNNING, address

    def alive(self) -> list[FakeMachine]:
        """Machines that lyc made and that still cost; foreign ones left out."""
        with self.lock:
            return [machine for machine in self.machines.values() if machine.alive and not machine.foreign]

    def foreign_ended(self) -> list[FakeMachine]:
        """Somebody else's machines that were ended through the API: must be none, ever."""
        with self.lock:
            return [machine for machine in self.machines.values() if machine.foreign and machine.ended_at is not None]

    def put(
        self, kind: str, name: str, *, identity: str | None = None, machine: str | None = None, **data: Any
    ) -> Thing:
        """A thing beside machines; `region` and `foreign` among the data are its fields."""
        with self.lock:
            region, foreign = str(data.pop("region", "")), bool(data.pop("foreign", False))
            thing = Thing(kind, identity or uuid.uuid4().hex, name, machine, region, data=data, foreign=foreign)
            self.things[thing.id] = thing
            return thing

    def drop(self, identity: str) -> Thing | None:
        """The API's delete of a thing; None where there is none."""
        with self.lock:
            return self.things.pop(identity, None)

    def things_of(self, kind: str) -> list[Thing]:
        with self.lock:
            return [thing for thing in self.things.values() if thing.kind == kind]

    def calls_of(self, op: str) -> list[Call]:
        with self.lock:
            return [call for call in self.calls if call.op == op]

    def _take(self, offer: str) -> None:
        if offer not in self.capacity:
            raise NoSuchOffer(offer)
        left = self.capacity[offer]
        if left is not None:
            if left <= 0:
                raise SoldOut(offer)
            self.capacity[offer] = left - 1

    def _give_back(self, offer: str) -> None:
        left = self.capacity.get(offer)
        if left is not None:
            self.capacity[offer] = left + 1

    def _address(self, _machine: FakeMachine) -> Address:
        """One of the addresses that are kept for documents, so that nothing can ever be reached there."""
        number = next(self._hosts)
        return Address(f"203.0.113.{number % 254 + 1}", 22)
