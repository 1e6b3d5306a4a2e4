"""Processes on a host as the controller sees them, with the real agent behind a real sshd on this machine."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil
import pytest

from lyc.errors import Failed, Unreachable
from lyc.hosts.remote.calls import Agent
from lyc.hosts.remote.program import agent_zip
from lyc.hosts.remote.watching import Pace
from lyc.hosts.ssh.known import pin
from lyc.hosts.ssh.scan import scan
from lyc.records.process import ProcessSpec
from tests.hosts.named import named
from tests.hosts.remote.supervising import Controller, held, numbers, pid_behind, texts
from tests.hosts.ssh.conftest import account, server, servers
from tests.hosts.ssh.server import Account, Server, awaited, sessions_of

__all__ = ["account", "server", "servers"]
HERE = Path(__file__).resolve().parents[3]
QUICK = Pace(silence=2.5, slow=1.0)
Make = Callable[..., Controller]


class Host:
    """A folder of lyc on a machine that `box` leads to, with the agent in it; no systemd there."""

    def __init__(self, account: Account, folder: Path) -> None:
        data, digest = agent_zip()
        self.root = folder / "root"
        program = self.root / "agent" / f"{digest}.pyz"
        program.parent.mkdir(parents=True)
        program.write_bytes(data)
        remote = account.remote("box")
        self.agent = Agent(remote, PurePosixPath(self.root), sys.executable, str(program))


@pytest.fixture
def host(account: Account, server: Server) -> Iterator[Host]:
    pin(account.target("box"), scan(account.target("box")))
    made = Host(account, account.home)
    try:
        yield made
    finally:
        made.agent.remote.close()
        for process in processes_of(made.root):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        awaited(lambda: not processes_of(made.root), 10, "nothing runs on the host")


def processes_of(root: Path) -> list[psutil.Process]:
    """What runs below lyc's folder there: engines and shims, but not what only tells of them."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [process.cwd(), *process.cmdline(), *process.environ().values()]
            dead = process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if not dead and "watch" not in words and any(str(root) in word for word in words):
            found.append(process)
    return found


@pytest.fixture
def make(account: Account, host: Host) -> Iterator[Make]:
    """Makes controllers of one home, or of others; all of them end."""
    made: list[Controller] = []
    homes: list[Path] = []

    def controller(owner: str = "me", home: Path | None = None, pace: Pace = QUICK) -> Controller:
        if home is None:
            home = Path(tempfile.mkdtemp(prefix="lyc-sup-"))
            homes.append(home)
        made.append(Controller(lambda: host.agent, account.target("box"), home, owner, pace, sys.executable))
        return made[-1]

    yield controller
    for one in made:
        one.end()
    for home in homes:
        shutil.rmtree(home)


@pytest.fixture
def controller(make: Make) -> Controller:
    return make()


@pytest.fixture
def spec(controller: Controller, host: Host) -> ProcessSpec:
    return controller.spec(root=str(host.root))


def test_from_start_to_nothing(controller: Controller, spec: ProcessSpec, host: Host) -> None:
    assert controller.state(spec) == "unknown"  # nobody has asked yet
    awaited(lambda: controller.state(spec) == "absent", 5, "it was never started")
    controller.supervisor.start(spec)
    assert controller.state(spec) == "running"
    awaited(lambda: pid_behind(spec), 5, "it answers through its tunnel")
    pid = pid_behind(spec)
    awaited(lambda: controller.status(spec).pid == pid, 5, "its pid is known")
    controller.supervisor.start(spec)
    assert pid_behind(spec) == pid
    awaited(lambda: len(numbers(spec)) > 20, 5, "its log comes")
    private = host.root / "replicas" / "support-1-a1b2c3.1" / "engine.yaml"
    assert private.read_text() == "api-key: secret-of-the-engine\n"
    assert private.stat().st_mode & 0o777 == 0o600
    controller.supervisor.stop(spec.directory, grace=5)
    assert controller.state(spec) == "exited"
    awaited(lambda: controller.status(spec).exit_code == -15, 5, "it is heard how")
    status = controller.status(spec)
    assert (status.state, status.gave_up) == ("exited", True)
    assert status.ended_at
    assert abs(status.ended_at - time.time()) < 10
    assert controller.tunnels.directories() == []
    assert spec.socket
    assert not spec.socket.exists()
    last = max(int(text.split()[1]) for text in output_there(host, spec) if text.startswith("line"))
    awaited(lambda: numbers(spec) == [*range(1, last + 1)], 5, "its log is whole")
    controller.supervisor.stop(spec.directory, grace=5)
    controller.supervisor.forget(spec.directory)
    assert controller.state(spec) == "absent"
    assert [path for path in (host.root / "replicas").iterdir() if not path.name.startswith(".")] == []
    controller.supervisor.forget(spec.directory)
    assert processes_of(host.root) == []


