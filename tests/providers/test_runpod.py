"""RunPod's provider against a cloud that answers as RunPod does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from lyc.errors import Failed, NoFit, NotAuthorised, Unreachable
from lyc.ports import Provider
from lyc.providers.runpod import KEY, KIND
from lyc.providers.runpod.provider import RunPod
from lyc.records.rental import Leftover, MachineState
from lyc.records.secret import Secret
from lyc.testing.clouds import runpod
from lyc.testing.clouds.core import Call, Cloud, FakeMachine
from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.server import serve
from lyc.testing.contract.rig import OWNER, Rig
from lyc.testing.provider_contract import ProviderContract
from tests.providers.published import Published

GOOD, EXPIRED = "rpa_GOOD0123456789", "rpa_EXPIRED9876543210"
PUBLISHED = Published("runpod", base="/v1")
SOLD_OUT = {"error": "create pod: There are no instances currently available", "status": 500}


def check(call: Call) -> Sequence[str]:
    """GraphQL has no document that could be checked against; REST has."""
    try:
        PUBLISHED.check([call])
    except Exception as error:  # noqa: BLE001  (jsonschema's own, and ours)
        return [str(error)]
    return []


@pytest.fixture
def rig() -> Iterator[Rig]:
    cloud = Cloud(runpod.CAPACITY)
    app = runpod.app(cloud, GOOD)
    with serve(app) as base:

        def connect(*, expired: bool = False, timeout: float | None = None) -> Provider:
            key = Secret(EXPIRED if expired else GOOD)
            spans = {} if timeout is None else {"timeout": timeout, "create_timeout": timeout}
            return RunPod(key, endpoint=base, clock=time.time, pause=lambda _seconds: None, **spans)

        def limit_of(machine: FakeMachine) -> float | None:
            ends_at = machine.payload["env"].get("LYC_ENDS_AT")
            return None if ends_at is None else int(ends_at) - machine.created_at

        yield Rig(
            KIND, connect, cloud, app.faults, [GOOD, EXPIRED], missing="missing0pod0id", check=check, limit_of=limit_of
        )  # fmt: skip


class TestRunPod(ProviderContract):
    @pytest.fixture
    def rig(self, rig: Rig) -> Rig:
        return rig


def test_it_opens_as_an_account_does(rig: Rig) -> None:
    provider = KIND.open({KEY: Secret(GOOD)}, endpoint="http://127.0.0.1:9", clock=time.time)
    assert provider.capabilities is KIND.capabilities
    provider.close()


def test_sold_out_and_there_all_the_same(rig: Rig) -> None:
    """It has answered so of a pod that stood there a moment later."""
    order = rig.order()
    machine = rig.cloud.launch(order.name, order.offer.id, order.offer.region)
    rig.faults.add(Fault("create", "no-capacity"))
    assert rig.provider.create(order).id == machine.id


def test_an_empty_account(rig: Rig) -> None:
    body = {"error": "create pod: Your account balance is too low to rent this pod", "status": 500}
    rig.faults.add(Fault("create", "status", code=500, body=body))
    with rig.fails(NoFit, "quota-exceeded"):
        rig.provider.create(rig.order())


def test_what_cannot_be_said_for_sure_is_not_said(rig: Rig) -> None:
    """Sold out, as far as it says; whether a pod stands there cannot be asked."""
    rig.faults.add(Fault("create", "no-capacity"), Fault("list", "status", times=99, code=500))
    with rig.fails(Unreachable, "provider-unreachable"):
        rig.provider.create(rig.order())


def test_a_request_that_it_does_not_take(rig: Rig) -> None:
    rig.faults.add(Fault("create", "status", code=400, body={"error": "gpuTypeIds: unknown value", "status": 400}))
    with rig.fails(Failed, "provider-refused"):
        rig.provider.create(rig.order())


def test_an_end_that_it_carries_out_and_denies(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    rig.cloud.end(made.id)
    rig.faults.add(Fault("terminate", "status", times=99, code=500))
    rig.provider.terminate(made.id)


def test_an_end_that_it_does_not_carry_out(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    rig.faults.add(Fault("terminate", "status", times=99, code=500))
    with rig.fails(Unreachable, "provider-unreachable"):
        rig.provider.terminate(made.id)
    rig.faults.clear()
    rig.faults.add(Fault("terminate", "status", code=400))
    with rig.fails(Failed, "provider-refused"):
        rig.provider.terminate(made.id)


def test_an_id_that_it_calls_invalid_is_gone(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    rig.cloud.end(made.id)
    rig.faults.add(Fault("terminate", "status", code=400))
    rig.provider.terminate(made.id)
    assert rig.faults.left == 0


@pytest.mark.parametrize(
    ("code", "kind", "ref"),
    [
        ("UNAUTHENTICATED", NotAuthorised, "provider-denied"),
        ("FORBIDDEN", NotAuthorised, "provider-denied"),
        ("INTERNAL_SERVER_ERROR", Unreachable, "provider-unreachable"),
        ("GRAPHQL_VALIDATION_FAILED", Failed, "provider-refused"),
    ],
)
def test_graphql_fails_with_200(rig: Rig, code: str, kind: type, ref: str) -> None:
    body = {"errors": [{"message": "no", "extensions": {"code": code}}]}
    rig.faults.add(Fault("offers", "status", code=200, body=body))
    with rig.fails(kind, ref):
        rig.provider.offers()


@pytest.mark.parametrize(
    "body",
    [[], {}, {"data": None}, {"data": {}}, {"errors": "no"}, {"data": {"gpuTypes": 1, "dataCenters": 2}}],
    ids=repr,
)
def test_graphql_answers_oddly(rig: Rig, body: object) -> None:
    rig.faults.add(Fault("offers", "status", code=200, body=body))
    with rig.fails(Failed, "provider-odd-answer", "provider-refused"):
        rig.provider.offers()


def test_only_a_pod_of_the_listed_kind_is_asked_for(rig: Rig) -> None:
    order = rig.order()
    rig.provider.create(order)
    (call,) = rig.cloud.calls_of("create")
    assert (call.body["gpuTypeIds"], call.body["volumeInGb"]) == (["NVIDIA H100 80GB HBM3"], 0)
    assert call.headers["authorization"] == f"Bearer {GOOD}"


def test_the_time_limit_is_the_pods_own(rig: Rig) -> None:
    rig.provider.create(replace(rig.order(), time_limit=600.0))
    (call,) = rig.cloud.calls_of("create")
    assert abs(int(call.body["env"]["LYC_ENDS_AT"]) - time.time() - 600) < 5
    # What it takes and acts on nowhere is not relied on.
    assert "terminateAfter" not in str(call.body)


def test_a_pod_that_was_taken_back_has_failed(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    rig.until(made.id, MachineState.RUNNING)
    machine = rig.cloud.machines[made.id]
    machine.state, machine.problem = MachineState.FAILED, "outbid"
    found = rig.provider.get(made.id)
    assert found is not None
    assert (found.state, found.problem) == (MachineState.FAILED, "Exited by Runpod: outbid")


def test_bills_of_its_pods(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    now = rig.cloud.clock()
    rows = rig.provider.billed(now - 3600, now)
    assert rows is not None
    assert [(row.machine, str(row.amount), row.currency) for row in rows] == [(made.id, "1.745", "USD")]


def test_nothing_lies_beside_pods(rig: Rig) -> None:
    assert rig.provider.leftovers(OWNER) == ()
    with rig.fails(Failed, "provider-refused"):
        rig.provider.remove(Leftover("runpod", "volume", "x", None))
