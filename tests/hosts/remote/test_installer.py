"""Engines on a host of the lab, which reaches nothing but this machine: made by the real uv from small wheels."""

from __future__ import annotations

import base64
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from lyc.engines.versions import Recipe
from lyc.errors import Failed, LycError, Unreachable
from lyc.hosts.remote.egress import Egress
from lyc.hosts.remote.installer import RemoteInstaller
from lyc.records.plan import EngineBuild
from tests.hosts.remote.controllers import Controller, controller_of, served
from tests.hosts.ssh.server import awaited
from tests.hosts.test_environment import wheel
from tests.lab.fixtures import lab
from tests.lab.lab import Lab
from tests.lab.machine import Machine

__all__ = ["lab"]
pytestmark = pytest.mark.slow
BUILD = EngineBuild("small", "1.0")
ENGINES = "/var/lib/lyc/engines"


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[tuple[Machine, Controller]]:
    """One that is prepared."""
    machine = lab.borrow(1)[0]
    with controller_of(lab, machine, "ubuntu") as controller:
        controller.prepare()
        yield machine, controller
        assert controller.purge()
    lab.give_back([machine])


class Small:
    """An installer whose one build is made of small wheels that lie in a folder of this machine."""

    def __init__(self, tmp_path: Path, host: tuple[Machine, Controller]) -> None:
        self.machine, self.controller = host
        self.wheels = tmp_path / "wheels"
        lock = wheel(self.wheels, "alpha") + wheel(self.wheels, "beta")
        self.recipe = Recipe(BUILD.id, lock, None, ("gamma", "1.0+cpu", "alpha==1.0"), 1, 1)
        (tmp_path / "empty").mkdir()
        (tmp_path / "pip.conf").touch()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
            "UV_FIND_LINKS": str(self.wheels),
            "UV_DEFAULT_INDEX": (tmp_path / "empty").as_uri(),
            "UV_HTTP_RETRIES": "0",
        }
        self.reaches: dict[str, bool] = {}
        self.said: list[str] = []

    def installer(self, *, lend: bool = True, **environ: str) -> RemoteInstaller:
        known = {name: value for name, value in (self.environ | environ).items() if value}
        prepared = self.controller.prepare().prepared
        assert prepared
        remote = self.controller.remote
        return RemoteInstaller(
            lambda: prepared.agent(remote), lambda: prepared.python, lambda: self.reaches, environ=known,
            egress=Egress(remote.target, known) if lend else None, recipes=lambda _: self.recipe, host="gpu1",
        )  # fmt: skip

    def install(self, **environ: str) -> Path:
        return self.installer(**environ).install(BUILD, self.said.append)

    def refusal(self, *, lend: bool = True, **environ: str) -> LycError:
        installer = self.installer(lend=lend, **environ)
        with pytest.raises(LycError) as caught:
            installer.install(BUILD, self.said.append)
        assert installer.bin_dir(BUILD) is None
        return caught.value

    def works(self, made: Path) -> bool:
        account = "setpriv --reuid lyc --regid lyc --init-groups"
        return self.machine.shell(f"{account} {made}/alpha && {account} {made}/beta") == "works\nworks\n"


@pytest.fixture
def small(tmp_path: Path, host: tuple[Machine, Controller]) -> Iterator[Small]:
    made = Small(tmp_path, host)
    yield made
    made.machine.shell(f"rm -rf {ENGINES}/* /var/lib/lyc/uv/cache")


def test_an_environment_is_made_and_then_kept(small: Small) -> None:
    """The wheels lie in a folder of this machine, of which the host knows nothing."""
    installer = small.installer()
    assert installer.bin_dir(BUILD) is None
    assert installer.distributions(BUILD) == frozenset()
    made = installer.install(BUILD, small.said.append)
    assert small.works(made)
    assert installer.bin_dir(BUILD) == made == Path(installer.folder(BUILD) / "bin")
    assert installer.distributions(BUILD) == {"alpha", "beta", "gamma"}
    assert (
        small.machine.shell(f"{made}/python -c 'import importlib.metadata as m; print(m.version(\"gamma\"))'")
        == "1.0+cpu\n"
    )
    assert any(line.startswith("downloading 2 of 2 packages") for line in small.said)
    before = small.machine.shell(f"find {ENGINES} -printf '%p %T@ %m %u\\n' | sort")
    said = len(small.said)
    assert small.install() == made
    assert len(small.said) == said
    assert small.machine.shell(f"find {ENGINES} -printf '%p %T@ %m %u\\n' | sort") == before
    assert not list(small.controller.place.target("gpu1").run_dir.glob("out-*"))


