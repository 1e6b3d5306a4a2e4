"""The dead-man's switch of a host: runs out, is renewed, outlives a boot, and a clock that jumps means nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lyc.agent.lease import expired
from lyc.hosts.remote.lease_units import EVERY_SECONDS, SERVICE, TIMER, lease_units
from tests.agent.hosted import PROGRAM, ROOT, Hosted, Refusal, await_

RUNS = pytest.mark.slow


@pytest.mark.parametrize(
    ("now", "boot", "expected"),
    [
        (100.0, "b1", False),
        (159.9, "b1", False),
        (160.0, "b1", True),
        (90.0, "b1", False),
        (59.9, "b2", False),  # after a boot, from the boot on
        (60.0, "b2", True),
    ],
)
def test_when_it_has_run_out(now: float, boot: str, expected: bool) -> None:
    held = {"seconds": 60, "action": "stop", "boottime": 100.0, "boot_id": "b1"}
    assert expired(held, now, boot) is expected


@pytest.fixture
def watched(hosted: Hosted) -> Iterator[Hosted]:
    """With the timer as bootstrapping leaves it, but for looking each second."""
    units = lease_units(ROOT, "/usr/bin/python3", PROGRAM)
    units[TIMER] = units[TIMER].replace(f"0/{EVERY_SECONDS}", "0/1").replace("AccuracySec=5s", "AccuracySec=100ms")
    place = hosted.machine.root / "etc/systemd/system"
    for name, text in units.items():
        (place / name).write_text(text)
    hosted.machine.shell(f"systemctl daemon-reload; systemctl start {TIMER}")
    yield hosted
    hosted.machine.start()
    hosted.machine.wait()
    hosted.machine.shell(f"systemctl stop {TIMER} {SERVICE}; rm -f {ROOT}/lease.json /etc/systemd/system/lyc-lease.*")
    hosted.machine.shell("systemctl daemon-reload")


@RUNS
def test_silence_stops_what_runs(watched: Hosted) -> None:
    assert watched.call("lease-check") == {"expired": False, "stopped": []}
    watched.start("kept-1.1")
    watched.start("kept-2.1", owner="another")
    watched.reaches("kept-1.1", state="running")
    began = time.monotonic()
    while time.monotonic() - began < 3:  # renewed for longer than it lasts
        watched.call("lease", request={"seconds": 2, "action": "stop"})
    assert watched.status("kept-1.1")["state"] == "running"
    watched.reaches("kept-1.1", state="exited")
    await_(lambda: watched.status("kept-2.1", "another")["state"] == "exited", "the other is stopped too")
    watched.reaches("kept-1.1", gave_up=True)
    said = watched.machine.shell(f"journalctl -q -o cat -u {SERVICE}")
    assert "lyc: stopped kept-1.1, kept-2.1: " in said
    assert "nothing was heard of the controller for 2 s" in said
    assert watched.machine.on
    watched.call("lease", request={"seconds": 60, "action": "stop"})
    watched.start("kept-1.1")
    watched.reaches("kept-1.1", state="running")
    watched.call("lease", request={"seconds": None, "action": "none"})
    assert watched.machine.shell(f"ls {ROOT}/lease.json 2>&1 || true").startswith("ls: cannot access")
    watched.call("stop", "kept-1.1", "--grace", "5")
    watched.call("remove", "kept-1.1", "kept-2.1")


@RUNS
def test_a_rented_host_powers_off(watched: Hosted) -> None:
    watched.call("lease", request={"seconds": 1, "action": "poweroff"})
    await_(lambda: not watched.machine.on, "it is off", 30)


@RUNS
def test_what_makes_no_sense(hosted: Hosted) -> None:
    for request in (
        {"seconds": 5, "action": "explode"},
        {"seconds": -1, "action": "stop"},
        {"seconds": "x", "action": "stop"},
    ):
        with pytest.raises(Refusal) as caught:
            hosted.call("lease", request=request)
        assert caught.value.ref == "bad-request"


@RUNS
def test_a_broken_lease_stops_nothing(hosted: Hosted) -> None:
    (hosted.machine.root / ROOT[1:] / "lease.json").write_text("{")
    assert hosted.call("lease-check") == {"expired": False, "stopped": []}
    (hosted.machine.root / ROOT[1:] / "lease.json").unlink()
