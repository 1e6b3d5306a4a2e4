"""Two controllers and one host: each does its own work there, one at a time, and leaves the other's alone.

One story, in the order of this file: weights that the disk has no room for, a host that is held meanwhile, both at the
same moment, both side by side, one that goes, `--host any`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.away import Home, Served, home
from tests.e2e.harness import FAST, wait_for
from tests.lab.fixtures import lab, lend_engines
from tests.lab.lab import Lab
from tests.lab.machine import Machine

__all__ = ["lab"]
pytestmark = pytest.mark.engine
MIB = 1 << 20
LINK_KBIT = 8_000
"""The weights of the sample take ten seconds over it."""
SPARE = 2 << 30
"""What a host must have free beside the weights: `_ROOM` of lyc.engines.preflight_system."""
OLD_ENGINE = "engines/vllm-old-0.1.0/0123456789abcdef"
"""By its name the last that is looked at."""
ROOT = "var/lib/lyc"


@dataclass
class Place:
    """Both controllers know host `box`; the second one knows `spare` too, which was never prepared."""

    box: Machine
    one: Home
    two: Home
    served: dict[str, Served] = field(default_factory=dict)

    def deploy(self, name: str) -> tuple[str, ...]:
        return ("deploy", "sample:tiny", "--name", name, "--host", "box", *FAST)

    @property
    def root(self) -> Path:
        return self.box.root / ROOT

    def arrived(self) -> int:
        """Bytes of weights in the store of the host, whole or not."""
        return sum(file.stat().st_size for file in (self.root / "store").rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def place(lab: Lab, weights_cache: Path) -> Iterator[Place]:
    lent = lend_engines(lab, 2)
    with home(weights_cache) as one, home(weights_cache) as two:
        for each, known in ((one, ("box",)), (two, ("box", "spare"))):
            for alias, machine in zip(("box", "spare"), lent, strict=True):
                if alias in known:
                    each.knows(lab, alias, machine)
                    each.lyc.run("hosts", "add", f"ssh://root@{alias}", "--accept-host-key", "accept-new")
        yield Place(lent[0], one, two)
        lent[0].restore()
    lab.give_back(lent, spoiled=True)


def test_a_disk_that_fills_while_weights_are_pushed(place: Place) -> None:
    """Clear, and nothing counts that is half there; meanwhile the host is held, and who comes is told by whom."""
    box, one, two = place.box, place.one.lyc, place.two.lyc
    assert one.json("hosts", "prepare", "box")["changed"]
    assert not two.json("hosts", "prepare", "box")["changed"]
    box.shape(kbit=LINK_KBIT)
    try:
        deploy = one.start(*place.deploy("ours"), "--json")
        wait_for(lambda: place.arrived() > MIB, 60, "some of the weights")
        locked = two.error(*place.deploy("theirs"), code=7)
        assert (locked["ref"], locked["retry"]) == ("host-locked", "later")
        assert "deploying ours" in locked["why"]
        assert locked["hint"].startswith("lyc hosts unlock box")
        assert two.json("ls")["deployments"] == []
        assert deploy.poll() is None
        box.fill()
        out, err = deploy.communicate(timeout=60)
    finally:
        box.shape()
        box.unfill()
    error = json.loads(out)["error"]
    assert (deploy.returncode, error["ref"]) == (1, "no-space"), err
    assert error["hint"].startswith("lyc hosts prune box")
    assert one.json("ls")["deployments"] == []
    use = one.json("hosts", "show", "box")["use"]
    assert (use["snapshots"], use["processes"], use["lock"]) == (0, {}, None)
    assert place.arrived() > MIB, "what came is kept"


def test_both_at_the_same_moment(place: Place) -> None:
    """One is first; the other waits, or is told to come again. Where room is short it is made, and not with what they
    are about to use.
    """
    old = place.root / OLD_ENGINE
    place.box.shell(f"mkdir -p /{ROOT}/{OLD_ENGINE} && fallocate -l 1G /{ROOT}/{OLD_ENGINE}/lyc-complete")
    place.box.fill(leave=SPARE - (512 << 20))
    both = {"ours": place.one.lyc, "theirs": place.two.lyc}
    try:
        begun = {name: lyc.start(*place.deploy(name), "--json") for name, lyc in both.items()}
        ended = {name: (*process.communicate(timeout=480), process.returncode) for name, process in begun.items()}
        codes = sorted(code for _, _, code in ended.values())
        print(f"\nat the same moment: exit codes {codes}")
        assert codes in ([0, 0], [0, 7]), ended
        for name, (out, _, code) in ended.items():
            if code == 7:
                assert json.loads(out)["error"]["ref"] == "host-locked"
            document = both[name].json(*place.deploy(name)) if code else json.loads(out)
            place.served[name] = Served(both[name], place.box, document)
        assert not old.exists()
        said = "".join(err for _, err, _ in ended.values())
        assert "to make room: engine vllm-old-0.1.0/0123456789abcdef, 1.0 GiB" in said
    finally:
        place.box.unfill()
    for served in place.served.values():
        if served.deployed["key"] is None:
            served.deployed["key"] = served.lyc.json("keys", "create", served.name)["key"]
        assert served.answers()


def test_side_by_side(place: Place) -> None:
    """Each sees what is its own, and that somebody else is there."""
    for served in place.served.values():
        use = served.lyc.json("hosts", "show", "box")["use"]
        assert [identity.rpartition("-")[0] for identity in use["processes"]] == [f"{served.name}-1"]
        assert (use["others"], use["lock"], use["snapshots"]) == (1, None, 1)
        assert served.lyc.json("hosts", "prune", "box")["removed"] == []


def test_any_takes_the_host_that_holds_the_weights(place: Place) -> None:
    """Of two that fit; as soon as that is decided it is over here, for another start would prove nothing."""
    two = place.two.lyc
    two.run("deploy", "sample:tiny", "--name", "other", "--host", "any", *FAST, "--no-wait", code=8)
    (replica,) = wait_for(lambda: two.status("other")["replica_list"], 60, "a replica")
    assert replica["host"] == "box"
    two.run("down", "other", "--yes", "--drain-timeout", "1")
    two.run("hosts", "rm", "spare", "--purge", "--yes")


def test_one_goes_and_the_other_stays(place: Place) -> None:
    """Neither what a new controller sweeps, nor a down, nor a purge takes anything from the other."""
    ours, theirs = place.served["ours"], place.served["theirs"]
    before = theirs.replica()["pid"]
    os.kill(ours.lyc.controller_pid(), signal.SIGKILL)
    wait_for(lambda: ours.replica()["pid"], 30, "word of the host")
    ours.lyc.run("down", ours.name, "--yes", "--drain-timeout", "1")
    refused = ours.lyc.error("hosts", "rm", "box", "--purge", "--yes", code=1)
    assert refused["ref"] == "host-in-use"
    assert refused["hint"].startswith("lyc hosts rm box --purge --force")
    assert theirs.answers()
    assert theirs.well()["pid"] == before
    theirs.lyc.run("down", theirs.name, "--yes", "--drain-timeout", "1")
    ours.lyc.run("hosts", "rm", "box", "--purge", "--yes")
    os.kill(theirs.lyc.controller_pid(), signal.SIGKILL)  # so that the next one visits the host at once
    wait_for(lambda: not theirs.lyc.json("hosts", "show", "box")["prepared"], 60, "that it is seen to be bare")
    assert place.box.shell(f"ls -d /{ROOT} /etc/systemd/system/lyc* 2>/dev/null; getent passwd lyc; true") == ""
    assert theirs.lyc.error("hosts", "prune", "box", code=1)["ref"] == "host-not-prepared"