def output_there(host: Host, spec: ProcessSpec) -> list[str]:
    log = host.root / "replicas" / f"{spec.directory.parent.name}.{spec.directory.name}" / "output.log"
    return [line.partition(" ")[2] for line in log.read_text().splitlines()]


def test_asking_costs_nothing(controller: Controller, spec: ProcessSpec) -> None:
    controller.supervisor.start(spec)
    began = time.perf_counter()
    for _ in range(1000):
        controller.status(spec)
    print(f"{(time.perf_counter() - began) * 1000:.0f} µs")
    assert time.perf_counter() - began < 1.0


def test_one_that_dies_is_told_with_its_last_words(controller: Controller, host: Host) -> None:
    spec = controller.spec(end="100:7", root=str(host.root))
    controller.supervisor.start(spec)
    awaited(lambda: controller.status(spec).pid, 5, "it is heard")
    assert controller.state(spec) == "running"
    before = controller.woken
    awaited(lambda: controller.state(spec) == "exited", 10, "it is known to have ended")
    assert texts(spec)[-2:] == ["line 100", "last words"]
    assert controller.status(spec).exit_code == 7
    awaited(lambda: controller.woken > before, 1, "the controller was told at once")


def test_two_owners_on_one_host(make: Make, host: Host) -> None:
    one, two = make("one"), make("two")
    mine, theirs = one.spec("a-1-aaaaaa", root=str(host.root)), two.spec("b-1-bbbbbb", root=str(host.root))
    one.supervisor.start(mine)
    two.supervisor.start(theirs)
    awaited(lambda: pid_behind(mine) and pid_behind(theirs), 5, "both answer")
    other = one.spec("b-1-bbbbbb", root=str(host.root))
    other.directory.mkdir(parents=True)
    awaited(lambda: one.state(other) == "absent", 5, "what is another's is not seen")
    assert one.supervisor.sweep(list) == ["a-1-aaaaaa.1"]
    awaited(lambda: one.state(mine) == "absent", 5, "swept")
    assert held(lambda: two.state(theirs) == "running" and pid_behind(theirs), 0.5)
    with pytest.raises(Failed) as caught:
        one.supervisor.start(other)
    assert caught.value.ref == "not-the-owner"
    awaited(lambda: len(numbers(theirs)) > 5, 5, "its log goes to its owner")
    assert not (other.directory / "output.log").exists()


def test_sweep_spares_what_is_known(make: Make, host: Host) -> None:
    first = make()
    stray, known = (first.spec(f"a-1-00000{number}", root=str(host.root)) for number in range(2))
    first.supervisor.start(stray)
    first.supervisor.start(known)
    awaited(lambda: pid_behind(stray) and pid_behind(known), 5, "both answer")
    first.supervisor.close()
    again = make(home=first.home)
    assert again.supervisor.sweep(lambda: [known.directory]) == ["a-1-000000.1"]
    assert (pid_behind(stray, 0.5) > 0, pid_behind(known, 0.5) > 0) == (False, True)
    assert [path.name for path in again.tunnels.directories()] == ["a-1-000001.1"]
    again.supervisor.stop(known.directory, grace=2)
    later = known.directory.with_name("2")
    assert again.supervisor.sweep(lambda: [later]) == []  # an ended attempt of a known replica: its log may be wanted
    assert again.supervisor.sweep(list) == ["a-1-000001.1"]
    assert again.supervisor.stray([]) == []


