"""The lab does what it says: hosts are real, faults are real, and nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.control_group import ControlGroup
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.network import SUBNET, run
from tests.lab.podman import ENGINE, IMAGE
from tests.lab.rootfs import cache

pytestmark = pytest.mark.slow
Borrow = Callable[[int], list[Machine]]


def banner(machine: Machine, port: int = 22) -> bytes:
    with machine.network.dial(machine.address, port) as connection:
        connection.settimeout(1.5)
        try:
            return connection.recv(4)
        except TimeoutError:
            return b""


def test_hosts_are_whole_machines(machines: Borrow) -> None:
    one, two = machines(2)
    for command in ("hostname", "cat /etc/machine-id", "cat /proc/sys/kernel/random/boot_id", "cat /etc/ssh/*.pub"):
        assert one.shell(command) != two.shell(command)
    assert one.shell("systemctl is-system-running --wait || true").strip() in ("running", "degraded")
    assert one.shell("su ubuntu -c 'sudo -n id -u'").strip() == "0"
    assert one.shell("su plain -c 'sudo -n id -u' 2>&1 || true").strip() != "0"


def test_this_machines_own_network_is_left_alone(machine: Machine) -> None:
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert "br0" not in links
    assert f"v{machine.name}" not in links


def test_power(machine: Machine) -> None:
    before = machine.boot_id()
    machine.power_cut()
    assert not machine.on
    with pytest.raises(OSError, match=r"."):
        banner(machine)
    machine.start()
    machine.wait()
    between = machine.boot_id()
    machine.reboot()
    assert len({before, between, machine.boot_id()}) == 3


def test_frozen_then_thawed(machine: Machine) -> None:
    machine.freeze()
    assert banner(machine) == b""
    machine.thaw()
    assert banner(machine) == b"SSH-"


def test_cable_out_and_in(machine: Machine) -> None:
    machine.cut()
    with pytest.raises(ConnectionError):
        banner(machine)
    machine.join()
    assert banner(machine) == b"SSH-"


def test_firewall(machine: Machine) -> None:
    machine.shell("systemd-run --unit=web python3 -m http.server 8000")
    machine.blackhole(22)
    with pytest.raises(ConnectionError):
        banner(machine)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            machine.network.dial(machine.address, 8000).close()
            break
        except ConnectionError:
            continue
    else:
        pytest.fail("another port is closed too")
    machine.unblackhole()
    assert banner(machine) == b"SSH-"
    machine.shell("systemctl stop web")


def round_trip(machine: Machine) -> float:
    began = time.monotonic()
    assert banner(machine) == b"SSH-"
    return time.monotonic() - began


def test_slow_link(machine: Machine) -> None:
    fast = min(round_trip(machine) for _ in range(5))
    machine.shape(delay_ms=100)
    slow = min(round_trip(machine) for _ in range(3))
    assert slow - fast > 0.3  # two there and back: the connection, the banner
    machine.shape()
    deadline = time.monotonic() + 20
    while round_trip(machine) - fast > 0.1:  # another load of this machine may be behind one of them
        assert time.monotonic() < deadline


def test_full_disk(machine: Machine) -> None:
    machine.fill()
    with pytest.raises(RuntimeError, match="No space left"):
        machine.shell("head -c 100000 /dev/zero >/srv/x")
    machine.unfill()
    machine.shell("head -c 100000 /dev/zero >/srv/x")


def test_nvidia_smi_says_what_it_is_told(machine: Machine) -> None:
    machine.nvidia_smi({"--query-gpu=*": "0, H100\n", "": "table\n"})
    assert machine.shell("nvidia-smi --query-gpu=index,name --format=csv") == "0, H100\n"
    assert machine.shell("nvidia-smi") == "table\n"
    machine.nvidia_smi({"*": "has failed\n"}, code=9)
    with pytest.raises(RuntimeError, match="ended with 9"):
        machine.shell("nvidia-smi -L")


def test_cards_are_nodes_that_units_allow(machine: Machine) -> None:
    def opened() -> str:
        unit = "systemd-run --quiet --pipe --wait -p DevicePolicy=closed -p 'DeviceAllow=/dev/char/195:5 rw'"
        return machine.shell(f"{unit} -p User=plain sh -c 'cat /dev/nvidia5 /dev/nvidia4' 2>&1 || true")

    machine.cards([5, 4])
    for _ in range(2):
        assert re.findall(r"(/dev/\w+): (No such device|Operation not permitted)", opened()) == [
            ("/dev/nvidia5", "No such device"), ("/dev/nvidia4", "Operation not permitted")
        ]  # fmt: skip
        assert machine.shell("cat /proc/driver/nvidia/gpus/*/information | grep -c Minor") == "2\n"
        assert machine.shell("nvidia-smi -L | wc -l") == "2\n"
        machine.reboot()
    machine.no_cards()
    machine.shell('! ls -d /dev/nvidia* && ! ls /proc/driver/nvidia && [ -z "$(ls /opt)" ]')


def test_memory_that_runs_out(machine: Machine) -> None:
    def grow(*words: str) -> str:
        script = "x = bytearray(200 << 20); print(len(x))"
        return machine.shell(f"systemd-run --wait --pipe {' '.join(words)} python3 -c '{script}' 2>&1 || true")

    assert "code=killed/status=KILL" in grow("-p MemoryMax=50M")
    machine.limit_memory(120 << 20)
    assert "code=killed/status=KILL" in grow()
    machine.shell("systemctl is-active ssh dbus")
    machine.limit_memory(None)
    assert "209715200\n" in grow()


def test_a_host_that_was_mistreated_comes_back_well(lab: Lab) -> None:
    (one,) = lab.borrow()
    one.shape(delay_ms=50)
    one.cut()
    one.fill()
    one.freeze()
    lab.give_back([one])
    (again,) = lab.borrow()
    assert again is one
    assert again.shell("echo well >/srv/x; cat /srv/x") == "well\n"
    lab.give_back([again], spoiled=True)
    assert not one.folder.exists()
    assert not one.network.of(one.name).exists()


@pytest.mark.engine
def test_hosts_with_an_engine(engine_machines: Callable[..., list[Machine]]) -> None:
    at = "/var/lib/lyc/engines/build/digest"
    one, two = engine_machines(2, at=at)
    script = "import ctypes, sys, torch; ctypes.CDLL('libnuma.so.1'); print(sys.prefix, torch.zeros(2).tolist())"
    told = one.shell(f"su plain -s /bin/sh -c '{at}/bin/python -'", stdin=script)
    assert told.splitlines()[-1] == f"{at} [0.0, 0.0]"
    assert one.shell(f"head -n 1 {at}/bin/vllm") == f"#!{at}/bin/python\n"
    one.shell("rm -rf /var/lib/lyc")
    assert one.shell("ls /var/lib").split().count("lyc") == 0
    assert two.shell(f"ls {at}/lyc-complete {at}/lib/python3*/site-packages/torch/__init__.py")


@pytest.mark.engine
def test_hosts_with_containers(container_machines: Borrow) -> None:
    (machine,) = container_machines(1)
    run = (
        f"systemd-run --pipe --wait --quiet -p Delegate=yes podman run --rm --cgroups=split --entrypoint=python {IMAGE}"
    )
    script = "import ctypes, sys; ctypes.CDLL('libnuma.so.1'); print(sys.prefix, open('/proc/1/comm').read())"
    assert machine.shell(f'{run} -c "{script}"') == f"{ENGINE} python\n\n"
    grow = f"{run.replace('--rm', '--rm --memory=60m')} -c 'bytearray(100 << 20)'"
    with pytest.raises(RuntimeError, match="ended with 137"):
        machine.shell(grow)
    machine.reboot()
    assert machine.shell("podman images --format '{{.Repository}}:{{.Tag}}'") == f"{IMAGE}\n"


KILLED = """
import os, sys, time
from tests.lab.lab import Lab
lab = Lab()
machine, = lab.borrow()
machine.shape(delay_ms=5)
print(lab.name, flush=True)
time.sleep(60)
"""


def test_an_address_that_is_given_anew_is_looked_for_anew(machine: Machine) -> None:
    """While another host keeps the bridge up, the kernel would go on sending to the link that is gone."""
    network, address = machine.network, f"{SUBNET}.99"
    known = ("ip", "-n", network.name, "neigh")
    run(*known, "replace", address, "lladdr", "02:00:00:00:00:01", "dev", "br0", "nud", "reachable")
    network.plug("again", address)
    try:
        assert run(*known, "show", "to", address) == ""
    finally:
        network.unplug("again")


def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, env=env) as killed:
        assert killed.stdout
        name = killed.stdout.readline().strip()
        killed.send_signal(signal.SIGKILL)
    left = ControlGroup(name)
    assert left.pids()
    Lab().close()
    assert left.pids() == []
    assert not (cache() / "labs" / name).exists()
    assert list(Path("/run/netns").glob(f"{name}*")) == []
    assert name not in Path("/proc/self/mounts").read_text()
