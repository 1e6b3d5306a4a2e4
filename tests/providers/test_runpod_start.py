"""What a pod runs first, run by a real shell against the API: who may log in, and how it gives itself back."""

from __future__ import annotations

import base64
import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lyc.agent.lease import POD, hold
from lyc.providers.runpod.start import script
from lyc.testing.clouds import runpod
from lyc.testing.clouds.core import Cloud, FakeMachine
from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.server import App, serve
from tests.hosts.ssh.server import awaited

OFFER = "COMMUNITY//on-demand/1/NVIDIA GeForce RTX 4090"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Pod:
    """The start command at work under a folder in the place of `/`."""

    def __init__(self, root: Path, base: str, machine: FakeMachine, public_key: str, **env: str) -> None:
        self.root, self.machine = root, machine
        self.port = free_port()
        key, keys = root / "etc/ssh/ssh_host_ed25519_key", root / "root/.ssh/authorized_keys"
        # StrictModes minds that anybody may write above a test's folder.
        sshd = (
            f"/usr/sbin/sshd -D -e -f /dev/null -p {self.port} -h {key} -o AuthorizedKeysFile={keys}"
            " -o ListenAddress=127.0.0.1 -o StrictModes=no -o PidFile=none"
        )
        given = {
            "PATH": os.environ["PATH"],
            "HOME": "/root",
            "LYC_PUBLIC_KEY": public_key,
            "RUNPOD_API_KEY": runpod.pod_key(machine.id),
            "RUNPOD_POD_ID": machine.id,
            **env,
        }
        command = script(f"{base}/v1", f"{base}/graphql", root=str(root), every="0.1", sshd=sshd)
        self.process = subprocess.Popen(["bash", "-c", command], env=given, start_new_session=True)

    def run(self, *argv: str) -> None:
        subprocess.run([str(self.root / "usr/local/sbin" / argv[0]), *argv[1:]], check=True)

    @property
    def until(self) -> str:
        return (self.root / "run/lyc-pod/until").read_text().strip()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Start = Callable[..., Pod]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud({OFFER: None})


@pytest.fixture
def app(cloud: Cloud) -> App:
    return runpod.app(cloud, "account-key")


@pytest.fixture
def base(app: App) -> Iterator[str]:
    with serve(app) as base:
        yield base


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whoever rents: a key pair of the controller's."""
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def public_key(key: Path) -> str:
    return key.with_suffix(".pub").read_text().strip()


@pytest.fixture
def start(tmp_path: Path, base: str, cloud: Cloud, public_key: str) -> Iterator[Start]:
    if not Path("/usr/sbin/sshd").exists():
        pytest.skip("sshd is not installed (Debian and Ubuntu: apt install openssh-server)")
    started: list[Pod] = []

    def _start(**env: str) -> Pod:
        pod = Pod(tmp_path, base, cloud.launch("lyc-0123abcd-89ef4567", OFFER), public_key, **env)
        started.append(pod)
        keys = tmp_path / "root/.ssh/authorized_keys"
        awaited(lambda: keys.exists() and keys.read_text() == f"{public_key}\n", 20, "nobody may log in")
        return pod

    yield _start
    for pod in started:
        pod.kill()


def test_our_key_may_log_in_and_the_hosts_key_is_its_own(start: Start, key: Path, tmp_path: Path) -> None:
    (tmp_path / "etc/ssh").mkdir(parents=True)
    (tmp_path / "etc/ssh/ssh_host_ed25519_key.pub").write_text("one that everybody has\n")
    pod = start()
    assert pod.until == "never"
    options = ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={tmp_path}/known"]
    ssh = ["ssh", "-F", "none", *options, "-i", key, "-p", str(pod.port), f"{getpass.getuser()}@127.0.0.1"]

    def logs_in() -> bool:
        shown = tmp_path / "etc/ssh/ssh_host_ed25519_key.pub"
        if not shown.exists():
            return False
        (tmp_path / "known").write_text(f"[127.0.0.1]:{pod.port} {shown.read_text()}")
        done = subprocess.run([*ssh, "env"], capture_output=True, text=True, check=False)
        return done.returncode == 0 and "RUNPOD_API_KEY" not in done.stdout

    awaited(logs_in, 20, "the key does not open it")
    assert "everybody" not in (tmp_path / "known").read_text()


