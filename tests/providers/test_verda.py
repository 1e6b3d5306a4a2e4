"""Verda against a fake of its API over real sockets: the contract that all keep, and what is its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from decimal import Decimal

import pytest

from lyc.errors import Failed, LycError, NoFit, NotAuthorised, Unreachable, UsageError
from lyc.providers.verda import KIND
from lyc.providers.verda.api import VerdaApi
from lyc.providers.verda.provider import VerdaProvider
from lyc.records.rental import MachineState, Offer, Order, machine_name
from lyc.records.secret import Secret
from lyc.testing.clouds.core import Call, Cloud
from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.server import App, serve
from lyc.testing.clouds.verda import CAPACITY, CLIENT_ID, CLIENT_SECRET, Verda
from lyc.testing.provider_contract import ProviderContract, Rig
from tests.providers.published import Published

OWNER = "0a1b2c3d"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ lyc"
EXPIRED = "expired-s3cret-of-a-test"
H100 = "1H100.80S.30V@FIN-01"


PUBLISHED = Published("verda")


def check(call: Call) -> Sequence[str]:
    try:
        PUBLISHED.check([call])
    except Exception as error:  # noqa: BLE001  (jsonschema's own, and the assertions)
        return [str(error)]
    return []


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass
class Account:
    provider: VerdaProvider
    cloud: Cloud
    fake: Verda
    app: App
    clock: Clock
    base: str

    def things(self) -> list[tuple[str, str]]:
        return sorted((thing.kind, thing.name) for thing in self.cloud.things.values())


@pytest.fixture
def account() -> Iterator[Account]:
    clock = Clock()
    cloud = Cloud(CAPACITY, clock=clock)
    fake = Verda(cloud)
    app = fake.app()
    with serve(app) as base:
        provider = VerdaProvider(
            Secret(CLIENT_ID), Secret(CLIENT_SECRET), endpoint=f"{base}/v1", clock=clock, pause=lambda _span: None
        )
        yield Account(provider, cloud, fake, app, clock, f"{base}/v1")
        provider.close()


class TestVerda(ProviderContract):
    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        cloud = Cloud(CAPACITY)
        app = Verda(cloud).app()

        def litter(run_id: str) -> int:
            cloud.put("volume", machine_name(run_id))
            cloud.put("script", machine_name(run_id), content="#!/bin/sh")
            cloud.put("key", f"lyc-{run_id.partition('-')[0]}", content=f"ssh-ed25519 {run_id}")
            return 3

        def foreign() -> list[str]:
            names = {"volume": "models", "script": "mine", "key": "laptop"}
            return [cloud.put(kind, name, foreign=True, content="").id for kind, name in names.items()]

        with serve(app) as base:

            def connect(*, expired: bool = False, timeout: float | None = None) -> VerdaProvider:
                secret = Secret(EXPIRED if expired else CLIENT_SECRET)
                return VerdaProvider(
                    Secret(CLIENT_ID), secret, endpoint=f"{base}/v1", clock=cloud.clock, timeout=timeout,
                    pause=lambda _span: None,
                )  # fmt: skip

            yield Rig(KIND, connect, cloud, app.faults, (CLIENT_SECRET, EXPIRED), litter, foreign, check=check)


def order(number: int = 1, offer: str = H100, script: str | None = "#!/bin/sh\n") -> Order:
    sold = Offer("verda", offer, "h100", offer.partition("@")[0], 1, Decimal("2.29"), "USD")
    return Order(f"{OWNER}-{number:08x}", sold, KEY, boot_script=script)


def test_from_offer_to_nothing_left(account: Account):
    offer = next(one for one in account.provider.offers() if one.id == H100)
    assert (offer.country, offer.per_hour, offer.currency, offer.card) == ("FI", Decimal("2.29"), "USD", "h100")
    machine = account.provider.create(dataclasses.replace(order(), offer=offer))
    assert (machine.state, machine.run_id, machine.region) == (MachineState.CREATING, f"{OWNER}-00000001", "FIN-01")
    assert [one.id for one in account.provider.list_owned(OWNER)] == [machine.id]
    running = account.provider.get(machine.id)
    assert running is not None
    assert (running.state, running.port) == (MachineState.RUNNING, 22)
    account.provider.terminate(machine.id)
    assert account.provider.get(machine.id) is None
    assert account.provider.list_owned(OWNER) == []
    # The OS volume and the script went with it, for good; the key is for all machines of the owner.
    assert account.things() == [("key", f"lyc-{OWNER}")]
    (key,) = account.provider.leftovers(OWNER)
    account.provider.remove(key)
    account.provider.remove(key)
    assert account.cloud.things == {}


def test_a_machine_that_has_no_address_yet_takes_its_disk_along(account: Account):
    account.cloud.boot = lambda _machine: None
    machine = account.provider.create(order(script=None))
    account.provider.terminate(machine.id)
    assert account.cloud.alive() == []
    assert ("volume", f"lyc-{OWNER}-00000001") not in account.things()


def test_what_somebody_attached_is_let_go_of_and_no_more(account: Account):
    machine = account.provider.create(order())
    account.cloud.put("volume", "models", identity="theirs", machine=machine.id, foreign=True)
    account.provider.get(machine.id)
    account.provider.terminate(machine.id)
    assert account.cloud.things["theirs"].machine is None
    assert account.provider.leftovers(OWNER) == [one for one in account.provider.leftovers(OWNER) if one.kind == "key"]


def test_a_key_that_is_there_is_used(account: Account):
    account.cloud.put("key", "laptop", identity="k-laptop", content="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ me@laptop")
    for number in (1, 2):
        account.provider.create(order(number, script=None))
    assert [call.body["ssh_key_ids"] for call in account.cloud.calls_of("create")] == [["k-laptop"]] * 2
    assert [one.kind for one in account.provider.leftovers(OWNER) if one.kind == "key"] == []


def test_one_token_for_many_calls_and_a_new_one_before_it_ends(account: Account):
    for _ in range(3):
        account.provider.list_owned(OWNER)
    assert len(account.cloud.calls_of("token")) == 1
    account.clock.now += account.fake.span - 30
    account.provider.list_owned(OWNER)
    assert len(account.cloud.calls_of("token")) == 2


def test_a_token_that_was_revoked_is_replaced_even_before_a_create(account: Account):
    account.provider.list_owned(OWNER)
    account.fake.tokens.clear()
    account.app.faults.add(Fault("keys", "status", code=401, skip=0))
    account.provider.create(order())
    assert len(account.cloud.alive()) == 1
    assert len(account.cloud.calls_of("token")) >= 2


def test_credentials_that_are_wrong(account: Account):
    wrong = VerdaProvider(
        Secret(CLIENT_ID), Secret("wr0ng-s3cret"), endpoint=account.base, clock=account.clock, pause=lambda _: None
    )
    with pytest.raises(NotAuthorised) as caught:
        wrong.account()
    assert caught.value.ref == "provider-denied"
    assert "wr0ng-s3cret" not in str(caught.value.document())
    assert len(account.cloud.calls_of("token")) == 1


def test_the_client_id_names_the_account(account: Account):
    assert account.provider.account() == CLIENT_ID


def test_prices_are_in_the_currency_of_the_balance(account: Account):
    account.fake.currency = "eur"
    assert {offer.currency for offer in account.provider.offers()} == {"EUR"}
    assert account.cloud.calls_of("offers")[-1].query == {"currency": "eur"}


@pytest.mark.parametrize(
    ("offer", "error", "ref"),
    [
        ("1A100.40S.22V@ICE-01", NoFit, "no-capacity"),
        ("1H100.80S.30V@ICE-01", NoFit, "no-capacity"),
        ("9H100.1V@FIN-01", UsageError, "offer-gone"),
        ("nonsense", UsageError, "offer-gone"),
    ],
)
def test_a_refusal_leaves_nothing_but_the_key(account: Account, offer: str, error: type[LycError], ref: str):
    with pytest.raises(error) as caught:
        account.provider.create(order(offer=offer))
    assert caught.value.ref == ref
    assert account.cloud.alive() == []
    assert {kind for kind, _name in account.things()} <= {"key"}


def test_an_empty_purse(account: Account):
    account.fake.funds = 0
    with pytest.raises(NoFit) as caught:
        account.provider.create(order())
    assert caught.value.ref == "quota-exceeded"
    assert {kind for kind, _name in account.things()} == {"key"}


def test_503_of_something_else_is_not_called_sold_out(account: Account):
    account.app.faults.add(Fault("create", "status", code=503, body="<html>bad gateway</html>"))
    with pytest.raises(Unreachable) as caught:
        account.provider.create(order())
    assert caught.value.ref == "provider-unreachable"
    assert len(account.cloud.calls_of("create")) == 1


def test_a_lost_answer_leaves_a_machine_and_a_script_that_are_found(account: Account):
    account.app.faults.add(Fault("create", "lose"))
    with pytest.raises(Unreachable):
        account.provider.create(order())
    (machine,) = account.provider.list_owned(OWNER)
    assert machine.run_id == f"{OWNER}-00000001"
    assert {one.kind for one in account.provider.leftovers(OWNER)} == {"key", "script", "volume"}


def test_a_delete_that_is_refused_in_part_is_told(account: Account):
    machine = account.provider.create(order())
    told = [{"action": "delete", "instanceId": machine.id, "status": "error", "error": "stuck", "statusCode": 409}]
    account.app.faults.add(Fault("terminate", "status", code=207, body=told))
    with pytest.raises(Failed) as caught:
        account.provider.terminate(machine.id)
    assert (caught.value.ref, "stuck" in caught.value.why) == ("provider-refused", True)
    told[0]["statusCode"] = 500
    account.app.faults.add(Fault("terminate", "status", code=207, body=told))
    with pytest.raises(Unreachable):
        account.provider.terminate(machine.id)
    account.provider.terminate(machine.id)
    assert account.cloud.alive() == []


def test_scripts_come_in_pages_and_the_last_one_is_found(account: Account):
    account.cloud.put("script", machine_name(f"{OWNER}-0000beef"), content="")
    for number in range(250):
        account.cloud.put("script", f"mine-{number}", content="")
        account.cloud.put("script", machine_name(f"{OWNER}-{number:08x}"), content="")
    found = [one.run_id for one in account.provider.leftovers(OWNER) if one.kind == "script"]
    assert len(found) == len(set(found)) == 251
    assert f"{OWNER}-0000beef" in found


def test_one_that_goes_while_it_is_being_ended(account: Account):
    machine = account.provider.create(order())
    missing = {"code": "not_found", "message": "Instance not found"}
    account.app.faults.add(Fault("terminate", "status", code=404, body=missing))
    account.provider.terminate(machine.id)
    account.app.faults.add(Fault("terminate", "status", code=204, body=b""))
    account.provider.terminate(machine.id)


def test_the_fake_answers_as_it_is_written_down(account: Account):
    account.provider.create(order())
    api = VerdaApi(Secret(CLIENT_ID), Secret(CLIENT_SECRET), endpoint=account.base, clock=account.clock)
    (row,) = api.instances()
    PUBLISHED.validate("GetInstanceResponsePublicApiDto", row)
    (told,) = api.act({"id": [row["id"]], "action": "delete"})
    PUBLISHED.validate("InstanceActionResultDto", told)
    api.close()


def test_a_disk_in_use_is_not_removed_and_one_that_is_gone_is(account: Account):
    account.provider.create(order(script=None))
    (disk,) = [one for one in account.provider.leftovers(OWNER) if one.kind == "volume"]
    with pytest.raises(Failed) as caught:
        account.provider.remove(disk)
    assert caught.value.ref == "provider-refused"
    account.provider.remove(dataclasses.replace(disk, id="gone"))
