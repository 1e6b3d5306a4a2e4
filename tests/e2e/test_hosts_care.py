"""Looking after a host: prepared, locked, pruned, purged, by the real command against whole machines."""

from __future__ import annotations

import json
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
LEFT = "ls -d /var/lib/lyc /etc/systemd/system/lyc* 2>/dev/null; getent passwd lyc; getent group lyc; true"
AGENT = "/var/lib/lyc/python3 -I /var/lib/lyc/agent/*.pyz --root /var/lib/lyc"


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Callable[[], Lyc]]:
    """Homes of lyc that know hosts of the lab by one configuration of SSH."""
    folder = Path(tempfile.mkdtemp(prefix="lyc-care-"))
    (folder / "config").write_text(f"UserKnownHostsFile {folder}/known\nKexAlgorithms curve25519-sha256\n")
    made: list[Lyc] = []

    def another() -> Lyc:
        lyc = make(folder / f"lyc{len(made)}", tmp_path / "cache")
        lyc.env["LYC_SSH_CONFIG"] = str(folder / "config")
        made.append(lyc)
        return lyc

    yield another
    for lyc in made:
        lyc.close()
    shutil.rmtree(folder)


def test_a_host_from_bare_to_bare(homes: Callable[[], Lyc], lab: Lab, machines: Borrow) -> None:
    (machine,) = machines(1)
    lyc = homes()
    with Path(lyc.env["LYC_SSH_CONFIG"]).open("a") as file:
        file.write(lab.host_block("h", machine))
    assert machine.shell(LEFT) == ""

    added = lyc.json("hosts", "add", "h", "--name", "gpu1", "--accept-host-key", "accept-new", "--lease", "15m")
    assert (added["prepared"], added["lease_seconds"], added["replicas"]) == (False, 900, [])
    assert machine.shell(LEFT) == "", "to look at a host changes nothing there"
    assert lyc.error("hosts", "prune", "gpu1", code=1)["hint"].startswith("lyc hosts prepare gpu1")

    closed = machine.root / "etc/ssh/sshd_config.d/closed.conf"
    closed.write_text("AllowTcpForwarding no\n")
    machine.restart_sshd()
    assert lyc.error("hosts", "prepare", "gpu1", code=1)["ref"] == "no-forwarding"
    assert machine.shell(LEFT) == ""
    closed.unlink()
    machine.restart_sshd()

    assert lyc.json("hosts", "prepare", "gpu1")["changed"]
    again = lyc.run("hosts", "prepare", "gpu1")
    assert again.stderr == "✓ gpu1 was prepared already\n"
    shown = lyc.json("hosts", "show", "gpu1")
    use = shown["use"]
    assert (shown["prepared"], shown["use_error"], use["root"], use["mode"]) == (True, None, "/var/lib/lyc", "system")
    assert (use["lock"], use["engines"], use["snapshots"], use["processes"], use["others"]) == (None, {}, 0, {}, 0)
    assert "prepared, system mode, in /var/lib/lyc" in lyc.run("hosts", "show", "gpu1").stdout

    other = homes()
    other.run("hosts", "add", "h", "--name", "box", "--accept-host-key", "accept-new")
    assert other.json("hosts", "prepare", "box")["changed"] is False
    held = json.dumps({"owner": "ops", "who": "ops@ci", "reason": "deploying b"})
    machine.shell(f"echo '{held}' | {AGENT} lock")
    for verb in ("unlock", "prune"):
        locked = lyc.error("hosts", verb, "gpu1", code=7)
        assert (locked["ref"], "ops@ci" in locked["what"]) == ("host-locked", True)
        assert "gpu1" in locked["hint"]
    assert "held by ops@ci for" in lyc.run("hosts", "show", "gpu1").stdout
    unlocked = lyc.json("hosts", "unlock", "gpu1", "--force")
    assert (unlocked["unlocked"], unlocked["lock"]["reason"]) == (True, "deploying b")
    assert lyc.json("hosts", "unlock", "gpu1")["lock"] is None

    old = "/var/lib/lyc/engines/vllm-0.1.0/0123456789abcdef"
    machine.shell(f"mkdir -p {old} && head -c 1000000 /dev/urandom >{old}/lyc-complete")
    would = lyc.json("hosts", "prune", "gpu1", "--dry-run")
    (engine,) = [one for one in would["removed"] if one["kind"] == "engine"]
    assert (engine["name"], engine["bytes"] >= 1000000) == ("vllm-0.1.0/0123456789abcdef", True)
    assert lyc.json("hosts", "prune", "gpu1", "--free", "1")["removed"] == [], "so much is free"
    assert lyc.json("hosts", "prune", "gpu1")["removed"] == would["removed"]
    assert machine.shell(f"ls -d {old} 2>/dev/null; true") == ""
    assert lyc.run("hosts", "prune", "gpu1").stderr == "✓ gpu1 holds nothing that may go\n"

    assert "what lyc put there stays" in other.run("hosts", "rm", "box").stderr
    assert lyc.error("hosts", "rm", "gpu1", "--purge", code=2)["ref"] == "needs-confirmation"
    assert machine.shell(LEFT) != ""
    assert lyc.json("hosts", "rm", "gpu1", "--purge", "--yes")["purged"]
    assert machine.shell(LEFT) == ""
    assert lyc.json("hosts", "ls")["hosts"] == []
    machine.shell("! systemctl list-units --all --plain --no-legend 'lyc*' | grep .")


def test_a_lease_where_nobody_would_watch_over_it(homes: Callable[[], Lyc], lab: Lab, machines: Borrow) -> None:
    (machine,) = machines(1)
    lyc = homes()
    with Path(lyc.env["LYC_SSH_CONFIG"]).open("a") as file:
        file.write(lab.host_block("h", machine, "User plain"))
    error = lyc.error("hosts", "add", "h", "--accept-host-key", "accept-new", "--lease", "15m", code=1)
    assert (error["ref"], error["where"]) == ("no-lease", "--lease")
    assert lyc.json("hosts", "ls")["hosts"] == []
    added = lyc.json("hosts", "add", "h", "--accept-host-key", "accept-new")
    assert added["lease_seconds"] is None
    lyc.run("hosts", "rm", added["name"])