def test_a_host_that_is_left(controller: Controller, spec: ProcessSpec) -> None:
    controller.supervisor.start(spec)
    awaited(lambda: pid_behind(spec), 5, "it answers")
    controller.supervisor.leave()
    assert controller.tunnels.directories() == []
    assert controller.local.stray([]) == []


def test_a_log_that_cannot_be_kept(controller: Controller, spec: ProcessSpec) -> None:
    """Its status is known all the same, and the log is whole as soon as it can be."""
    in_its_way = spec.directory / "output.log"
    in_its_way.mkdir(parents=True)
    controller.supervisor.start(spec)
    awaited(lambda: controller.status(spec).pid, 5, "it is heard")
    assert held(lambda: controller.state(spec) == "running", 2.5)
    in_its_way.rmdir()
    awaited(lambda: len(numbers(spec)) > 40, 8, "the log comes")
    assert whole(spec)


def test_a_host_that_does_not_answer(controller: Controller, spec: ProcessSpec, server: Server) -> None:
    controller.supervisor.start(spec)
    awaited(lambda: pid_behind(spec), 5, "it answers")
    pid = pid_behind(spec)
    server.stop(connections=True)
    awaited(lambda: controller.state(spec) == "unknown", 5, "it is noticed")
    awaited(lambda: refs(controller, spec) == "host-unreachable", 6, "it is said why")
    for act in (
        lambda: controller.supervisor.stop(spec.directory, grace=1),
        lambda: controller.supervisor.start(spec),
        lambda: controller.supervisor.sweep(list),
    ):
        with pytest.raises(Unreachable):
            act()
    server.start()
    began = time.monotonic()
    awaited(lambda: controller.state(spec) == "running", 6, "it is back")
    print(f"back {time.monotonic() - began:.2f} s after sshd")
    assert pid_behind(spec) == pid
    awaited(lambda: len(numbers(spec)) > 60, 5, "its log goes on")
    assert whole(spec)


def whole(spec: ProcessSpec) -> bool:
    """Whether its log has no gap and nothing twice."""
    kept = numbers(spec)
    return kept == [*range(1, len(kept) + 1)]


def refs(controller: Controller, spec: ProcessSpec) -> object:
    error = controller.status(spec).error
    return error and error["ref"]


def test_a_tunnel_that_is_down_is_not_hidden(controller: Controller, spec: ProcessSpec, server: Server) -> None:
    """The process runs and its host says so, but no request can reach it."""
    controller.supervisor.start(spec)
    awaited(lambda: pid_behind(spec), 5, "it answers")
    loops = named("sh", controller.local.stray([]))
    for process in loops:
        process.suspend()
    for process in controller.ssh():
        process.kill()
    awaited(lambda: refs(controller, spec) == "tunnel-down", 5, "it is told")
    assert controller.status(spec).pid is not None
    for process in loops:
        process.resume()
    awaited(lambda: controller.state(spec) == "running" and pid_behind(spec), 5, "it is up again")


def test_a_login_that_is_refused(controller: Controller, spec: ProcessSpec, server: Server, host: Host) -> None:
    keys = server.folder / "authorized_keys"
    kept = keys.read_text()
    keys.write_text("")
    assert controller.state(spec) == "unknown"
    awaited(lambda: refs(controller, spec) == "host-denied", 5, "it is said why")
    tries = server.log().count("Connection closed by authenticating user")
    assert held(lambda: refs(controller, spec) == "host-denied", 0.7)
    assert server.log().count("Connection closed by authenticating user") - tries <= 2
    keys.write_text(kept)
    awaited(lambda: controller.state(spec) == "absent", 5, "it is let in")