class Simple(SimpleHTTPRequestHandler):
    """An index that wants a name and a password; looks at the host while it is asked for a wheel."""

    machine: Machine
    seen: list[str]

    def do_GET(self) -> None:
        wanted = f"Basic {base64.b64encode(b'user:hunter2').decode()}"
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()
            return
        if self.path.endswith(".whl"):
            self.seen.append(self.machine.shell("ps -eo args"))
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_an_index_of_this_machine_with_a_password(small: Small, tmp_path: Path) -> None:
    for name in ("alpha", "beta"):
        (tmp_path / "simple" / name).mkdir(parents=True)
        (small.wheels / f"{name}-1.0-py3-none-any.whl").rename(
            tmp_path / "simple" / name / f"{name}-1.0-py3-none-any.whl"
        )
    seen: list[str] = []
    handler = type("Handler", (Simple,), {"machine": small.machine, "seen": seen})
    with served(partial(handler, directory=str(tmp_path))) as port:
        made = small.install(UV_FIND_LINKS="", UV_DEFAULT_INDEX=f"http://user:hunter2@127.0.0.1:{port}/simple")
    assert small.works(made)
    assert any("bin/uv" in processes for processes in seen)
    assert not any("hunter2" in processes or "lyc:" in processes for processes in seen)
    assert small.machine.shell("grep -rs hunter2 /var/lib/lyc || true") == ""


class Proxy(BaseHTTPRequestHandler):
    """This machine's own way out: a proxy that knows one server, `packages.example`."""

    folder: Path

    def do_GET(self) -> None:
        prefix = "http://packages.example/wheels/"
        name = self.path.removeprefix(prefix)
        if not self.path.startswith(prefix):
            self.send_error(404)
        elif name == "":
            self._answer("".join(f'<a href="{path.name}">{path.name}</a>' for path in self.folder.iterdir()).encode())
        else:
            self._answer((self.folder / name).read_bytes())

    def _answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def refused(host: tuple[Machine, Controller]) -> Iterator[None]:
    """The host knows an address of `packages.example` and is refused there: sooner than when it must ask for one."""
    hosts = host[0].root / "etc/hosts"
    before = hosts.read_text()
    hosts.write_text(f"{before}127.0.0.1 packages.example\n")
    yield
    hosts.write_text(before)


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("known", [True, False])
def test_a_host_that_does_not_reach_the_index(small: Small, known: bool) -> None:
    """Whether that was seen beforehand or shows when uv tries, it goes by this machine, and by its proxy."""
    index = "http://packages.example/empty/"
    small.reaches = {index: False} if known else {}
    links = {"UV_FIND_LINKS": "http://packages.example/wheels/", "UV_DEFAULT_INDEX": index}
    handler = type("Handler", (Proxy,), {"folder": small.wheels})
    with served(handler) as port:
        made = small.install(**links, HTTP_PROXY=f"http://127.0.0.1:{port}")
    assert small.works(made)
    assert "the host has no way to the packages: they come through this machine" in small.said


@pytest.mark.usefixtures("refused")
def test_no_way_at_all(small: Small) -> None:
    error = small.refusal(UV_FIND_LINKS="", UV_DEFAULT_INDEX="http://user:hunter2@127.0.0.1:9/simple")
    assert isinstance(error, Unreachable)
    assert error.ref == "engine-download-failed"
    assert error.detail
    assert "hunter2" not in str(error.document())
    alone = small.refusal(lend=False, UV_FIND_LINKS="", UV_DEFAULT_INDEX="http://packages.example/simple")
    assert alone.ref == "engine-download-failed"


