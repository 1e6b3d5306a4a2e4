"""Lambda's provider against a cloud that answers as Lambda does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest

from lyc.errors import Failed, NoFit, UsageError
from lyc.ports import Provider
from lyc.providers.lambda_cloud import KEY, KIND
from lyc.providers.lambda_cloud.api import LAUNCH_SECONDS
from lyc.providers.lambda_cloud.provider import Lambda
from lyc.records.rental import MachineState
from lyc.records.secret import Secret
from lyc.testing.clouds import lambda_cloud
from lyc.testing.clouds.core import Call, Cloud
from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.server import serve
from lyc.testing.contract.rig import OWNER, Rig
from lyc.testing.provider_contract import ProviderContract
from tests.providers.published import Published

GOOD, EXPIRED = "secret_lyc_GOOD0123456789", "secret_lyc_EXPIRED9876543210"
PUBLISHED = Published("lambda", base="/api/v1")


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.pass_(seconds)

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def check(call: Call) -> Sequence[str]:
    try:
        PUBLISHED.check([call])
    except Exception as error:  # noqa: BLE001  (jsonschema's own, and ours)
        return [str(error)]
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def between() -> float:
    return LAUNCH_SECONDS


@pytest.fixture
def rig(clock: Clock, between: float) -> Iterator[Rig]:
    cloud = Cloud(lambda_cloud.CAPACITY, clock=clock)
    app = lambda_cloud.app(cloud, GOOD, between_launches=between)
    with serve(app) as base:

        def connect(*, expired: bool = False, timeout: float | None = None) -> Provider:
            key = Secret(EXPIRED if expired else GOOD)
            spans = {} if timeout is None else {"timeout": timeout, "create_timeout": timeout}
            return Lambda(key, endpoint=base, clock=clock, pause=clock.pause, monotonic=clock, **spans)

        def litter(run_id: str) -> int:
            cloud.put("key", f"lyc-{run_id.partition('-')[0]}", public_key="ssh-ed25519 AAAA lyc")
            return 1

        def litter_foreign() -> list[str]:
            return [cloud.put("key", "laptop", public_key="ssh-ed25519 CCCC me", foreign=True).id]

        yield Rig(
            KIND, connect, cloud, app.faults, [GOOD, EXPIRED], litter=litter, litter_foreign=litter_foreign, check=check
        )  # fmt: skip


class TestLambda(ProviderContract):
    @pytest.fixture
    def between(self) -> float:
        return 0.0  # what is done twice is done twice here

    @pytest.fixture
    def rig(self, rig: Rig) -> Rig:
        return rig


def test_it_opens_as_an_account_does() -> None:
    provider = KIND.open({KEY: Secret(GOOD)}, endpoint="http://127.0.0.1:9", clock=time.time)
    assert provider.capabilities is KIND.capabilities
    provider.close()


def test_launches_wait_for_their_turn(rig: Rig, clock: Clock) -> None:
    """Lambda takes one in 12 seconds, and tells a second one nothing but 429."""
    for _ in range(3):
        assert rig.provider.create(rig.order()).alive
    assert clock.waits == [12.0, 12.0]


@pytest.mark.parametrize("between", [0.0])
def test_launches_at_once_form_a_queue(rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for those before it: nobody has waited yet when the next one comes."""
    orders = [rig.order() for _ in range(3)]
    rig.provider.create(rig.order())
    monkeypatch.setattr(clock, "pass_", lambda _seconds: None)
    for order in orders:
        rig.provider.create(order)
    assert clock.waits == [12.0, 24.0, 36.0]


def test_one_key_for_a_controller(rig: Rig) -> None:
    for _ in range(2):
        rig.provider.create(rig.order())
    (key,) = rig.cloud.things_of("key")
    assert (key.name, len(rig.cloud.calls_of("add-key"))) == (f"lyc-{OWNER}", 1)


def test_a_key_that_goes_while_it_is_needed(rig: Rig) -> None:
    order = rig.order()
    rig.provider.create(rig.order())
    missing = {"error": {"code": "global/object-does-not-exist", "message": "Specified SSH key does not exist."}}
    rig.faults.add(Fault("create", "status", code=400, body=missing))
    with rig.fails(UsageError, "offer-gone"):  # it is there: what is missing is something else
        rig.provider.create(order)
    rig.cloud.things.clear()
    rig.cloud.put("key", f"lyc-{OWNER}", public_key=order.public_key)
    drop = rig.cloud.things_of("key")[0].id
    rig.faults.add(Fault("create", "status", code=400, body=missing))
    original = rig.cloud.advance

    def gone() -> None:
        if rig.cloud.calls and rig.cloud.calls[-1].op == "create":
            rig.cloud.drop(drop)
        original()

    rig.cloud.advance = gone  # type: ignore[method-assign]
    assert rig.provider.create(order).run_id == order.run_id


def test_a_key_that_somebody_else_has_just_put_there(rig: Rig) -> None:
    order = rig.order()
    rig.faults.add(Fault("add-key", "double"))
    assert rig.provider.create(order).alive
    rig.cloud.things.clear()
    rig.faults.add(Fault("add-key", "status", code=400))
    with rig.fails(Failed, "provider-refused"):
        rig.provider.create(rig.order())


def test_an_account_that_may_have_no_more(rig: Rig) -> None:
    body = {"error": {"code": "global/quota-exceeded", "message": "Quota exceeded.", "suggestion": "Contact Support"}}
    rig.faults.add(Fault("create", "status", code=400, body=body))
    with rig.fails(NoFit, "quota-exceeded"):
        rig.provider.create(rig.order())


def test_a_request_that_it_does_not_take(rig: Rig) -> None:
    body = {"error": {"code": "global/invalid-parameters", "message": "Invalid request data."}}
    rig.faults.add(Fault("create", "status", code=400, body=body))
    with rig.fails(Failed, "provider-refused"):
        rig.provider.create(rig.order())


def test_a_kind_that_no_region_has(rig: Rig) -> None:
    offer = next(one for one in rig.provider.offers() if one.card == "gh200-96")
    assert (offer.stock, offer.region) == (0, "")
    with rig.fails(NoFit, "no-capacity"):
        rig.provider.create(rig.order(offer))
    assert rig.cloud.calls_of("create") == []


def test_an_end_that_is_asked_for_twice(rig: Rig) -> None:
    rig.cloud.linger = 99
    made = rig.provider.create(rig.order())
    rig.provider.terminate(made.id)
    conflict = {"error": {"code": "global/conflict", "message": "vm-is-terminating"}}
    rig.faults.add(Fault("terminate", "status", code=409, body=conflict))
    rig.provider.terminate(made.id)
    found = rig.provider.get(made.id)
    assert found is not None
    assert found.state is MachineState.ENDING


def test_an_end_that_it_refuses(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    rig.faults.add(Fault("terminate", "status", code=409))
    with rig.fails(Failed, "provider-refused"):
        rig.provider.terminate(made.id)


def test_one_that_was_renamed_by_hand_is_still_ours(rig: Rig) -> None:
    order = rig.order()
    made = rig.provider.create(order)
    rig.cloud.machines[made.id].name = "demo"
    assert [(one.id, one.run_id) for one in rig.provider.list_owned(OWNER)] == [(made.id, order.run_id)]


def test_it_bills_nothing_that_could_be_asked_for(rig: Rig) -> None:
    assert rig.provider.billed(0, 1) is None
    assert rig.provider.account() == ""
