"""RunPod's words to ours: shapes of the published document, and those that are known to come besides."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lyc.engines import requirements
from lyc.engines.versions import pinned
from lyc.providers.runpod import CAPABILITIES, translate
from lyc.providers.runpod.places import REGIONS
from lyc.records.rental import Order
from tests.providers.published import Published

DATA = Path(__file__).parent / "data"
PODS = json.loads((DATA / "runpod_pods.json").read_text())
MARKET = json.loads((DATA / "runpod_market.json").read_text())
OFFERS = {offer.id: offer for offer in translate.offers(MARKET, 1000.0)}


@pytest.mark.parametrize("case", PODS, ids=[case["why"] for case in PODS])
def test_a_pod(case: dict[str, Any]) -> None:
    told = asdict(translate.pod(case["pod"]))
    assert {key: told[key] for key in case["machine"]} == case["machine"]


def test_pods_that_are_gone_are_left_out() -> None:
    found = translate.pods([case["pod"] for case in PODS])
    assert [one.id for one in found] == [case["pod"]["id"] for case in PODS if case["machine"]["state"] != "gone"]


@pytest.mark.parametrize("answer", [None, {}, {"pods": []}, "pods", [{}], [None], [{"id": ""}]])
def test_what_is_no_list_of_pods_is_odd(answer: object) -> None:
    with pytest.raises(translate.Odd):
        translate.pods(answer)


def test_offers_by_centre_count_and_way() -> None:
    assert list(OFFERS) == [
        "SECURE/EU-RO-1/on-demand/1/NVIDIA H100 80GB HBM3",
        "SECURE/EU-RO-1/on-demand/2/NVIDIA H100 80GB HBM3",
        "SECURE/EU-RO-1/spot/1/NVIDIA H100 80GB HBM3",
        "SECURE/EU-RO-1/spot/2/NVIDIA H100 80GB HBM3",
        *(f"SECURE/EU-RO-1/on-demand/{count}/AMD Instinct MI300X OAM" for count in (1, 2, 4, 8)),
        "SECURE/EU-RO-1/on-demand/1/NVIDIA RTX 9999",
        "SECURE/EU-XX-9/on-demand/1/NVIDIA H100 80GB HBM3",
        "SECURE/EU-XX-9/on-demand/2/NVIDIA H100 80GB HBM3",
        "SECURE/EU-XX-9/spot/1/NVIDIA H100 80GB HBM3",
        "SECURE/EU-XX-9/spot/2/NVIDIA H100 80GB HBM3",
        "COMMUNITY//on-demand/1/NVIDIA H100 80GB HBM3",
    ]


def test_an_offer_is_told_whole() -> None:
    two = OFFERS["SECURE/EU-RO-1/on-demand/2/NVIDIA H100 80GB HBM3"]
    assert (two.card, two.product, two.count, two.per_hour, two.currency) == (
        "h100",
        "H100 SXM",
        2,
        Decimal("6.98"),
        "USD",
    )
    assert (two.region, two.country, two.spot, two.stock, two.seen_at) == ("EU-RO-1", "RO", False, None, 1000.0)
    one = OFFERS["SECURE/EU-RO-1/spot/1/NVIDIA H100 80GB HBM3"]
    assert (one.spot, one.per_hour, one.vcpus, one.memory) == (True, Decimal("1.75"), 16, 125 * 10**9)


def test_what_is_not_known_is_not_made_up() -> None:
    assert OFFERS["SECURE/EU-XX-9/on-demand/1/NVIDIA H100 80GB HBM3"].country == ""
    community = OFFERS["COMMUNITY//on-demand/1/NVIDIA H100 80GB HBM3"]
    assert (community.country, community.region, community.product) == ("", "", "H100 SXM (Community Cloud)")
    assert OFFERS["SECURE/EU-RO-1/on-demand/1/NVIDIA RTX 9999"].card == ""
    amd = OFFERS["SECURE/EU-RO-1/on-demand/1/AMD Instinct MI300X OAM"]
    assert (amd.card, amd.vcpus, amd.memory) == ("mi300x", None, None)


def test_stock_is_only_whether_there_is_any() -> None:
    assert OFFERS["SECURE/EU-RO-1/on-demand/1/AMD Instinct MI300X OAM"].stock == 0
    assert OFFERS["SECURE/EU-XX-9/spot/1/NVIDIA H100 80GB HBM3"].stock == 0
    assert OFFERS["SECURE/EU-RO-1/on-demand/1/NVIDIA RTX 9999"].stock is None


def test_a_market_without_its_lists_is_odd() -> None:
    with pytest.raises(translate.Odd, match="dataCenters"):
        translate.offers({"gpuTypes": []}, 0.0)


def _order(offer: str, **more: Any) -> Order:
    return Order(run_id="0123abcd-89ef4567", offer=OFFERS[offer], public_key="ssh-ed25519 AAAA lyc", **more)


def test_the_body_of_an_order() -> None:
    order = _order(
        "SECURE/EU-RO-1/on-demand/2/NVIDIA H100 80GB HBM3", disk=300 * 10**9 + 1, boot_script="#!/bin/sh\ntrue\n"
    )
    body = translate.create_body(order, "the start", 1234.2)
    assert (body["name"], body["gpuCount"], body["gpuTypeIds"]) == (
        "lyc-0123abcd-89ef4567",
        2,
        ["NVIDIA H100 80GB HBM3"],
    )
    assert (body["cloudType"], body["dataCenterIds"], body["interruptible"]) == ("SECURE", ["EU-RO-1"], False)
    # A volume would be paid for after the pod has stopped, and 20 GB of it are the default.
    assert (body["containerDiskInGb"], body["volumeInGb"], body["ports"]) == (301, 0, ["22/tcp"])
    assert body["env"]["LYC_PUBLIC_KEY"] == "ssh-ed25519 AAAA lyc"
    assert body["env"]["LYC_ENDS_AT"] == "1235"
    assert base64.b64decode(body["env"]["LYC_BOOT_SCRIPT"]) == b"#!/bin/sh\ntrue\n"
    assert body["dockerStartCmd"] == ["bash", "-c", "the start"]


def test_the_body_of_an_order_elsewhere() -> None:
    order = replace(_order("COMMUNITY//on-demand/1/NVIDIA H100 80GB HBM3"))
    body = translate.create_body(order, "", None)
    assert body["supportPublicIp"] is True
    assert "dataCenterIds" not in body
    assert "LYC_ENDS_AT" not in body["env"]
    assert body["containerDiskInGb"] == 50
    spot = translate.create_body(_order("SECURE/EU-RO-1/spot/1/NVIDIA H100 80GB HBM3"), "", None)
    assert spot["interruptible"] is True


@pytest.mark.parametrize("offer", [one for one in OFFERS if "9999" not in one and "XX" not in one])
def test_a_body_is_as_published(offer: str) -> None:
    Published("runpod").validate("PodCreateInput", translate.create_body(_order(offer), "x", 5.0))


def test_bills() -> None:
    (one,) = translate.bills(
        [
            {"amount": 1.745, "podId": "a1", "time": "2023-01-01T00:00:00Z", "timeBilledMs": 1800000},
            {"amount": 3, "gpuTypeId": "NVIDIA L40S", "time": "2023-01-01 00:00:00"},
        ]
    )
    assert (one.machine, one.amount, one.currency) == ("a1", Decimal("1.745"), "USD")
    assert (one.since, one.until) == (1672531200.0, 1672534800.0)


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("2023-01-01T00:00:00Z", 1672531200.0),
        ("2023-01-01 00:00:00", 1672531200.0),
        ("2023-01-01T01:00:00+01:00", 1672531200.0),
    ],
)
def test_times(text: str, epoch: float) -> None:
    assert translate.epoch(text) == epoch
    assert translate.epoch(translate.stamp(epoch)) == epoch


def test_a_time_that_is_none_is_odd() -> None:
    with pytest.raises(translate.Odd):
        translate.epoch("yesterday")


@pytest.mark.parametrize(
    ("text", "sold_out", "too_poor"),
    [
        ("create pod: There are no instances currently available", True, False),
        ("There are no longer any instances available with the requested specifications.", True, False),
        ("There are no longer any instances available with enough disk space.", True, False),
        ("Your account balance is too low", False, True),
        ("Something went wrong.", False, False),
    ],
)
def test_sentences_that_mean_something(text: str, sold_out: bool, too_poor: bool) -> None:
    assert translate.sold_out(text) is sold_out
    assert translate.too_poor(text) is too_poor


def test_hosts_have_a_driver_for_the_engine() -> None:
    needed = requirements.cuda(pinned(on_cpu=False))
    assert needed is not None
    assert all(tuple(int(part) for part in version.split(".")) >= needed for version in translate.CUDA)


def test_every_data_centre_that_is_published_has_a_country() -> None:
    schema = Published("runpod").schema("PodCreateInput")
    assert set(schema["properties"]["dataCenterIds"]["items"]["enum"]) <= set(REGIONS)
    assert REGIONS["US-DE-1"].country == "US"  # Delaware
    assert CAPABILITIES.regions is REGIONS
