"""SkyPilot's words: rows as its server of version 0.14.1 has told them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lyc.providers.sky import translate
from lyc.providers.sky.places import CLOUDS, REGIONS
from lyc.records.rental import MachineState, Offer, Order
from lyc.units import GIB

NAME = "lyc-0a1b2c3d-00000006"
ROW: dict[str, Any] = json.loads("""{
    "name": "lyc-0a1b2c3d-00000006", "launched_at": 1795346990, "status": "INIT", "autostop": -1, "to_down": false,
    "owner": ["AKIAIOSFODNN7EXAMPLE", "123456789012"], "metadata": {}, "cluster_ever_up": false,
    "cluster_hash": "33c5f6bf-d312-4eda-b50e-fbf7419eafba", "status_updated_at": 1795346990, "user_hash": "0a1b2c3d",
    "user_name": "lyc", "workspace": "default", "is_managed": false,
    "last_event": "Instances launched on aws in us-east-1", "init_kind": "launching",
    "init_status_reason": "Instances launched on aws in us-east-1", "nodes": 1, "cloud": "AWS", "region": "us-east-1",
    "accelerators": "{'A10G': 1}", "labels": {"lyc-run": "0a1b2c3d-00000006"},
    "cluster_name_on_cloud": "lyc-0a1b2c3d-00000006-0a1b2c3d", "priority": 0, "links": {}, "handle": "gAROLg=="
}""")
UP = {"status": "UP", "cluster_ever_up": True, "init_kind": None, "init_status_reason": None}


def request(verb: str, status: str, at: float) -> translate.Request:
    return translate.Request(f"{verb}-{at:.0f}", verb, status, at, NAME)


def launch(status: str, at: float = 1.0) -> translate.Request:
    return request(translate.LAUNCH, status, at)


def down(status: str, at: float = 2.0) -> translate.Request:
    return request(translate.DOWN, status, at)


@pytest.mark.parametrize(
    ("change", "requests", "state"),
    [
        ({}, [launch("RUNNING")], MachineState.CREATING),
        ({}, [launch("WAITING")], MachineState.CREATING),
        ({}, [launch("SUCCEEDED")], MachineState.CREATING),  # it has come up since the requests were read
        ({}, [launch("FAILED")], MachineState.FAILED),
        ({}, [launch("CANCELLED")], MachineState.FAILED),
        ({}, [launch("FAILED"), launch("PENDING", 3.0)], MachineState.CREATING),
        ({}, [], MachineState.FAILED),  # the server was started anew: its requests are gone
        ({}, [launch("RUNNING"), down("PENDING")], MachineState.ENDING),
        ({"cluster_ever_up": True, "init_kind": "unhealthy"}, [], MachineState.UNKNOWN),
        (UP, [launch("SUCCEEDED")], MachineState.RUNNING),
        (UP, [launch("SUCCEEDED"), down("RUNNING")], MachineState.ENDING),
        (UP, [launch("SUCCEEDED"), down("FAILED")], MachineState.RUNNING),
        ({**UP, "status": "STOPPED"}, [], MachineState.STOPPED),
        ({**UP, "status": "AUTOSTOPPING"}, [], MachineState.ENDING),
        ({**UP, "status": "MELTING"}, [], MachineState.UNKNOWN),
    ],
)
def test_states(change: dict[str, Any], requests: list[translate.Request], state: MachineState) -> None:
    found = translate.machine(ROW | change, requests)
    assert (found.state, found.alive) == (state, True)
    assert (found.id, found.run_id, found.region) == (NAME, "0a1b2c3d-00000006", "aws/us-east-1")
    assert found.created_at == 1795346990.0


def test_why_it_will_not_come_up() -> None:
    told = "its launch was not finished; the last that was told: Instances launched on aws in us-east-1"
    assert translate.machine(ROW, []).problem == told
    assert (
        translate.machine(ROW | {"init_status_reason": None, "last_event": None}, []).problem
        == told.split(";", maxsplit=1)[0]
    )
    unwell = {"cluster_ever_up": True, "init_kind": "unhealthy", "init_status_reason": "Ray is gone"}
    assert translate.machine(ROW | unwell, []).problem == "Ray is gone"


def test_an_end_that_failed_is_told_until_the_next_launch() -> None:
    assert "sky api logs sky.down-2" in translate.machine(ROW | UP, [launch("SUCCEEDED"), down("FAILED")]).problem
    assert translate.machine(ROW | UP, [down("FAILED"), launch("SUCCEEDED", 3.0)]).problem == ""


def test_only_launches_and_ends_count() -> None:
    rows = [
        {"request_id": "skypilot-status-refresh-daemon", "name": "sky.status-refresh", "status": "RUNNING",
         "created_at": 1795346695.9, "cluster_name": None},
        {"request_id": "a", "name": "sky.launch", "status": "RUNNING", "created_at": 5.0, "cluster_name": NAME},
        {"request_id": "b", "name": "sky.endpoints", "status": "FAILED", "created_at": 6.0, "cluster_name": NAME},
        {"request_id": "c", "name": "sky.down", "status": "PENDING", "created_at": 7.0, "cluster_name": NAME},
    ]  # fmt: skip
    assert [(one.id, one.active) for one in translate.journal(rows)] == [("c", True), ("a", True)]
    with pytest.raises(translate.Odd):
        translate.journal({"detail": "?"})


@pytest.mark.parametrize(
    ("cloud", "kind", "name", "gib", "card"),
    [
        ("gcp", "a2-highgpu-1g", "A100", None, "a100-40"),
        ("gcp", "a2-ultragpu-1g", "A100-80GB", None, "a100-80"),
        ("nebius", "gpu-h100-sxm_1gpu-16vcpu-200gb", "H100", 80.0, "h100"),
        ("azure", "Standard_ND96isr_H100_v5", "H100", None, "h100"),
        ("azure", "Standard_NC40ads_H100_v5", "H100", None, ""),
        ("paperspace", "H100", "H100", 80.0, ""),
        ("aws", "g5.xlarge", "A10G", 24.0, "a10g"),
        ("fluidstack", "L40_48GB::1", "L40", 48.0, "l40"),
        ("gcp", "n1-standard-8", "V100", None, ""),
        ("oci", "x", "L40S", 24.0, ""),
    ],
)
def test_cards(cloud: str, kind: str, name: str, gib: float | None, card: str) -> None:
    assert translate.card(cloud, kind, name, gib) == card


def test_rows_that_are_no_offers() -> None:
    """A part of a card, one without a machine, one without a price, one of a cloud that lyc does not rent from."""
    good = ["Nebius", "gpu-l40s-a_1gpu-8vcpu-32gb", "L40S", 1.0, 8.0, 48.0, 32.0, 1.5484, None, "eu-north1"]

    def but(place: int, value: object) -> list[object]:
        return [*good[:place], value, *good[place + 1 :]]

    rows = [good, good, but(3, 0.5), but(1, None), but(7, None), but(7, 0), but(0, "Kubernetes"), but(9, None)]
    (only,) = translate.offers({"L40S": rows}, 5.0)
    assert (only.id, str(only.per_hour), only.vcpus, only.memory) == (
        "nebius/eu-north1/gpu-l40s-a_1gpu-8vcpu-32gb/L40S:1", "1.5484", 8, 32 * GIB,
    )  # fmt: skip
    assert (only.country, only.owner, only.jurisdiction, only.seen_at) == ("FI", "Nebius Group N.V.", "", 5.0)
    with pytest.raises(ValueError, match="unpack"):
        translate.offers({"L40S": [good[:4]]}, 5.0)


def order(identity: str, **more: Any) -> Order:
    (offer,) = translate.offers({"L4": [["GCP", "g2-standard-4", "L4", 1, 4, None, 16, 1, None, "europe-west3"]]}, 1.0)
    sold = Offer("sky", identity, "l4", "L4", 1, offer.per_hour, "USD")
    return Order("0a1b2c3d-00000006", sold, "ssh-ed25519 AAAA lyc", **more)


def test_a_task() -> None:
    task = translate.task(order("gcp/europe-west3/g2-standard-4/L4:1/spot", disk=150 * GIB + 1, time_limit=3601.0))
    assert task["name"] == NAME
    assert task["resources"] == {
        "infra": "gcp/europe-west3",
        "instance_type": "g2-standard-4",
        "accelerators": {"L4": 1},
        "use_spot": True,
        "ports": ["22"],
        "labels": {"lyc-run": "0a1b2c3d-00000006"},
        "disk_size": 151,
        "autostop": {"idle_minutes": 61, "down": True, "wait_for": "none"},
    }
    plain = translate.task(order("gcp/europe-west3/g2-standard-4/L4:1"))["resources"]
    assert plain["use_spot"] is False
    assert plain.keys().isdisjoint({"disk_size", "autostop"})
    small = translate.task(order("gcp/europe-west3/g2-standard-4/L4:1", disk=GIB, time_limit=5.0))["resources"]
    assert (small["disk_size"], small["autostop"]["idle_minutes"]) == (100, 1)


@pytest.mark.parametrize(
    "identity",
    ["", "gcp", "gcp/r/t/L4", "gcp/r/t/L4:x", "gcp//t/L4:1", "vast/r/t/L4:1", "gcp/r/t/L4:1/on", "gcp/r/t/L4:1/spot/x"],
)
def test_an_offer_that_is_not_ours(identity: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        translate.task(order(identity))


def test_addresses() -> None:
    assert translate.address({"22": "203.0.113.7:22"}) == ("203.0.113.7", 22)
    assert translate.address({"22": "[2001:db8::7]:2222"}) == ("2001:db8::7", 2222)
    for odd in ({}, {"22": ""}, {"22": "203.0.113.7"}, None, {"80": "a:80"}):
        with pytest.raises(translate.Odd):
            translate.address(odd)


def test_every_region_is_of_a_cloud_and_has_a_country() -> None:
    assert {name.partition("/")[0] for name in REGIONS} <= CLOUDS.keys()
    assert all(len(region.country) == 2 for region in REGIONS.values())
    assert len({name.lower() for name in REGIONS}) == len(REGIONS)
