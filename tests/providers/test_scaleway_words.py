"""Scaleway's shapes to our records, from what it and its SDK have recorded."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lyc.errors import Failed, UsageError
from lyc.providers.scaleway import CAPABILITIES, translate
from lyc.records.rental import MachineState, Offer, Order

SHAPES: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "scaleway.json").read_text())
OWNER = "0a1b2c3d"
ZONES = CAPABILITIES.regions


def order(**more: Any) -> Order:
    sold = Offer("scaleway", "L4-1-24G@fr-par-2", "l4", "L4-1-24G", 1, Decimal("0.7875"), "EUR")
    return Order(f"{OWNER}-00000001", sold, "ssh-ed25519 AAAAC3 lyc of somebody", **more)


def test_what_a_zone_sells():
    sold = translate.offers("fr-par-2", "FR", SHAPES["types"], SHAPES["availability"], now=5.0)
    assert [(one.product, one.card, one.count, str(one.per_hour), one.stock) for one in sold] == [
        ("L4-1-24G", "l4", 1, "0.7875", None),
        ("L40S-1-48G", "l40s", 1, "1.469916", None),
        ("H100-1-80G", "h100-pcie", 1, "2.8665", 0),
        ("H100-SXM-8-80G", "h100", 8, "25.3308", None),
        ("B300-SXM-8-288G", "b300", 8, "60", None),
        ("RENDER-S", "", 1, "1.221", None),
        ("H100-1-MIG", "", 1, "0.5", None),  # a part of a card is not the card
    ]
    first = sold[0]
    assert (first.id, first.region, first.country, first.currency) == ("L4-1-24G@fr-par-2", "fr-par-2", "FR", "EUR")
    assert (first.vcpus, first.memory, first.seen_at, first.spot) == (8, 51539607552, 5.0, False)


def test_each_zone_has_a_country():
    assert {region.country for region in ZONES.values()} == {"FR", "NL", "PL"}
    assert all(zone[:2].upper() == region.country for zone, region in ZONES.items())


def test_a_server():
    machine = translate.machine(SHAPES["server"])
    assert machine.id == "fr-par-2/5a33b4ab-57dd-4eb6-8b0a-d95eb63492ce"
    assert (machine.state, machine.word, machine.run_id) == (MachineState.RUNNING, "running", f"{OWNER}-00000001")
    assert (machine.address, machine.port, machine.region) == ("203.0.113.7", 22, "fr-par-2")
    assert machine.created_at == 1795176000.0


@pytest.mark.parametrize(
    ("ips", "ip", "address"),
    [
        ([], None, None),
        (None, None, None),
        ([{"address": "", "family": "inet"}], None, None),
        ([{"address": "2001:db8::1", "family": "inet6"}], None, None),
        ([], {"address": "203.0.113.8"}, "203.0.113.8"),
    ],
)
def test_addresses(ips: Any, ip: Any, address: str | None):
    machine = translate.machine(SHAPES["server"] | {"public_ips": ips, "public_ip": ip})
    assert (machine.address, machine.port) == (address, 22 if address else None)


@pytest.mark.parametrize("word", [*translate.STATES, "quiescing"])
def test_states(word: str):
    machine = translate.machine(SHAPES["server"] | {"state": word, "state_detail": ""})
    state = translate.STATES.get(word, MachineState.UNKNOWN)
    assert (machine.state, machine.word, machine.alive) == (state, word, True)
    assert machine.problem == ("locked" if word == "locked" else "")


def test_a_server_that_is_renamed_or_loses_its_tags_is_still_ours():
    assert translate.machine(SHAPES["server"] | {"name": "box"}).run_id == f"{OWNER}-00000001"
    assert translate.machine(SHAPES["server"] | {"tags": []}).run_id == f"{OWNER}-00000001"
    assert translate.machine(SHAPES["server"] | {"name": "box", "tags": ["lyc"]}).run_id is None


def test_the_order():
    assert translate.order_json(order(), server_type="L4-1-24G", image="gpu") == {
        "name": "lyc-0a1b2c3d-00000001",
        "commercial_type": "L4-1-24G",
        "image": "gpu",
        "tags": ["lyc", "lyc-0a1b2c3d-00000001", "AUTHORIZED_KEY=ssh-ed25519_AAAAC3"],
        "volumes": {"0": {"name": "lyc-0a1b2c3d-00000001", "size": 100 * 10**9, "volume_type": "sbs_volume"}},
        "dynamic_ip_required": True,
        "protected": False,
    }


@pytest.mark.parametrize(("wanted", "size"), [(1, 10**9), (200 * 10**9, 200 * 10**9), (200 * 10**9 + 1, 201 * 10**9)])
def test_disks_are_whole_gigabytes(wanted: int, size: int):
    body: Any = translate.order_json(order(disk=wanted), server_type="L4-1-24G", image="gpu")
    assert body["volumes"]["0"]["size"] == size
    assert size % 512 == 0


def test_cloud_init():
    head, _, rest = translate.cloud_init(order()).partition("\n")
    assert head == "#cloud-config"
    assert json.loads(rest) == {"disable_root": False, "ssh_authorized_keys": ["ssh-ed25519 AAAAC3 lyc of somebody"]}
    script = "#!/bin/sh\necho 'ü: \"x\"'\n"
    config = json.loads(translate.cloud_init(order(boot_script=script)).partition("\n")[2])
    (file,) = config["write_files"]
    assert base64.b64decode(file["content"]).decode() == script
    assert (file["permissions"], config["runcmd"]) == ("0700", [[file["path"]]])


def test_the_disk_that_came_with_a_server():
    assert translate.own_volume(SHAPES["server"]) == ("0b0b0b0b-0000-4000-8000-000000000001", True)
    local = {"volumes": {"0": {"id": "x", "volume_type": "l_ssd"}}}
    assert translate.own_volume(local) == ("x", False)
    assert [translate.own_volume(row) for row in ({}, {"volumes": {}}, {"volumes": {"1": {"id": "x"}}})] == [None] * 3


def test_the_image_is_one_that_fits_the_type():
    assert translate.image(SHAPES["images"], "H100-1-80G") == "gpu"
    assert translate.image(SHAPES["images"], "B300-SXM-8-288G") is None


def test_leftovers():
    found = translate.leftovers(OWNER, "fr-par-2", SHAPES["volumes"])
    assert [(one.kind, one.id, one.run_id, one.billed) for one in found] == [
        ("volume", "fr-par-2/v-name", f"{OWNER}-00000001", True),
        ("volume", "fr-par-2/v-tags", f"{OWNER}-00000002", True),
    ]


def test_what_kind_of_refusal():
    assert translate.error_type(SHAPES["quota"]) == "quotas_exceeded"
    assert translate.error_type(SHAPES["out_of_stock"]) == "out_of_stock"
    assert [translate.error_type(body) for body in ("<html>", None, {}, {"type": None})] == [""] * 4
    assert translate.is_busy(409, "")
    assert translate.is_busy(400, {"type": "transient_state"})
    assert not translate.is_busy(400, {"type": "invalid_arguments"})


@pytest.mark.parametrize("offer", ["", "L4-1-24G", "@fr-par-1", "L4-1-24G@it-mil-1", "1-rap-rf@G42-1-4L"])
def test_an_offer_that_is_none(offer: str):
    with pytest.raises(UsageError) as caught:
        translate.parts(offer, ZONES)
    assert caught.value.ref == "offer-gone"


@pytest.mark.parametrize("identity", ["5a33b4ab", "it-mil-1/5a33b4ab", "fr-par-1/", "fr-par-1/a/b", "fr-par-1/.."])
def test_an_id_that_is_none(identity: str):
    with pytest.raises(Failed) as caught:
        translate.place(identity, ZONES)
    assert caught.value.ref == "provider-refused"