def test_a_host_without_lycs_program(controller: Controller, spec: ProcessSpec, host: Host) -> None:
    program = Path(host.agent.program)
    program.rename(program.with_suffix(".away"))
    assert controller.state(spec) == "unknown"
    awaited(lambda: refs(controller, spec) == "host-not-prepared", 5, "it is said why")
    with pytest.raises(Failed) as caught:
        controller.supervisor.start(spec)
    assert caught.value.ref == "host-not-prepared"
    program.with_suffix(".away").rename(program)
    awaited(lambda: controller.state(spec) == "absent", 5, "it is back")


def test_a_start_that_is_refused(controller: Controller, host: Host) -> None:
    spec = controller.spec(root=str(host.root))
    wrong = ProcessSpec(spec.id, spec.directory, ("/no/such/program",), socket=spec.socket)
    controller.supervisor.start(wrong)  # the shim says so in the log, as for any process of its
    awaited(lambda: controller.state(wrong) == "exited", 5, "it has ended")
    assert controller.status(wrong).exit_code == 127
    assert any("/no/such/program" in text for text in texts(wrong))


LIFE = """
import json, sys, time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from lyc.hosts.remote.calls import Agent
from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.target import Target
from tests.hosts.remote.supervising import Controller
said = json.loads(sys.argv[1])
target = Target("box", None, *(Path(said[name]) for name in ("known_hosts", "run", "config")))
agent = Agent(SshRemote(target, persist=20), PurePosixPath(said["root"]), sys.executable, said["program"])
controller = Controller(lambda: agent, target, Path(said["home"]), "me", None, sys.executable)
spec = controller.spec(pause=0.003, root=said["root"])
while controller.state(spec) == "unknown":
    time.sleep(0.01)
if controller.state(spec) == "absent":
    controller.supervisor.start(spec)
print(controller.state(spec), flush=True)
time.sleep(60)
"""
"""A controller in a process of its own."""


def test_a_controller_that_is_killed_and_begun_again(make: Make, host: Host, account: Account) -> None:
    last = make()
    spec, target = last.spec(root=str(host.root)), account.target("box")
    said = {
        "known_hosts": target.known_hosts, "run": target.run_dir, "config": target.config, "root": host.root,
        "program": host.agent.program, "home": last.home,
    }  # fmt: skip
    argv = [sys.executable, "-c", LIFE, json.dumps({name: str(value) for name, value in said.items()})]
    tunnels = set()
    for number, moment in enumerate([0.3, 0.0, 0.11], start=1):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=HERE) as life:
            assert life.stdout
            assert life.stdout.readline() == "running\n"
            enough = len(numbers(spec)) + 40
            awaited(lambda: len(numbers(spec)) > enough, 10, "its log comes")  # noqa: B023 - awaited at once
            awaited(lambda: pid_behind(spec), 5, "it answers")
            time.sleep(moment)
            life.send_signal(signal.SIGKILL)
        tunnels |= {one.pid for one in last.ssh()}
        assert len(tunnels) == 1, f"after {number} kills"
    awaited(lambda: last.state(spec) == "running", 5, "it is found")
    last.supervisor.stop(spec.directory, grace=5)
    end = max(int(text.split()[1]) for text in output_there(host, spec) if text.startswith("line"))
    awaited(lambda: numbers(spec) and numbers(spec)[-1] == end, 10, "its log is there to the end")
    assert whole(spec)


def test_a_session_that_sshd_ends(controller: Controller, spec: ProcessSpec, server: Server) -> None:
    """The connection goes, sshd stays: nothing of it is seen, and no line is lost."""
    controller.supervisor.start(spec)
    awaited(lambda: len(numbers(spec)) > 5, 5, "its log comes")
    assert server._process
    before = len(numbers(spec))
    for pid in sessions_of(server._process.pid):
        psutil.Process(pid).kill()
    assert held(lambda: controller.state(spec) == "running", 1.5)
    awaited(lambda: len(numbers(spec)) > before + 40, 8, "its log goes on")
    assert whole(spec)
