"""A host whose clock is set while engines run there: what is counted in seconds goes on, and no line is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from lyc.agent.lock import boottime
from tests.agent.hosted import Hosted, Refusal, await_
from tests.lab.clock import Clock

pytestmark = pytest.mark.slow
DAY = 86400
JUMPS = (3 * DAY, -3 * DAY, 0)
WHO = {"owner": "me", "who": "me@here", "reason": "deploying"}


@pytest.fixture
def clock(own_host: Hosted) -> Iterator[Clock]:
    made = Clock(own_host.machine)
    own_host.prefix = made.prefix
    yield made
    own_host.prefix = ""
    made.close()


def told(host: Hosted, port: int | None, clock: str) -> float:
    """What an engine there is told of a clock."""
    return float(host.ask(port, f"__import__('time').clock_gettime(__import__('time').CLOCK_{clock})"))


def test_a_clock_that_jumps_there_and_back(own_host: Hosted, clock: Clock) -> None:
    host = own_host
    port = host.start("clock-1.1", env={"PATH": "/usr/bin:/bin"} | clock.environ)
    before = host.reaches("clock-1.1", state="running")
    host.call("lock", request=WHO)
    host.call("lease", request={"seconds": 60, "action": "stop"})
    spoken = 0
    with host.watch() as watched:
        for jump in JUMPS:
            clock.set(jump)
            assert told(host, port, "REALTIME") == pytest.approx(time.time() + jump, abs=5), "the clock was set"
            assert told(host, port, "BOOTTIME") == pytest.approx(boottime(), abs=5)
            assert host.tell(port, f"[print('number', i, flush=True) for i in range({spoken}, {spoken + 50})] and 1")
            spoken += 50

            use = host.call("use", request={"owner": "me"})
            assert 0 <= use["lock"]["age"] < 50
            assert 10 < use["lease"]["left"] <= 60
            assert host.call("lease-check") == {"expired": False, "stopped": []}
            with pytest.raises(Refusal, match=r"since [0-9]+ s:"):
                host.call("lock", request=WHO | {"owner": "another"})
            assert host.status("clock-1.1") == before
            watched.until(lambda: f"number {spoken - 1}" in watched.lines("clock-1.1"), "the last line")  # noqa: B023
        lines = [(at, text) for each in watched.documents if each["t"] == "log" for at, text in each["lines"]]
    numbers = [(at, int(text.split()[1])) for at, text in lines if text.startswith("number ")]
    assert [number for _, number in numbers] == [*range(spoken)], "each line once, in the order in which it was said"
    assert min(later - earlier for (earlier, _), (later, _) in pairwise(numbers)) < -5 * DAY, "with that clock's times"


def test_a_lease_runs_out_though_the_clock_goes_back(own_host: Hosted, clock: Clock) -> None:
    host = own_host
    host.start("clock-2.1")
    host.reaches("clock-2.1", state="running")
    host.call("lease", request={"seconds": 2, "action": "stop"})
    clock.set(-3 * DAY)
    assert await_(lambda: host.call("lease-check")["stopped"], "it has run out", 10) == ["clock-2.1"]
    host.reaches("clock-2.1", state="exited")