def test_sshd_that_forwards_nothing(small: Small) -> None:
    place = small.machine.root / "etc/ssh/sshd_config.d/none.conf"
    place.write_text("AllowTcpForwarding no\n")
    try:
        small.controller.remote.close()
        small.machine.restart_sshd()
        error = small.refusal()
    finally:
        place.unlink()
        small.controller.remote.close()
        small.machine.restart_sshd()
    assert (error.ref, error.exit_code) == ("no-way-out-lent", 6)
    assert "AllowTcpForwarding" in error.hint


def test_a_wheel_that_is_not_the_locked_one(small: Small) -> None:
    (small.wheels / "alpha-1.0-py3-none-any.whl").write_bytes(b"another")
    error = small.refusal()
    assert isinstance(error, Failed)
    assert error.ref == "engine-install-failed"
    assert any("alpha" in line for line in error.detail)


def test_no_space(small: Small) -> None:
    small.recipe = replace(small.recipe, installed_bytes=1 << 60)
    error = small.refusal()
    assert (error.ref, error.hint) == ("no-space-for-engine", "lyc hosts prune gpu1")


class Slow(SimpleHTTPRequestHandler):
    """Wheels that do not come as long as `held` is not set."""

    asked: threading.Event
    held: threading.Event

    def do_GET(self) -> None:
        if self.path.endswith(".whl"):
            self.asked.set()
            self.held.wait(30)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def slow(small: Small) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """(address of the wheels, set when the first is asked for, to be set when they may come)."""
    asked, held = threading.Event(), threading.Event()
    handler = type("Handler", (Slow,), {"asked": asked, "held": held})
    with served(partial(handler, directory=str(small.wheels))) as port:
        try:
            yield f"http://127.0.0.1:{port}/", asked, held
        finally:
            held.set()


def idle(small: Small) -> bool:
    return "bin/uv" not in small.machine.shell("ps -eo args")


def test_a_controller_that_is_killed_while_it_installs(small: Small) -> None:
    with slow(small) as (address, asked, held):
        installer = small.installer(UV_FIND_LINKS=address)
        child = os.fork()
        if child == 0:
            try:
                installer.install(BUILD, lambda _: None)
            finally:
                os._exit(1)
        assert asked.wait(60)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        awaited(lambda: idle(small), 20, "uv ends when nobody waits for it")
        held.set()
        assert small.works(small.install(UV_FIND_LINKS=address))
    assert "removing what an interrupted installation left" in small.said


def test_a_host_that_is_cut_off_while_it_installs(small: Small) -> None:
    with slow(small) as (address, asked, held):
        failed: list[LycError] = []
        installer = small.installer(UV_FIND_LINKS=address)

        def install() -> None:
            try:
                installer.install(BUILD, small.said.append)
            except LycError as error:
                failed.append(error)

        thread = threading.Thread(target=install)
        thread.start()
        assert asked.wait(60)
        small.machine.kill_sshd()
        thread.join(60)
        assert [error.ref for error in failed] == ["host-unreachable"]
        small.machine.wait()
        awaited(lambda: idle(small), 20, "uv ends when nobody waits for it")
        held.set()
        assert small.works(small.install(UV_FIND_LINKS=address))


def test_of_two_at_once_one_does_it(small: Small) -> None:
    with slow(small) as (address, asked, held):
        made: list[Path] = []
        said: list[list[str]] = [[], []]
        threads = [
            threading.Thread(
                target=lambda n=n: made.append(small.installer(UV_FIND_LINKS=address).install(BUILD, said[n].append))
            )
            for n in range(2)
        ]
        for thread in threads:
            thread.start()
        assert asked.wait(60)
        awaited(lambda: any("waiting for it" in line for lines in said for line in lines), 20, "one waits")
        held.set()
        for thread in threads:
            thread.join()
    assert made[0] == made[1]
    assert sorted(any(line.startswith("resolving") for line in lines) for lines in said) == [False, True]
