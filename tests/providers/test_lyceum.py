"""Lyceum, on a fake with the oddities that were seen of it: the contract, and what is its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from lyc.errors import Failed, NoFit, NotAuthorised, UsageError
from lyc.providers.lyceum import KIND
from lyc.records.rental import Machine, MachineState, Offer
from lyc.records.secret import Secret
from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.lyceum import CPU, KEY, lyceum_app, lyceum_cloud
from lyc.testing.clouds.server import serve
from lyc.testing.provider_contract import OWNER, ProviderContract, Rig
from tests.providers.lyceum_rig import lyceum_rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    with lyceum_rig() as rig:
        yield rig


class TestLyceum(ProviderContract):
    @pytest.fixture
    def rig(self, rig: Rig) -> Rig:
        return rig


def offer(rig: Rig, identity: str) -> Offer:
    return next(one for one in rig.provider.offers() if one.id == identity)


# Offers


def test_prices_are_those_of_the_hour_and_of_the_whole_machine(rig: Rig) -> None:
    one, eight = offer(rig, "on-demand.h100.1x"), offer(rig, "on-demand.h100.8x")
    assert (one.card, one.count, one.per_hour, one.currency, one.spot) == ("h100", 1, Decimal("2.79"), "USD", False)
    assert (eight.count, eight.per_hour) == (8, Decimal("22.32"))


def test_where_its_machines_stand_is_not_said(rig: Rig) -> None:
    assert {(one.region, one.country) for one in rig.provider.offers()} == {("", "")}
    assert KIND.capabilities.jurisdiction == ""


def test_what_has_a_price_but_cannot_be_had_is_sold_out(rig: Rig) -> None:
    rig.cloud.capacity["on-demand.h200.4x"] = 0
    stock = {one.id: one.stock for one in rig.provider.offers()}
    assert [stock[f"{kind}.1x"] for kind in ("spot.l40s", "on-demand.l40s")] == [0, None]
    assert [stock[f"on-demand.h200.{size}x"] for size in (1, 4)] == [None, 0]


def test_what_is_no_machine_is_left_out(rig: Rig) -> None:
    assert {one.product for one in rig.provider.offers()} == {"a100", "b200", "cpu", "h100", "h200", "l40s"}


def test_a_machine_without_a_gpu(rig: Rig) -> None:
    assert offer(rig, CPU).stock == 0
    rig.cloud.capacity[CPU] = None
    found = offer(rig, CPU)
    assert (found.card, found.count, found.per_hour, found.stock) == ("cpu", 0, Decimal("0.07"), None)
    rig.provider.create(rig.order(found))
    (call,) = rig.cloud.calls_of("create")
    assert (call.body["hardware_profile"], call.body.get("instance_specs")) == ("cpu", None)
    assert rig.cloud.ever[0].offer == CPU


PRICE = {"meter_slug": "vm_running", "applies_to": {"hardware_profile": "on-demand.h900.2x"}}


def offers_of(rig: Rig, *prices: object) -> list[Offer]:
    rig.faults.add(Fault("offers", "status", code=200, body={"prices": list(prices)}))
    return list(rig.provider.offers())


def test_a_price_by_the_second_and_a_card_that_is_new(rig: Rig) -> None:
    (found,) = offers_of(rig, PRICE | {"unit": "second", "unit_price": "0.001"})
    assert (found.card, found.product, found.count, found.per_hour) == ("", "h900", 2, Decimal("3.600"))


def test_a_price_under_the_other_name(rig: Rig) -> None:
    row = {"meter_slug": "vm_running", "group_by": PRICE["applies_to"], "unit_price_per_hour": "7.10"}
    assert [(one.id, one.per_hour) for one in offers_of(rig, row)] == [("on-demand.h900.2x", Decimal("7.10"))]


@pytest.mark.parametrize("price", [{"unit": "second", "unit_price": "free"}, {"unit": "month", "unit_price": "9"}])
def test_a_price_that_is_none_is_told(rig: Rig, price: dict[str, str]) -> None:
    with rig.fails(Failed, "provider-odd-answer"):
        offers_of(rig, PRICE | price)


# Create


def test_the_count_goes_where_it_is_read(rig: Rig) -> None:
    rig.provider.create(rig.order(offer(rig, "spot.h100.4x")))
    (call,) = rig.cloud.calls_of("create")
    assert call.body == {
        "user_public_key": rig.order().public_key, "hardware_profile": "h100", "instance_type": "spot",
        "instance_specs": {"gpu_count": 4}, "display_name": f"lyc-{OWNER}-00000001",
    }  # fmt: skip
    assert rig.cloud.ever[0].offer == "spot.h100.4x"


def test_an_id_of_another_form_is_not_sent(rig: Rig) -> None:
    with rig.fails(UsageError, "offer-gone"):
        rig.provider.create(rig.order(replace(offer(rig, "on-demand.h100.1x"), id="h100")))
    assert rig.cloud.calls_of("create") == []


@pytest.mark.parametrize(
    ("code", "body", "kind", "ref"),
    [
        (402, {"detail": "Insufficient credits"}, NoFit, "quota-exceeded"),
        (400, {"detail": "the key is not one of SSH"}, Failed, "provider-refused"),
        (422, {"detail": [{"loc": ["body", "display_name"], "msg": "too long"}]}, Failed, "provider-refused"),
        (422, {"detail": [{"loc": ["body", "instance_specs", "gpu_count"], "msg": "x"}]}, UsageError, "offer-gone"),
        (422, {"detail": "odd"}, Failed, "provider-refused"),
        (403, {"detail": "Forbidden"}, NotAuthorised, "provider-denied"),
    ],
)
def test_refusals(rig: Rig, code: int, body: Any, kind: Any, ref: str) -> None:
    rig.faults.add(Fault("create", "status", code=code, body=body))
    with rig.fails(kind, ref):
        rig.provider.create(rig.order())
    assert rig.cloud.ever == []


def test_sold_out_by_number(rig: Rig) -> None:
    chosen = offer(rig, "on-demand.h100.1x")
    rig.cloud.capacity[chosen.id] = 1
    rig.provider.create(rig.order(chosen))
    with rig.fails(NoFit, "no-capacity"):
        rig.provider.create(rig.order(chosen))
    assert len(rig.cloud.alive()) == 1


# What it tells of machines


def test_running_and_ready_before_there_is_an_address(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    seen = [rig.provider.get(made.id) for _ in range(3)]
    words = [(one.word, one.state, bool(one.address)) for one in seen if one is not None]
    running = MachineState.RUNNING
    assert words == [("running", running, False), ("ready", running, False), ("ready", running, True)]


def told(rig: Rig, **fields: object) -> Machine:
    row = {"vm_id": "v1", "status": "ready", "created_at": "2026-07-31T12:14:40.153832"} | fields
    rig.faults.add(Fault("get", "status", code=200, body=row))
    found = rig.provider.get("v1")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("203.0.113.9", "203.0.113.9", None),
        ("203.0.113.9:2201", "203.0.113.9", 2201),
        (" vm.example.org:22 ", "vm.example.org", 22),
        ("2001:db8::9", "2001:db8::9", None),
        ("[2001:db8::9]:2201", "2001:db8::9", 2201),
        (None, None, None),
        ("", None, None),
        (":22", None, None),
        ("203.0.113.9:none", None, None),
        ("203.0.113.9:99999", None, None),
    ],
)
def test_addresses(rig: Rig, text: str | None, host: str | None, port: int | None) -> None:
    found = told(rig, ip_address=text)
    assert (found.address, found.port) == (host, port)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-07-31T12:14:40.5", 1785500080.5),
        ("2026-07-31T12:14:40Z", 1785500080.0),
        ("2026-07-31T14:14:40+02:00", 1785500080.0),
        ("yesterday", None),
        (None, None),
    ],
)
def test_times_with_and_without_a_zone(rig: Rig, text: str | None, at: float | None) -> None:
    assert told(rig, created_at=text).created_at == at


@pytest.mark.parametrize("row", [{"status": "ready"}, {"vm_id": "v1"}, {"vm_id": "v1", "status": None}, [], "gone"])
def test_a_machine_without_an_id_or_a_status_is_not_understood(rig: Rig, row: object) -> None:
    rig.faults.add(Fault("get", "status", code=200, body=row))
    with rig.fails(Failed, "provider-odd-answer"):
        rig.provider.get("v1")


def test_a_list_that_says_it_is_not_whole_is_none(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    row = {"vm_id": made.id, "status": "ready", "created_at": ""}
    rig.faults.add(Fault("list", "status", code=200, body={"vms": [row], "total": 2}))
    with rig.fails(Failed, "provider-odd-answer"):
        rig.provider.list_owned(OWNER)


def test_an_id_cannot_lead_elsewhere(rig: Rig) -> None:
    assert rig.provider.get("../../storage/block") is None
    rig.provider.terminate("../storage/block/x")
    assert {call.op for call in rig.cloud.calls} <= {"get", "terminate"}


# What stays behind


def test_a_volume_that_the_end_of_a_machine_leaves_goes_too(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    rig.cloud.put("volume", "vol-1", machine=made.id, size_gb=50)
    (living,) = rig.provider.leftovers(OWNER)
    assert (living.kind, living.run_id, living.billed) == ("volume", made.run_id, True)
    rig.provider.terminate(made.id)
    assert rig.cloud.things == {}


def test_a_volume_that_would_not_go_is_a_leftover(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    volume = rig.cloud.put("volume", "vol-1", machine=made.id, size_gb=50)
    rig.faults.add(Fault("remove", "status", code=409))
    rig.provider.terminate(made.id)
    (left,) = rig.provider.leftovers(OWNER)
    assert (left.id, left.run_id, left.note) == (volume.id, made.run_id, "50 GB; it came with a machine of that run")


def test_an_end_that_is_refused_is_told(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    rig.faults.add(Fault("terminate", "status", code=409, body={"detail": "not now"}))
    with rig.fails(Failed, "provider-refused"):
        rig.provider.terminate(made.id)
    assert len(rig.cloud.alive()) == 1


# Accounts


def test_what_is_billed_is_what_the_list_says(rig: Rig) -> None:
    made = rig.provider.create(rig.order())
    rig.until(made.id, MachineState.RUNNING)
    now = time.time()
    (row,) = rig.provider.billed(now - 60, now + 60) or ()
    assert (row.machine, row.currency) == (made.id, "USD")
    assert rig.provider.billed(now - 120, now - 60) == ()


def test_it_opens_as_an_account_does_with_and_without_an_organisation() -> None:
    app = lyceum_app(lyceum_cloud(), org="acme")
    with serve(app) as base:
        bound = {"LYCEUM_API_KEY": Secret(KEY), "LYCEUM_ORG": Secret("acme")}
        provider = KIND.open(bound, endpoint=base, clock=time.time)
        assert provider.account() == "acme"
        provider.close()
        other = KIND.open({"LYCEUM_API_KEY": Secret(KEY)}, endpoint=base, clock=time.time)
        with pytest.raises(NotAuthorised):
            other.account()
        other.close()
    assert [call.headers.get("x-org-slug") for call in app.cloud.calls] == ["acme", None]


# The fake itself


def nullable(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON Schema says it."""
    if isinstance(schema, list):
        return [nullable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: nullable(value) for key, value in schema.items() if key not in ("nullable", "example")}
    return {**told, "type": [told["type"], "null"]} if schema.get("nullable") is True else told


