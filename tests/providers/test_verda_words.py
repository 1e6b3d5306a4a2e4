"""Verda's shapes to our records, from what its SDKs have recorded."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lyc.errors import UsageError
from lyc.providers.verda import CAPABILITIES, market, translate
from lyc.records.rental import MachineState, Offer, Order

SHAPES: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "verda.json").read_text())
OWNER = "0a1b2c3d"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 lyc"


def order(offer: str = "1H100.80S.30V@FIN-01", **more: Any) -> Order:
    sold = Offer("verda", offer, "h100", "1H100.80S.30V", 1, Decimal("1.99"), "USD")
    return Order(f"{OWNER}-00000001", sold, KEY, **more)


def offers() -> dict[str, Offer]:
    places = market.places(SHAPES["locations"], CAPABILITIES.regions)
    stock = market.stock(SHAPES["availability"])
    sold = market.offers(SHAPES["instance_types"], places, {False: stock, True: {}}, now=5.0)
    return {offer.id: offer for offer in sold}


def test_what_is_sold_where_and_for_how_much():
    sold = offers()
    assert set(sold) == {
        *(f"1H100.80S.30V@{place}{spot}" for place in ("FIN-01", "ICE-01", "XYZ-01") for spot in ("", "@spot")),
        *(f"8V100.48V@{place}" for place in ("FIN-01", "ICE-01", "XYZ-01")),  # no spot price, no spot
    }
    assert sold["1H100.80S.30V@FIN-01"] == Offer(
        "verda", "1H100.80S.30V@FIN-01", "h100", "1H100.80S.30V", 1, Decimal("1.99"), "USD", region="FIN-01",
        country="FI", stock=None, vcpus=30, memory=120 * 10**9, seen_at=5.0,
    )  # fmt: skip
    spot = sold["1H100.80S.30V@FIN-01@spot"]
    assert (spot.spot, spot.per_hour, spot.stock) == (True, Decimal("0.98"), 0)


def test_a_place_has_the_country_that_is_said_else_the_documented_one_else_none():
    sold = offers()
    assert [sold[f"8V100.48V@{place}"].country for place in ("FIN-01", "ICE-01", "XYZ-01")] == ["FI", "IS", ""]
    assert sold["8V100.48V@ICE-01"].stock == 0


@pytest.mark.parametrize(
    ("name", "gigabytes", "count", "card"),
    [
        ("1H100.80S.30V", 80, 1, "h100"),
        ("8H100.80S.176V", 640, 8, "h100"),
        ("8H100.80S.176V", 80, 8, "h100"),
        ("2A100.40S.44V", 80, 2, "a100-40"),
        ("2A100.40S.44V", 40, 2, "a100-40"),
        ("8A100.176V", 80, 8, "a100-80"),
        ("1A100.22V", 80, 1, "a100-80"),
        ("1A100.40S.22V", 40, 1, "a100-40"),
        ("1L40S.20V", 48, 1, "l40s"),
        ("1H200.141S.44V", 141, 1, "h200"),
        ("1B200.30V", 180, 1, "b200"),
        ("1B300.30V", 268, 1, "b300"),
        ("1GB300.32V", 288, 1, "gb300"),
        ("1RTXPRO6000.30V", 96, 1, "rtx-pro-6000"),
        ("1RTX6000ADA.10V", 48, 1, "rtx-6000-ada"),
        ("1A6000.10V", 48, 1, "rtx-a6000"),
        ("1V100.6V", 16, 1, ""),
        ("1H100.20S.4V", 20, 1, ""),  # a part of one is not one
        ("whatever", 80, 1, ""),
    ],
)
def test_cards(name: str, gigabytes: int, count: int, card: str):
    assert market.card({"instance_type": name, "gpu_memory": {"size_in_gigabytes": gigabytes}}, count) == card


def test_an_instance():
    machine = translate.machine(SHAPES["instance"])
    assert (machine.state, machine.word, machine.run_id) == (MachineState.RUNNING, "running", f"{OWNER}-00000001")
    assert (machine.address, machine.port, machine.region) == ("203.0.113.5", 22, "FIN-01")
    assert machine.created_at == 1795176000.0


def test_an_instance_that_is_not_provisioned_has_nulls():
    machine = translate.machine(SHAPES["instance"] | {"status": "ordered", "ip": None, "created_at": None})
    assert (machine.state, machine.address, machine.port, machine.created_at) == (
        MachineState.CREATING,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("word", "state"),
    [*translate.STATES.items(), ("unknown", MachineState.UNKNOWN), ("quiescing", MachineState.UNKNOWN)],
)
def test_states(word: str, state: MachineState):
    machine = translate.machine(SHAPES["instance"] | {"status": word})
    assert (machine.state, machine.word, bool(machine.problem)) == (state, word, state is MachineState.FAILED)


@pytest.mark.parametrize("lost", [("hostname",), ("hostname", "description"), ("tags", "description")])
def test_a_renamed_machine_is_still_ours(lost: tuple[str, ...]):
    row = SHAPES["instance"] | {name: "box" if name != "tags" else [] for name in lost}
    assert translate.machine(row).run_id == f"{OWNER}-00000001"


def test_a_foreign_machine_is_not():
    assert (
        translate.machine(SHAPES["instance"] | {"hostname": "box", "description": "lyc", "tags": None}).run_id is None
    )


def test_the_order():
    assert translate.order_json(order(), image_type="ubuntu", key="k", script="s") == {
        "instance_type": "1H100.80S.30V",
        "image": "ubuntu",
        "hostname": "lyc-0a1b2c3d-00000001",
        "description": "lyc-0a1b2c3d-00000001",
        "location_code": "FIN-01",
        "ssh_key_ids": ["k"],
        "os_volume": {
            "name": "lyc-0a1b2c3d-00000001",
            "size": 100,
            "tags": [{"key": "lyc", "value": "0a1b2c3d-00000001"}],
        },
        "is_spot": False,
        "contract": "PAY_AS_YOU_GO",
        "startup_script_id": "s",
        "tags": [{"key": "lyc", "value": "0a1b2c3d-00000001"}],
    }


def test_a_spot_order_leaves_no_disk_behind_and_disks_are_rounded_up():
    spot = order("1H100.80S.30V@FIN-01@spot", disk=200 * 10**9 + 1)
    body = translate.order_json(spot, image_type="ubuntu", key="k", script=None)
    volume: Any = body["os_volume"]
    assert (volume["size"], volume["on_spot_discontinue"]) == (201, "delete_permanently")
    assert (body["contract"], body["is_spot"]) == ("SPOT", True)
    assert "startup_script_id" not in body


@pytest.mark.parametrize("offer", ["", "H100", "H100@", "@FIN-01", "H100@FIN-01@later", "a@b@spot@spot"])
def test_an_offer_that_is_none(offer: str):
    with pytest.raises(UsageError) as caught:
        market.parts(offer)
    assert caught.value.ref == "offer-gone"


def test_the_end_names_the_os_volume_and_nothing_else():
    row = SHAPES["instance"] | {"volume_ids": ["46fc0247-8f65-4d8a-ad73-852a8b3dc1d3", "somebody's"]}
    assert translate.end_json(row) == {
        "id": ["deadc0de-a5d2-4972-ae4e-d429115d055b"],
        "action": "delete",
        "volume_ids": ["46fc0247-8f65-4d8a-ad73-852a8b3dc1d3"],
        "delete_permanently": True,
    }
    unknown = translate.end_json(row | {"os_volume_id": None})
    assert set(unknown) == {"id", "action"}  # volume_ids: [] would keep it


def test_what_went_wrong_in_a_207():
    assert translate.failures(SHAPES["partly"], "deadc0de-a5d2-4972-ae4e-d429115d055b") == [(409, "stuck")]
    assert translate.failures(SHAPES["partly"], "another") == []
    assert translate.failures(None, "another") == []
    missing = [{"instanceId": "x", "status": "error", "error": "not found", "statusCode": 404}]
    assert translate.failures(missing, "x") == []


@pytest.mark.parametrize(
    ("answer", "identity"),
    [
        ("deadc0de-a5d2", "deadc0de-a5d2"),
        ({"id": "deadc0de"}, "deadc0de"),
        ('{"half": ', None),
        ("", None),
        (None, None),
        ({}, None),
        ("<html>", None),
    ],
)
def test_ids_come_as_text(answer: object, identity: str | None):
    assert translate.identity(answer) == identity


def test_the_image():
    assert market.image(SHAPES["images"]) == "ubuntu-24.04-cuda-13.0-open-docker"
    assert market.image(SHAPES["images"][:1]) is None


def test_leftovers():
    found = translate.leftovers(OWNER, volumes=SHAPES["volumes"], keys=SHAPES["keys"], scripts=SHAPES["scripts"])
    assert [(one.kind, one.id, one.run_id, one.billed) for one in found] == [
        ("volume", "v-ours", f"{OWNER}-00000001", True),
        ("volume", "v-tags", f"{OWNER}-00000004", True),
        ("script", "s-ours", f"{OWNER}-00000001", False),
        ("key", "k-ours", None, False),
    ]


@pytest.mark.parametrize(
    ("value", "amount"), [("1.99", "1.99"), (1.99, "1.99"), (None, None), ("0.00", None), ("-", None)]
)
def test_money(value: object, amount: str | None):
    assert market.money(value) == (None if amount is None else Decimal(amount))
