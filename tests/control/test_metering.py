"""The load of a deployment, reading after reading."""

from __future__ import annotations

from lyc.control.metering import Meter, Passed, sample
from lyc.records.deployment import Replica, ReplicaState
from lyc.records.engine import EngineLoad
from lyc.records.gateway import GatewayStatus
from lyc.records.scaling import Sample


def replica(name: str) -> Replica:
    return Replica(name, "d", 1, "local", ReplicaState.READY, 0, 0, "/s")


def status(**totals: int) -> GatewayStatus:
    active = dict.fromkeys(totals, 2)
    return GatewayStatus("running", 1, active, frozenset(totals), total=totals)


A, B = replica("a"), replica("b")


def test_what_came_between_two_readings_is_counted_once() -> None:
    meter = Meter()
    assert meter.read([A, B], status(a=5, b=1), 0) == Passed(4, 6, 2)
    assert meter.read([A, B], status(a=5, b=3), 4) == Passed(4, 6, 2)
    assert meter.read([A, B], status(a=5, b=3), 4) == Passed(4, 0, 2)


def test_a_gateway_that_is_not_heard_is_no_zero() -> None:
    meter = Meter()
    meter.read([A], status(a=5), 0)
    assert meter.read([A], GatewayStatus("starting"), 1) == Passed(None, 1, None)
    assert meter.read([A], status(a=7), 1) == Passed(2, 2, 1), "nothing of what came meanwhile is lost"


def test_a_gateway_that_began_anew() -> None:
    meter = Meter()
    meter.read([A], status(a=500), 40)
    assert meter.read([A], status(a=3), 2).finished == 5


def test_requests_at_replicas_of_others_do_not_count() -> None:
    assert Meter().read([A], status(a=1, b=100), 0) == Passed(2, 1, 1)


def test_engines_that_say_nothing_are_no_zero_either() -> None:
    assert sample(9.0, Passed(None, 0, None), 3, []) == Sample(9.0, None, 3, 0, None, None, None)
    loads = [EngineLoad(1, 2, None, 0), EngineLoad(1, 3, 0.5, 0), EngineLoad(1, 0, 0.25, 0)]
    assert sample(9.0, Passed(4, 7, 3), 0, loads) == Sample(9.0, 4, 0, 7, 5, 0.5, 3)
