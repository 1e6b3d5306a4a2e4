"""Bare hosts of the lab made ready for engines: once, twice, killed in between, and bare again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from lyc.errors import Failed, Locked, Unreachable
from lyc.hosts.remote.bootstrap import Bootstrap, agent_of
from lyc.hosts.remote.egress import Egress
from lyc.records.plan import Accelerator
from tests.hosts.remote.controllers import Controller, controller_of, served
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
AS_ACCOUNT = "setpriv --reuid lyc --regid lyc --init-groups"
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
        assert machine.shell(f"{AS_ACCOUNT} /var/lib/lyc/python3 -c 'import ssl; print(1)'") == "1\n"
        assert machine.shell(f"{AS_ACCOUNT} touch /var/lib/lyc/compiled/x && ! {AS_ACCOUNT} touch /var/lib/lyc/x 2>&1")
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


VERSION = "cpython-3.13.5-linux-x86_64-gnu"


def python_archive(machine: Machine) -> bytes:
    """The host's own Python, packed as uv expects one that can lie anywhere (and called by another version)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for name, source in (("bin/python3.13", "bin/python3.11"), ("lib/python3.11", "lib/python3.11")):
            path = machine.root / "usr" / source
            archive.add(path, f"python/{name}", filter=lambda entry: None if entry.issym() else entry)
        data = b"# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
        entry = tarfile.TarInfo("python/lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py")
        entry.size, entry.mode = len(data), 0o644
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@contextmanager
def without_python(machine: Machine) -> Iterator[None]:
    machine.shell("mkdir /srv/python && mv /usr/bin/python3* /srv/python")
    try:
        yield
    finally:
        machine.shell("mv /srv/python/* /usr/bin && rmdir /srv/python")


def test_a_python_is_fetched_where_there_is_none(login: Login, machine: Machine, tmp_path: Path) -> None:
    """From this machine, since the host reaches nothing."""
    controller = login("root")
    archive = python_archive(machine)
    (tmp_path / "python.tar.gz").write_bytes(archive)

    def bootstrap(address: str) -> Bootstrap:
        entry = {
            "name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu", "major": 3,
            "minor": 13, "patch": 5, "prerelease": "", "url": f"{address}/python.tar.gz", "variant": None,
            "sha256": hashlib.sha256(archive).hexdigest(), "build": "20260101",
        }  # fmt: skip
        (tmp_path / "python.json").write_text(json.dumps({VERSION: entry}))
        environ = {"UV_PYTHON_DOWNLOADS_JSON_URL": f"{address}/python.json", "UV_HTTP_RETRIES": "0"}
        egress = Egress(controller.remote.target, environ)
        return Bootstrap(controller.remote, controller.facts, owner="me", environ=environ, egress=egress)

    with without_python(machine):
        with pytest.raises(Failed) as caught:
            bootstrap("http://127.0.0.1:9").run(controller.said.append)
        assert caught.value.ref == "no-python-for-engines"
        assert "apt-get install -y python3" in caught.value.hint
        with served(partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as port:
            made = bootstrap(f"http://127.0.0.1:{port}")
            made.run(controller.said.append)
        assert made.prepared
        assert made.prepared.python == "3.11"
        assert machine.shell("readlink /var/lib/lyc/python3") == f"/var/lib/lyc/uv/python/{VERSION}/bin/python3.13\n"
        assert machine.shell(f"{AS_ACCOUNT} /var/lib/lyc/python3 -c 'import ssl; print(1)'") == "1\n"
        assert not controller.prepare().changed
        assert controller.purge()


def test_a_host_with_cards_whose_python_has_no_headers(login: Login, machine: Machine) -> None:
    """Triton would compile against them. A Python that has them could not be fetched, so the other must do."""
    controller = login("root")
    card = Accelerator("l4", "NVIDIA L4")
    facts = replace(controller.facts, accelerators=(card,), reaches={"https://pypi.org/simple": True})
    environ = {"UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:9", "UV_HTTP_RETRIES": "0"}
    made = Bootstrap(controller.remote, facts, owner="me", environ=environ, egress=None)
    made.run(controller.said.append)
    assert made.prepared
    assert made.prepared.python == "3.11"
    assert any("no headers" in line and "apt-get install -y python3-dev" in line for line in controller.said)