def test_the_fake_answers_as_it_is_written_down() -> None:
    document = nullable(json.loads((Path(__file__).parent / "openapi" / "lyceum.json").read_text()))
    cloud = lyceum_cloud()
    seen = set()

    def ask(method: str, pattern: str, path: str | None = None, **more: Any) -> Any:
        answer = client.request(method, path or pattern, **more)
        assert answer.status_code == 200
        schema = document["paths"][pattern][method.lower()]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})
        seen.add((pattern, method.lower()))
        return answer.json()

    with (
        serve(lyceum_app(cloud)) as base,
        httpx.Client(base_url=base, headers={"Authorization": f"Bearer {KEY}"}) as client,
    ):
        body = {"user_public_key": "ssh-ed25519 AAAA", "hardware_profile": "h100", "new_volume": {"size_gb": 10}}
        made = ask("POST", "/vms/create", json=body)
        assert (made["instance_specs"]["gpu_count"], made["hardware_profile"]) == (1, None)
        for path in ("/user/org", "/pricing", "/vms/availability", "/vms/list", "/storage/block"):
            ask("GET", path)
        for _ in range(3):
            ask("GET", "/vms/{vm_id}/status", f"/vms/{made['vm_id']}/status")
        (volume,) = ask("DELETE", "/vms/{vm_id}", f"/vms/{made['vm_id']}")["detached_volumes"]
        (dead,) = ask("GET", "/vms/list")["vms"]
        assert (dead["status"], dead["volumes"]) == ("terminated", [volume])
        assert ask("GET", "/vms/list", params={"include_terminated": "false"}) == {"vms": [], "total": 0}
        assert client.delete(f"/storage/block/{volume['volume_id']}").status_code == 200
    missed = {(path, method) for path, methods in document["paths"].items() for method in methods} - seen
    assert missed == {("/storage/block/{volume_id}", "delete")}
