"""Hosts of the lab that hang, go dark and come back, as a controller sees them: real systemd, sshd, agent and links."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from lyc.hosts.remote.calls import Agent
from lyc.hosts.remote.watching import SILENCE_SECONDS, Pace
from lyc.hosts.ssh.target import Target
from lyc.records.process import ProcessSpec
from tests.hosts.remote.controllers import controller_of
from tests.hosts.remote.supervising import Controller, held, numbers, pid_behind, texts
from tests.hosts.ssh.server import awaited
from tests.lab.fixtures import lab
from tests.lab.lab import Lab
from tests.lab.machine import Machine

__all__ = ["lab"]
pytestmark = pytest.mark.slow
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class There:
    """A prepared host, reached as somebody who may use sudo."""

    machine: Machine
    agent: Agent
    target: Target


@pytest.fixture(scope="module")
def there(lab: Lab) -> Iterator[There]:
    (machine,) = lab.borrow()
    with controller_of(lab, machine, "ubuntu") as controller:
        prepared = controller.prepare().prepared
        assert prepared
        agent = prepared.agent(controller.remote)
        yield There(machine, agent, controller.remote.target)
    lab.give_back([machine], spoiled=True)


@contextmanager
def watching(there: There, pace: Pace) -> Iterator[Controller]:
    home = Path(tempfile.mkdtemp(prefix="lyc-sup-"))
    made = Controller(lambda: there.agent, there.target, home, f"owner-{next(_NUMBERS)}", pace)
    try:
        yield made
    finally:
        there.machine.restore()
        made.end()
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def controller(there: There) -> Iterator[Controller]:
    """As in real life: it believes a host for 8 s."""
    with watching(there, Pace()) as made:
        yield made


@pytest.fixture(scope="module")
def lasting(controller: Controller) -> ProcessSpec:
    """An engine that lives through all that is done to its host here."""
    return running(controller)


@pytest.fixture
def spec(controller: Controller, lasting: ProcessSpec, there: There) -> Iterator[ProcessSpec]:
    """The same, well before each test."""
    awaited(lambda: controller.state(lasting) == "running" and pid_behind(lasting), 30, "it is well")
    yield lasting
    there.machine.restore()


def running(controller: Controller) -> ProcessSpec:
    """An engine that answers, and is heard."""
    spec = controller.spec(f"support-1-{next(_NUMBERS):06d}")
    controller.supervisor.start(spec)
    assert controller.state(spec) == "running"
    awaited(lambda: pid_behind(spec) and controller.status(spec).pid and numbers(spec), 15, "it answers and is heard")
    return spec


def whole(spec: ProcessSpec) -> bool:
    """Whether the log has no gap and nothing twice. Each start of the engine counts from one."""
    kept = numbers(spec)
    begun = [at for at, number in enumerate(kept) if number == 1] + [len(kept)]
    lives = [kept[start:end] for start, end in itertools.pairwise(begun)]
    return bool(lives) and all(life == [*range(1, len(life) + 1)] for life in lives)


def test_a_life_under_systemd(controller: Controller, there: There) -> None:
    spec = running(controller)
    identity = f"{spec.directory.parent.name}.1"
    assert controller.status(spec).pid == pid_behind(spec)
    there.machine.shell(f"kill -KILL $(systemctl show -P MainPID lyc-replica@{identity})")
    awaited(lambda: controller.status(spec).starts == 2, 15, "systemd began it again")
    awaited(lambda: pid_behind(spec) == controller.status(spec).pid, 5, "it answers through the same tunnel")
    controller.supervisor.stop(spec.directory, grace=5)
    awaited(lambda: controller.status(spec).exit_code == -15, 5, "it is heard how it ended")
    assert controller.status(spec).gave_up
    assert whole(spec)
    assert any("crash 1 of" in text for text in texts(spec))
    controller.supervisor.forget(spec.directory)
    assert controller.state(spec) == "absent"
    assert there.machine.shell(f"ls -d /var/lib/lyc/replicas/{identity} 2>&1 || true").startswith("ls: cannot access")


def test_a_link_that_is_cut_for_5_seconds(controller: Controller, spec: ProcessSpec, there: There) -> None:
    """Nothing is seen of it but a pause, and no line is lost."""
    pid, before = pid_behind(spec), len(numbers(spec))
    there.machine.cut()
    timer = threading.Timer(5.0, there.machine.join)
    timer.start()
    assert held(lambda: controller.state(spec) == "running", 8.0)
    timer.join()
    awaited(lambda: len(numbers(spec)) > before + 120, 10, "its log goes on")
    assert pid_behind(spec) == pid
    assert whole(spec)


def test_sshd_killed(controller: Controller, spec: ProcessSpec, there: There) -> None:
    pid = pid_behind(spec)
    for _ in range(2):
        old = {one.pid for one in controller.ssh()}
        there.machine.kill_sshd()
        there.machine.wait()
        awaited(lambda: not old & {one.pid for one in controller.ssh()}, 10, "its ssh has ended")  # noqa: B023
        awaited(lambda: pid_behind(spec) == pid, 10, "the tunnel is back")
    awaited(lambda: controller.state(spec) == "running", 10, "the host is heard again")
    assert held(lambda: controller.state(spec) == "running", 1.0)
    assert whole(spec)


def test_a_host_that_hangs(controller: Controller, spec: ProcessSpec, there: There) -> None:
    pid, kept = pid_behind(spec), len(numbers(spec))
    there.machine.freeze()
    began = time.monotonic()
    awaited(lambda: controller.state(spec) == "unknown", 15, "it is noticed")
    took = time.monotonic() - began
    assert SILENCE_SECONDS - 1.5 < took < SILENCE_SECONDS + 2
    awaited(lambda: refs(controller, spec) == "host-unreachable", 3, "it is said why")
    assert held(lambda: controller.state(spec) == "unknown", 1.0)
    there.machine.thaw()
    began = time.monotonic()
    awaited(lambda: controller.state(spec) == "running" and pid_behind(spec) == pid, 20, "it is back")
    print(f"unknown after {took:.1f} s; back {time.monotonic() - began:.1f} s after the thaw")
    awaited(lambda: len(numbers(spec)) > kept + 20, 5, "its log goes on")
    assert whole(spec)


def refs(controller: Controller, spec: ProcessSpec) -> object:
    error = controller.status(spec).error
    return error and error["ref"]


def test_a_power_cut(controller: Controller, spec: ProcessSpec, there: There) -> None:
    kept, starts = numbers(spec), controller.status(spec).starts
    there.machine.power_cut()
    began = time.monotonic()
    awaited(lambda: controller.state(spec) == "unknown", 15, "it is noticed")
    noticed = time.monotonic() - began
    assert numbers(spec)[: len(kept)] == kept  # what a dead host has said can still be read
    there.machine.start()
    there.machine.wait()
    began = time.monotonic()
    awaited(lambda: controller.state(spec) == "running", 30, "it is back")
    awaited(lambda: controller.status(spec).starts == starts + 1, 5, "it was started anew")
    awaited(lambda: pid_behind(spec) == controller.status(spec).pid, 15, "it answers")
    print(f"unknown after {noticed:.1f} s; back {time.monotonic() - began:.1f} s after sshd listens")
    awaited(lambda: numbers(spec).count(1) == 2, 10, "its second life is heard")
    assert whole(spec)


def test_far_away(controller: Controller, spec: ProcessSpec, there: There) -> None:
    """A round trip of 200 ms, and each twentieth packet lost: also for connections that are made anew."""
    there.machine.shape(delay_ms=100, loss_percent=5)
    before, pid = len(numbers(spec)), pid_behind(spec, 5.0)
    for one in controller.ssh():
        one.kill()
    awaited(lambda: controller.state(spec) == "running" and pid_behind(spec, 5.0) == pid, 20, "the tunnel is back")
    there.agent.remote.close()
    awaited(lambda: len(numbers(spec)) > before + 100, 20, "its log goes on")
    controller.supervisor.stop(spec.directory, grace=5)
    awaited(lambda: controller.status(spec).exit_code == -15, 10, "it is heard how it ended")
    assert whole(spec)


def test_what_watches_ends_with_the_controller(there: There) -> None:
    """Nothing of it stays here or there, also where the link is cut so that nobody can say so."""
    with watching(there, Pace(silence=2.0, closing=0.1)) as quick:
        spec = quick.spec()
        awaited(lambda: quick.state(spec) == "absent", 10, "it watches")
        watches = f"pgrep -fc '[w]atch {quick.owner}' || true"
        assert int(there.machine.shell(watches)) > 0
        here = {one.pid for one in psutil.Process().children() if one.name() == "ssh"}
        there.machine.cut()
        quick.supervisor.close()
        awaited(lambda: not alive(here), 8, "nothing is left here")
        there.machine.join()
        awaited(lambda: int(there.machine.shell(watches)) == 0, 20, "nothing is left there")


def alive(pids: set[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_how_long_a_host_is_believed() -> None:
    assert Pace().silence == SILENCE_SECONDS == 8.0
