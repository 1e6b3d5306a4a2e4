"""`lyc hosts` against whole machines: real systemd, users and reboots, and cards as nvidia-smi tells of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Lyc, make
from tests.lab.fixtures import lab, machines
from tests.lab.lab import Lab
from tests.lab.machine import Machine

__all__ = ["lab", "machines"]
pytestmark = pytest.mark.slow
Borrow = Callable[[int], list[Machine]]
SMI = {
    "--query-gpu=name,memory.total*": "".join(
        f"NVIDIA H100 80GB HBM3, 81559, {81076 if number else 9020}, 9.0, GPU-{number}, 580.95.05\n"
        for number in range(8)
    ),
    "--query-gpu=uuid,mig*": "GPU-0, Disabled\n",
    "--query-compute-apps=*": "GPU-0, 1, /sbin/init, 72048\n",
    "-L": "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)\n",
    "": "| NVIDIA-SMI 580.95.05   Driver Version: 580.95.05   CUDA Version: 13.0 |\n",
}


@pytest.fixture
def lyc(tmp_path: Path) -> Iterator[Lyc]:
    folder = Path(tempfile.mkdtemp(prefix="lyc-lab-hosts-"))
    made = make(folder / "lyc", tmp_path / "cache")
    made.env["LYC_SSH_CONFIG"] = str(folder / "config")
    (folder / "config").write_text(f"UserKnownHostsFile {folder}/known\nKexAlgorithms curve25519-sha256\n")
    yield made
    if (made.home / "lyc.db").exists():
        for host in made.json("hosts", "ls")["hosts"]:
            made.run("hosts", "rm", host["name"])
    made.close()
    shutil.rmtree(folder)


def knows(lyc: Lyc, lab: Lab, alias: str, machine: Machine, *lines: str) -> None:
    with Path(lyc.env["LYC_SSH_CONFIG"]).open("a") as file:
        file.write(lab.host_block(alias, machine, *lines))


def test_a_machine_with_cards_through_its_life(lyc: Lyc, lab: Lab, machines: Borrow) -> None:
    (machine,) = machines(1)
    machine.nvidia_smi(SMI)
    knows(lyc, lab, "h", machine)
    added = lyc.json("hosts", "add", "h", "--name", "gpu1", "--accept-host-key", "accept-new")
    facts = added["facts"]
    assert [card["name"] for card in facts["accelerators"]] == ["h100"] * 8
    assert (facts["hostname"], facts["boot_id"], facts["os_id"]) == (machine.name, machine.boot_id(), "debian")
    assert (facts["driver"], facts["cuda"], facts["mig"]) == ("580.95.05", [13, 0], False)
    assert facts["systemd"] == 252
    assert abs(facts["clock_skew"]) < 1
    assert "rsync" in facts["missing"]
    checks = {check["name"]: check for check in added["checks"]}
    assert (added["state"], checks["disk"]["state"]) == ("unfit", "failed")  # 4 GB are too few for an engine
    assert (checks["systemd"]["state"], checks["rights"]["state"]) == ("passed", "passed")
    assert checks["gpu-memory"]["state"] == "warning"
    command = checks["gpu-memory"]["remedy"].removeprefix("lyc ").split()
    assert "systemd" in lyc.run(*command).stdout
    lyc.run("hosts", "check", "gpu1", code=1)

    machine.nvidia_smi({"*": "Failed to initialize NVML: Driver/library version mismatch\n"}, code=18)
    broken = {check["name"]: check for check in lyc.json("hosts", "check", "gpu1", code=1)["checks"]}
    assert "updated" in broken["gpu"]["found"]
    assert broken["gpu"]["remedy"] == "lyc hosts ssh gpu1 -- sudo reboot"

    machine.nvidia_smi(SMI)
    machine.reboot()
    again = lyc.json("hosts", "check", "gpu1", code=1)
    assert again["facts"]["boot_id"] == machine.boot_id() != facts["boot_id"]

    machine.power_cut()
    assert lyc.error("hosts", "check", "gpu1", code=6)["ref"] == "host-unreachable"
    assert lyc.json("hosts", "show", "gpu1")["state"] == "unreachable"
    machine.start()
    machine.wait()
    machine.change_host_key()
    assert lyc.error("hosts", "check", "gpu1", code=1)["ref"] == "host-key-changed"
    lyc.run("hosts", "add", "h", "--accept-host-key", lyc.error("hosts", "check", "gpu1", code=1)["hint"].split()[-1])
    assert lyc.json("hosts", "show", "gpu1")["state"] == "unfit"


def test_what_an_account_may_do(lyc: Lyc, lab: Lab, machines: Borrow) -> None:
    (machine,) = machines(1)
    for user in ("ubuntu", "plain"):
        knows(lyc, lab, user, machine, f"User {user}")
        lyc.run("hosts", "add", user, "--accept-host-key", "accept-new")
    found = {host["name"]: host["facts"] for host in lyc.json("hosts", "ls")["hosts"]}
    assert {name: (facts["user"], facts["sudo"]) for name, facts in found.items() if name == "ubuntu"} == {
        "ubuntu": ("ubuntu", "free")
    }
    assert found["plain"]["sudo"] in ("none", "password")
    assert found["plain"]["home"] == "/home/plain"
