"""Scaleway against a fake of its API over real sockets: the contract that all keep, and what is its own."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from decimal import Decimal

import pytest

from lyc.errors import Failed, LycError, NoFit, NotAuthorised, Unreachable, UsageError
from lyc.providers.scaleway import KIND
from lyc.providers.scaleway.provider import ScalewayProvider
from lyc.records.rental import MachineState, Offer, Order, machine_name
from lyc.records.secret import Secret
from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.scaleway import CAPACITY, PROJECT, SECRET_KEY, ZONES, Scaleway, ScalewayCloud
from lyc.testing.clouds.server import App, serve
from lyc.testing.provider_contract import ProviderContract, Rig

OWNER = "0a1b2c3d"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ lyc"
EXPIRED = "99999999-2222-3333-4444-0ldke7000000"
L4 = "L4-1-24G@fr-par-2"


@dataclasses.dataclass
class Account:
    provider: ScalewayProvider
    cloud: ScalewayCloud
    fake: Scaleway
    app: App

    def disks(self) -> list[str]:
        return [thing.name for thing in self.cloud.things_of("volume")]


@pytest.fixture
def account() -> Iterator[Account]:
    cloud = ScalewayCloud(CAPACITY)
    fake = Scaleway(cloud)
    app = fake.app()
    with serve(app) as base:
        provider = ScalewayProvider(
            Secret(SECRET_KEY), PROJECT, endpoint=base, clock=cloud.clock, pause=lambda _span: None
        )
        yield Account(provider, cloud, fake, app)
        provider.close()


class TestScaleway(ProviderContract):
    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        cloud = ScalewayCloud(CAPACITY)
        app = Scaleway(cloud).app()

        def litter(run_id: str) -> int:
            cloud.put("volume", machine_name(run_id), region="fr-par-2")
            cloud.put("volume", "renamed", region="pl-waw-1", tags=["lyc", machine_name(run_id)])
            return 2

        def foreign() -> list[str]:
            return [cloud.put("volume", "models", region="fr-par-2", foreign=True).id]

        with serve(app) as base:

            def connect(*, expired: bool = False, timeout: float | None = None) -> ScalewayProvider:
                secret = Secret(EXPIRED if expired else SECRET_KEY)
                return ScalewayProvider(
                    secret, PROJECT, endpoint=base, clock=cloud.clock, timeout=timeout, pause=lambda _span: None
                )

            yield Rig(
                KIND, connect, cloud, app.faults, (SECRET_KEY, EXPIRED), litter, foreign,
                missing="fr-par-1/00000000-0000-4000-8000-000000000000",
            )  # fmt: skip


def order(number: int = 1, offer: str = L4, script: str | None = "#!/bin/sh\ntrue\n") -> Order:
    sold = Offer("scaleway", offer, "l4", offer.partition("@")[0], 1, Decimal("0.7875"), "EUR")
    return Order(f"{OWNER}-{number:08x}", sold, KEY, boot_script=script)


def actions(account: Account) -> list[str]:
    calls = [call for call in account.cloud.calls if call.method in ("POST", "DELETE") and "/servers" in call.path]
    return [call.op for call in calls]


def test_from_offer_to_nothing_left(account: Account):
    offer = next(one for one in account.provider.offers() if one.id == L4)
    assert (offer.country, offer.per_hour, offer.currency, offer.card) == ("FR", Decimal("0.7875"), "EUR", "l4")
    made = account.provider.create(dataclasses.replace(order(), offer=offer))
    assert (made.state, made.run_id, made.region) == (MachineState.CREATING, f"{OWNER}-00000001", "fr-par-2")
    running = account.provider.get(made.id)
    assert running is not None
    assert (running.state, running.port, running.run_id) == (MachineState.RUNNING, 22, f"{OWNER}-00000001")
    account.cloud.linger = 3
    account.provider.terminate(made.id)
    (disk,) = account.provider.leftovers(OWNER)
    assert (disk.kind, disk.run_id, disk.billed) == ("volume", f"{OWNER}-00000001", True)
    account.cloud.linger = 0
    while account.provider.get(made.id) is not None:
        continue
    account.provider.remove(disk)
    account.provider.remove(disk)
    assert account.cloud.things == {}


def test_the_key_is_a_tag_and_the_script_is_there_before_the_start(account: Account):
    account.provider.create(order())
    (call,) = account.cloud.calls_of("create")
    assert "AUTHORIZED_KEY=ssh-ed25519_AAAAC3NzaC1lZDI1NTE5AAAAIJ" in call.body["tags"]
    assert machine_name(f"{OWNER}-00000001") in call.body["tags"]
    ops = [call.op for call in account.cloud.calls if call.op in ("create", "user-data", "start")]
    assert ops == ["create", "user-data", "start"]
    (told,) = account.cloud.calls_of("user-data")
    head, _, body = told.body.partition("\n")
    config = json.loads(body)
    assert head == "#cloud-config"
    assert base64.b64decode(config["write_files"][0]["content"]) == b"#!/bin/sh\ntrue\n"
    assert config["runcmd"] == [[config["write_files"][0]["path"]]]


def test_a_crash_before_the_start_leaves_a_server_that_is_found_and_deleted(account: Account):
    account.app.faults.add(Fault("start", "refuse"))
    with pytest.raises(Unreachable) as caught:
        account.provider.create(order())
    assert caught.value.ref == "provider-unreachable"
    (found,) = account.provider.list_owned(OWNER)
    assert (found.state, found.run_id) == (MachineState.STOPPED, f"{OWNER}-00000001")
    account.provider.terminate(found.id)
    assert actions(account)[-1] == "delete"  # terminate is for servers that run
    assert (account.cloud.alive(), account.disks()) == ([], [])


def test_sold_out_at_the_start_leaves_nothing(account: Account):
    account.fake.sold_out_at_start = True
    with pytest.raises(NoFit) as caught:
        account.provider.create(order(offer="H100-1-80G@pl-waw-2"))
    assert caught.value.ref == "no-capacity"
    assert actions(account) == ["create", "start", "delete"]
    assert (account.cloud.alive(), account.disks()) == ([], [])


def test_what_cannot_be_taken_back_is_not_called_refused(account: Account):
    account.fake.sold_out_at_start = True
    account.app.faults.add(Fault("delete", "status", code=500, times=1000))
    with pytest.raises(Unreachable) as caught:
        account.provider.create(order(offer="H100-1-80G@pl-waw-2"))
    (left,) = account.provider.list_owned(OWNER)
    assert (caught.value.ref, left.run_id) == ("provider-unreachable", f"{OWNER}-00000001")
    assert left.id in caught.value.why


@pytest.mark.parametrize(
    ("op", "fault", "error", "ref"),
    [
        ("start", {"code": 403}, NotAuthorised, "provider-denied"),
        ("start", {"code": 400}, Failed, "provider-refused"),
        ("start", {"code": 429, "times": 1000}, Unreachable, "provider-busy"),
        ("user-data", {"code": 403}, NotAuthorised, "provider-denied"),
        ("user-data", {"code": 400}, Failed, "provider-refused"),
    ],
    ids=lambda value: str(value) if isinstance(value, str | dict) else "",
)
def test_a_server_that_may_not_be_started_is_deleted(
    account: Account, op: str, fault: dict[str, int], error: type[LycError], ref: str
):
    account.app.faults.add(Fault(op, "status", **fault))
    with pytest.raises(error) as caught:
        account.provider.create(order())
    assert caught.value.ref == ref
    assert (account.cloud.alive(), account.disks(), len(account.cloud.ever)) == ([], [], 1)


def test_a_quota_is_no_wrong_credential(account: Account):
    account.fake.quota = 0
    with pytest.raises(NoFit) as caught:
        account.provider.create(order())
    assert caught.value.ref == "quota-exceeded"
    account.app.faults.add(Fault("create", "status", code=403))
    with pytest.raises(NotAuthorised):
        account.provider.create(order())


@pytest.mark.parametrize("offer", ["H200-1@fr-par-2", "L4-1-24G@it-mil-1", "nonsense", "@fr-par-1"])
def test_what_is_not_sold(account: Account, offer: str):
    with pytest.raises(UsageError) as caught:
        account.provider.create(order(offer=offer))
    assert caught.value.ref == "offer-gone"
    assert account.cloud.ever == []


def test_one_that_is_starting_has_to_be_waited_for(account: Account):
    account.cloud.boot_looks = 3
    made = account.provider.create(order())
    with pytest.raises(Unreachable) as caught:
        account.provider.terminate(made.id)
    assert caught.value.ref == "provider-busy"
    while (machine := account.provider.get(made.id)) is None or machine.state is not MachineState.RUNNING:
        continue
    account.provider.terminate(made.id)
    assert account.cloud.alive() == []


@pytest.mark.parametrize("code", [400, 409])
def test_one_that_is_starting_is_not_refused_for_good(account: Account, code: int):
    account.cloud.boot_looks = 9
    made = account.provider.create(order())
    account.app.faults.add(Fault("terminate", "status", code=code))
    with pytest.raises(Unreachable) as caught:
        account.provider.terminate(made.id)
    assert caught.value.ref == "provider-busy"
    account.app.faults.add(Fault("terminate", "status", code=403))
    with pytest.raises(NotAuthorised):
        account.provider.terminate(made.id)


def test_one_that_is_ending_is_left_to_it(account: Account):
    account.cloud.linger = 50
    made = account.provider.create(order())
    account.provider.get(made.id)
    for _ in range(3):
        account.provider.terminate(made.id)
    assert actions(account) == ["create", "start", "terminate"]


def test_a_disk_is_marked_before_its_server_goes(account: Account):
    made = account.provider.create(order())
    (disk,) = account.cloud.things_of("volume")
    disk.name = "Ubuntu 24.04"  # as the provider may call it, whatever was asked for
    assert account.provider.leftovers(OWNER) == []
    account.provider.get(made.id)
    account.provider.terminate(made.id)
    assert [one.run_id for one in account.provider.leftovers(OWNER)] == [f"{OWNER}-00000001"]


def test_a_disk_that_cannot_be_marked_keeps_no_server_alive(account: Account):
    made = account.provider.create(order())
    account.provider.get(made.id)
    account.app.faults.add(Fault("label", "status", code=500, times=1000))
    account.provider.terminate(made.id)
    assert account.cloud.alive() == []


def test_a_disk_in_use_is_tried_again_later(account: Account):
    account.provider.create(order())
    (disk,) = account.provider.leftovers(OWNER)
    with pytest.raises(Unreachable) as caught:
        account.provider.remove(disk)
    assert caught.value.ref == "provider-busy"


def test_a_list_that_is_short_is_read_again_and_then_refused(account: Account):
    account.provider.create(order())
    short = Fault("list", "status", code=200, body={"servers": []}, headers={"x-total-count": "2"}, times=2)
    account.app.faults.add(short)
    assert len(account.provider.list_owned(OWNER)) == 1
    account.app.faults.add(dataclasses.replace(short, times=1000))
    with pytest.raises(Unreachable):
        account.provider.list_owned(OWNER)


def test_machines_are_found_in_each_zone(account: Account):
    for zone in ZONES:
        account.cloud.put_many(OWNER, 3, region=zone)
    account.fake.page = 2
    found = account.provider.list_owned(OWNER)
    assert len({one.id for one in found}) == 24
    assert {one.region for one in found} == set(ZONES)


@pytest.mark.parametrize("identity", ["", "x", "it-mil-1/x", "fr-par-1/", "fr-par-1/../x"])
def test_an_id_without_a_zone_is_never_taken_for_a_missing_machine(account: Account, identity: str):
    for ask in (account.provider.get, account.provider.terminate):
        with pytest.raises(Failed):
            ask(identity)
    assert account.cloud.calls == []


def test_the_project_names_the_account(account: Account):
    assert account.provider.account() == f"project {PROJECT}"