def test_without_an_end_it_stays(start: Start, cloud: Cloud) -> None:
    pod = start()
    pod.run("shutdown", "-P", "+60")
    assert abs(int(pod.until) - time.time() - 3600) < 5
    pod.run("shutdown", "-c")
    assert pod.until == "never"
    assert cloud.alive() == [pod.machine]


def test_at_its_end_it_gives_itself_back(start: Start, cloud: Cloud) -> None:
    start(LYC_ENDS_AT=str(int(time.time()) + 1))
    awaited(lambda: not cloud.alive(), 20, "the pod is still there")
    assert cloud.calls_of("terminate")[0].headers["authorization"].startswith("Bearer pod-")


@pytest.mark.parametrize("argv", [("poweroff",), ("halt",), ("shutdown", "now"), ("shutdown", "-h", "+0")])
def test_to_power_off_is_to_give_it_back(start: Start, cloud: Cloud, argv: tuple[str, ...]) -> None:
    pod = start()
    pod.run(*argv)
    awaited(lambda: not cloud.alive(), 20, "the pod is still there")


def test_it_asks_until_it_is_heard(start: Start, cloud: Cloud, app: App) -> None:
    app.faults.add(Fault("terminate", "refuse", times=9), Fault("terminate-self", "status", code=500, times=3))
    start(LYC_ENDS_AT="1")
    awaited(lambda: not cloud.alive(), 20, "the pod is still there")
    assert len(cloud.calls_of("terminate-self")) >= 4


def test_a_lease_does_not_move_the_time_limit(start: Start, cloud: Cloud) -> None:
    pod = start(LYC_ENDS_AT=str(int(time.time()) + 2))
    pod.run("shutdown", "-P", "+60")
    awaited(lambda: not cloud.alive(), 20, "the pod is still there")


def test_lycs_lease_holds_it_and_silence_ends_it(start: Start, cloud: Cloud) -> None:
    """What lyc's agent does in a pod, where there is no timer of systemd."""
    pod = start()
    place = pod.root / "run/lyc-pod/until"
    for _ in range(3):
        assert hold(place, str(int(time.time() + 60)))
    assert cloud.alive() == [pod.machine]
    assert hold(place, "never")
    assert hold(place, str(int(time.time()) + 1))
    awaited(lambda: not cloud.alive(), 20, "the pod is still there")


def test_only_a_pod_is_held(tmp_path: Path) -> None:
    assert not hold(tmp_path / "until", "never")
    assert list(tmp_path.iterdir()) == []


def test_the_watch_and_the_lease_mean_one_file() -> None:
    assert f'D="$R{POD.parent}"' in script("", "")
    assert f'"$D/{POD.name}"' in script("", "")


def test_a_lease_outlives_the_container(start: Start, tmp_path: Path) -> None:
    (tmp_path / "run/lyc-pod").mkdir(parents=True)
    (tmp_path / "run/lyc-pod/until").write_text("4102444800\n")
    assert start().until == "4102444800"


def test_a_boot_script_runs_beside(start: Start, tmp_path: Path) -> None:
    text = f"#!/bin/sh\necho booted >{tmp_path}/booted\n"
    start(LYC_BOOT_SCRIPT=base64.b64encode(text.encode()).decode())
    awaited((tmp_path / "booted").exists, 20, "the boot script was not run")


def test_another_pods_key_is_good_for_nothing(start: Start, cloud: Cloud) -> None:
    start(LYC_ENDS_AT="1", RUNPOD_API_KEY="pod-other")
    awaited(lambda: len(cloud.calls_of("terminate")) > 3, 20, "it does not ask")
    assert len(cloud.alive()) == 1


def test_the_key_is_in_no_argv_and_in_no_file(start: Start, cloud: Cloud, tmp_path: Path) -> None:
    pod = start(LYC_ENDS_AT="1", RUNPOD_API_KEY="pod-very-secret")
    seen: set[bytes] = set()

    def look() -> bool:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    if os.getsid(int(entry.name)) == pod.process.pid:
                        seen.add((entry / "cmdline").read_bytes())
                except OSError:
                    continue
        return len(cloud.calls_of("terminate")) > 5 and any(line.startswith(b"curl") for line in seen)

    awaited(look, 20, "no curl was seen")
    assert not any(b"very-secret" in line for line in seen)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"very-secret" in path.read_bytes() for path in files)
