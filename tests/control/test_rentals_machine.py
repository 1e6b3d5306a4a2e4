"""Whatever happens, in whatever order: at rest, what stands in the cloud is what is wanted. Nothing else is touched.

LYC_EXAMPLES: how many stories are told; a few by default.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lyc.records.deployment import ReplicaState
from lyc.records.rental import MachineState
from lyc.testing.clouds.core import FakeMachine
from lyc.testing.clouds.faults import Fault
from tests.control.rented_world import MARK, OTHER, Front, Killed, World, served
from tests.control.shapes import SHAPES

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("LYC_EXAMPLES", "20"))
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)[: 4 if "LYC_SHRINK" in os.environ else 3]
NAMES = st.sampled_from(["chat", "embed"])
Trouble = tuple[int, str] | None
TROUBLE = st.none() | st.tuples(st.integers(0, 25), st.sampled_from(["before", "after", "lost", "doubled", "delayed"]))
"""What happens in the middle of it: points that still go well, and what then befalls the next (see `Mishap`)."""


class Renting(RuleBasedStateMachine):
    """fronts: by provider."""

    fronts: Mapping[str, Front] = {}
    stories = happened = 0
    world: World

    @initialize(provider=st.sampled_from(sorted(SHAPES)), linger=st.integers(0, 2))
    def begin(self, provider: str, linger: int) -> None:
        self.world = World(SHAPES[provider], self.fronts[provider])
        self.world.cloud.linger = linger
        type(self).stories += 1

    def _do(self, work: Callable[[], object], *, resume: bool, trouble: Trouble = None) -> None:
        """As often as the controller dies of it, another one takes over."""
        self.world.wire.fuse = trouble or self.world.wire.fuse
        try:
            work()
            return
        except Killed:
            pass
        for _ in range(5):
            with contextlib.suppress(Killed):
                self.world.restart(resume=resume)
                return
        raise AssertionError("it dies for ever")

    # What people do.

    @rule(name=NAMES, resume=st.booleans(), trouble=TROUBLE)
    def deploy(self, name: str, resume: bool, trouble: Trouble) -> None:
        self._do(lambda: self.world.deploy(name), resume=resume, trouble=trouble)

    @rule(name=NAMES, resume=st.booleans(), trouble=TROUBLE)
    def down(self, name: str, resume: bool, trouble: Trouble) -> None:
        if self.world.store.find_deployment(name) is not None:
            self._do(lambda: self.world.down(name), resume=resume, trouble=trouble)

    @rule(resume=st.booleans(), trouble=TROUBLE)
    def sweep(self, resume: bool, trouble: Trouble) -> None:
        self._do(lambda: self.world.visit(leftovers=True), resume=resume, trouble=trouble)

    @rule()
    def gc_dry_run(self) -> None:
        """It only looks."""

        def seen() -> object:
            alive = sorted(one.id for one in self.world.cloud.alive() if one.state is not MachineState.ENDING)
            return self.world.store.rentals(), alive, dict(self.world.cloud.things), self.world.store.hosts()

        self.world.wire.fuse = None
        before = seen()
        self.world.visit(leftovers=True, dry_run=True)
        assert seen() == before

    # What time and chance do.

    @rule(resume=st.booleans())
    def restart(self, resume: bool) -> None:
        self._do(lambda: self.world.restart(resume=resume), resume=resume)

    @rule(seconds=st.sampled_from([1.0, 30.0, 200.0, 2000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.pass_(seconds)
        self._do(self.world.visit, resume=True)

    @rule(times=st.integers(1, 12), code=st.sampled_from([500, 503, 429]))
    def outage(self, times: int, code: int) -> None:
        self.world.app.faults.add(Fault("*", "status", code=code, times=times))

    @rule()
    def what_was_held_up_takes_place(self) -> None:
        self.world.wire.release()

    @precondition(lambda self: self.world.cloud.alive())
    @rule(data=st.data())
    def a_machine_is_taken(self, data: st.DataObject) -> None:
        self.world.take(self._one(data))

    @precondition(lambda self: self.world.cloud.alive())
    @rule(data=st.data())
    def a_machine_fails(self, data: st.DataObject) -> None:
        machine = self._one(data)
        if machine.state in (MachineState.CREATING, MachineState.RUNNING):
            machine.state, machine.problem = MachineState.FAILED, "it broke"

    @rule()
    def the_next_machine_will_fail(self) -> None:
        self.world.cloud.fates.append(lambda machine: setattr(machine, "doom", "no GPU was found"))

    @precondition(lambda self: self.world.cloud.alive())
    @rule(data=st.data(), word=st.sampled_from([None, "quiescing"]))
    def a_state_that_nobody_knows(self, data: st.DataObject, word: str | None) -> None:
        machine = self._one(data)
        if machine.state is not MachineState.ENDING:
            machine.word = word

    @rule(number=st.integers(0, 3))
    def somebody_else_rents(self, number: int) -> None:
        """By another controller, whose names are like ours; the last digits may even be the same."""
        last = self.world.store.rentals()
        digits = last[-1].run_id[-8:] if last and number == 0 else f"{number:08x}"
        self.world.cloud.put_foreign(f"lyc-{OTHER}-{digits}")
        self.world.cloud.put_foreign(f"lyc-{MARK}{number}")

    @rule(name=NAMES)
    def the_engine_gives_up(self, name: str) -> None:
        self.world.wire.fuse = None
        for replica in self.world.store.replicas(name):
            self.world.crash(replica, ReplicaState.FAILED)

    @rule(there=st.booleans())
    def the_credential(self, there: bool) -> None:
        self.world.credential(there=there)

    def _one(self, data: st.DataObject) -> FakeMachine:
        return data.draw(st.sampled_from(sorted(self.world.cloud.alive(), key=lambda one: one.created_at)))

    # What must be true.

    @invariant()
    def nothing_foreign_was_touched_and_all_was_intended(self) -> None:
        if not hasattr(self, "world"):
            return
        assert self.world.cloud.foreign_ended() == []
        known = {one.run_id for one in self.world.store.rentals()}
        assert {one.run_id for one in self.world.cloud.ever} <= known

    @rule()
    def rest(self) -> None:
        self._calm()
        self.world.rest()
        self.world.check()

    def _calm(self) -> None:
        type(self).happened += len(self.world.wire.happened)
        self.world.wire.happened.clear()
        self.world.wire.fuse = None
        self.world.app.faults.clear()
        self.world.cloud.fates.clear()
        self.world.credential(there=True)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.rest()
        for deployment in self.world.store.deployments():
            self.world.down(deployment.name)
        self.world.rest()
        self.world.check()
        self.world.check_nothing_left()


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Front]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(served(tmp_path_factory.mktemp(name))) for name in SHAPES}


def test_whatever_happens(fronts: Mapping[str, Front]) -> None:
    class Story(Renting):
        pass

    Story.fronts = fronts
    run_state_machine_as_test(
        Story,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck),
            print_blob=True, phases=PHASES, report_multiple_bugs=False,
        ),
    )  # fmt: skip
    print(f"{Story.stories} stories, {Story.happened} mishaps")
    assert Story.stories >= min(EXAMPLES, 5)
