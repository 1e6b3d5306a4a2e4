"""Bare hosts of the lab made ready for engines: once, twice, killed in between, and bare again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from lyc.errors import Failed, Locked, Unreachable
from lyc.hosts.remote.bootstrap import Bootstrap, agent_of
from lyc.hosts.remote.egress import Egress
from tests.hosts.remote.controllers import Controller, controller_of
from tests.hosts.ssh.server import awaited
from tests.lab.fixtures import lab
from tests.lab.lab import Lab
from tests.lab.machine import Machine

__all__ = ["lab"]
pytestmark = pytest.mark.slow
PLACES = "/etc /usr/local /home /var/lib /var/spool /var/mail"
LISTING = f"find {PLACES} -printf '%p %M %U %G %l\\n' 2>/dev/null | LC_ALL=C sort; getent group"
"""What is there, but for times: passwd and its like are written anew by whoever adds an account."""
TIMED = "find /var/lib/lyc /etc/systemd -printf '%p %M %u %g %s %T@ %C@ %l\\n' | LC_ALL=C sort"
ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
CHURN = ("/var/lib/systemd/", "/var/lib/private", "/var/lib/sudo")
Login = Callable[[str], Controller]


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    """One for all tests, each of which leaves it bare."""
    machines = lab.borrow(1)
    yield machines[0]
    lab.give_back(machines)


@pytest.fixture(scope="module")
def login(lab: Lab, machine: Machine) -> Iterator[Login]:
    """The controller by the account of a name."""
    with ExitStack() as stack:
        yield cache(lambda user: stack.enter_context(controller_of(lab, machine, user)))


@pytest.fixture(autouse=True)
def alone(login: Login) -> Iterator[None]:
    """A test neither hears what was said in others, nor finds what they left."""
    for user in ("root", "ubuntu", "plain"):
        login(user).said.clear()
    yield
    for user in ("root", "plain"):
        login(user).purge(force=True)


def listing(machine: Machine) -> list[str]:
    """Files and accounts, but for what systemd and sudo note of themselves."""
    lines = machine.shell(LISTING).splitlines()
    return [line for line in lines if not line.startswith(CHURN)]


def contents(machine: Machine) -> list[str]:
    return [machine.shell(f"cat {path}") for path in ACCOUNTS]


@contextmanager
def bare(machine: Machine) -> Iterator[None]:
    """Afterwards the machine is as it was."""
    files, accounts = listing(machine), contents(machine)
    yield
    assert listing(machine) == files
    assert contents(machine) == accounts
    assert machine.shell("systemctl list-units --all --plain --no-legend 'lyc*'") == ""


def test_a_bare_host_is_made_ready_and_bare_again(login: Login, machine: Machine) -> None:
    controller = login("ubuntu")
    with bare(machine):
        first = controller.prepare()
        assert first.changed
        assert [line.partition(" ")[0] for line in controller.said] == ["making"] * 6
        before = machine.shell(TIMED)
        began = time.monotonic()
        second = controller.prepare()
        assert time.monotonic() - began < 1
        assert not second.changed
        assert len(controller.said) == 6
        assert machine.shell(TIMED) == before
        assert first.prepared == second.prepared
        assert first.prepared
        agent = agent_of(controller.remote, first.prepared.document())
        assert agent
        assert agent.call("lock", request={"owner": "me", "who": "a@b", "reason": "test"}) == {}
        assert machine.shell("stat -c %U:%a /var/lib/lyc/lock.json") == "root:600\n"
        assert "lyc-lease.timer" in machine.shell("systemctl list-timers --plain --no-legend")
        as_account = "setpriv --reuid lyc --regid lyc --init-groups"
        assert machine.shell(f"{as_account} /var/lib/lyc/python3 -c 'import ssl; print(1)'") == "1\n"
        assert machine.shell(f"{as_account} touch /var/lib/lyc/compiled/x && ! {as_account} touch /var/lib/lyc/x 2>&1")
        assert controller.purge()
        assert not controller.purge()


SETTLED = "find /var/lib/lyc /etc/systemd -printf '%p %M %u %g %s %l\\n' | LC_ALL=C sort; getent passwd lyc; id lyc"


@pytest.fixture(scope="module")
def undisturbed(login: Login, machine: Machine) -> str:
    """What a host that was prepared without a disturbance holds."""
    login("root").prepare()
    found = machine.shell(SETTLED)
    login("root").purge()
    return found


def test_a_controller_killed_after_each_step_and_within(login: Login, machine: Machine, undisturbed: str) -> None:
    controller = login("root")
    folder = machine.root / "var/lib/lyc"
    for step in ("account", "folders", "uv", "python", "agent", "units"):
        if step == "uv":
            _killed_when(controller, (folder / ".arriving/uv").exists)
            assert not (folder / "bin/uv").exists()
        if step == "units":
            _killed_when(controller, (folder / ".units").exists)
        else:
            assert _killed_at(controller, 2), step
    _settles(controller, machine, undisturbed)


def test_the_hosts_side_killed_within_steps(login: Login, machine: Machine, undisturbed: str) -> None:
    """sshd dies with all connections when something arrives; what is whole by then is not made again."""
    controller = login("root")
    arriving = machine.root / "var/lib/lyc/.arriving"
    lost = 0
    for awaited_file in (arriving / "uv", arriving, arriving):
        over = threading.Event()
        killer = threading.Thread(target=_kill_sshd_when, args=(machine, awaited_file, over))
        killer.start()
        try:
            controller.prepare()
        except Unreachable:
            lost += 1
        finally:
            over.set()
            killer.join()
            machine.wait()
    assert lost
    _settles(controller, machine, undisturbed)


def _kill_sshd_when(machine: Machine, file: Path, over: threading.Event) -> None:
    while not over.is_set():
        if file.exists():
            machine.shell("kill -KILL $(pidof sshd) || true")
            return


def _settles(controller: Controller, machine: Machine, undisturbed: str) -> None:
    controller.prepare()
    assert machine.shell(SETTLED) == undisturbed
    assert not controller.prepare().changed
    assert controller.purge()


def _killed_at(controller: Controller, line: int) -> bool:
    """Bootstrap in a process that is killed when it says its so many-th line. Whether it came to that."""
    child = os.fork()
    if child == 0:
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            if len(said) == line:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            controller.bootstrap().run(say)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _killed_when(controller: Controller, condition: Callable[[], bool]) -> None:
    """The same, when something is so on the host."""
    child = os.fork()
    if child == 0:
        try:
            controller.bootstrap().run(lambda _: None)
        finally:
            os._exit(0)
    awaited(condition, 30, "the step has begun")
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_an_account_without_the_rights_of_root(login: Login, machine: Machine) -> None:
    controller = login("plain")
    with bare(machine):
        made = controller.prepare()
        assert made.prepared
        assert (made.prepared.mode, made.prepared.root) == ("user", "/home/plain/.local/share/lyc")
        assert "plain is not root" in controller.said[0]
        assert not controller.prepare().changed
        agent = made.prepared.agent(controller.remote)
        with pytest.raises(Failed) as caught:
            agent.call("lease", request={"seconds": 60, "action": "stop"})
        assert caught.value.ref == "no-lease"
        controller.purge()
        machine.shell("rmdir /home/plain/.local/share /home/plain/.local")


def test_another_account_of_the_name(login: Login, machine: Machine) -> None:
    controller = login("root")
    machine.shell("useradd -m lyc")
    try:
        with pytest.raises(Failed) as caught:
            controller.prepare()
        assert caught.value.ref == "account-taken"
        controller.purge()
        assert machine.shell("getent passwd lyc")
    finally:
        machine.shell("userdel -r lyc 2>/dev/null || true")


def test_a_full_disk(login: Login, machine: Machine) -> None:
    controller = login("root")
    machine.fill(leave=8 << 20)
    try:
        with pytest.raises(Failed) as caught:
            controller.prepare()
        assert caught.value.ref == "no-space-on-host"
    finally:
        machine.unfill()
    assert controller.purge()


def test_two_controllers_at_once(login: Login, machine: Machine, undisturbed: str) -> None:
    both = login("root"), login("ubuntu")
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(Controller.prepare, both))
    assert made[0].prepared
    assert made[0].prepared.program == made[1].prepared.program  # type: ignore[union-attr]
    assert machine.shell(SETTLED) == undisturbed
    assert both[0].purge()


def test_a_host_that_another_controller_works_on(login: Login, machine: Machine) -> None:
    controller = login("root")
    agent = controller.bootstrap("other").run(controller.said.append)
    agent.call("lock", request={"owner": "other", "who": "eve@box", "reason": "deploying chat"})
    assert not controller.prepare().changed  # nothing to do is nobody's disturbance
    machine.shell("rm /var/lib/lyc/bin/uv")
    with pytest.raises(Locked) as locked:
        controller.prepare()
    assert "eve@box" in locked.value.what
    assert "deploying chat" in locked.value.why
    with pytest.raises(Failed) as used:
        controller.purge()
    assert used.value.ref == "host-in-use"
    assert machine.shell("ls /var/lib/lyc/lock.json")
    controller.purge(force=True)
    assert machine.shell("ls -d /var/lib/lyc || true").startswith("ls: cannot access")


def test_no_python_that_engines_run_on(login: Login, machine: Machine) -> None:
    """The host's own goes, and the address that uv would fetch one from answers nobody."""
    controller = login("root")
    machine.shell("cd /usr/bin && tar -cf /srv/python.tar python3*  && rm python3*")
    try:
        environ = {
            "UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:9/",
            "UV_HTTP_RETRIES": "0",
            "PATH": os.environ["PATH"],
        }
        facts = replace(controller.facts, reaches={})
        egress = Egress(controller.remote.target, environ)
        with pytest.raises(Failed) as caught:
            Bootstrap(controller.remote, facts, owner="me", environ=environ, egress=egress).run(controller.said.append)
        assert caught.value.ref == "no-python-for-engines"
        assert "apt-get install -y python3" in caught.value.hint
    finally:
        machine.shell("cd /usr/bin && tar -xf /srv/python.tar && rm /srv/python.tar")
    assert controller.prepare().changed
