"""Lambda's words to ours: shapes of the published document, and those that are known to come besides."""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lyc.providers.lambda_cloud import translate
from lyc.records.rental import Order
from lyc.units import GIB
from tests.providers.published import Published

DATA = Path(__file__).parent / "data"
INSTANCES = json.loads((DATA / "lambda_instances.json").read_text())
TYPES = json.loads((DATA / "lambda_types.json").read_text())
OFFERS = {offer.id: offer for offer in translate.offers(TYPES, 1000.0)}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 lyc"


@pytest.mark.parametrize("case", INSTANCES, ids=[case["why"] for case in INSTANCES])
def test_a_machine(case: dict[str, Any]) -> None:
    told = asdict(translate.machine(case["instance"]))
    assert {key: told[key] for key in case["machine"]} == case["machine"]


def test_machines_that_are_gone_are_left_out() -> None:
    found = translate.machines([case["instance"] for case in INSTANCES])
    assert "a8" not in [one.id for one in found]
    assert len(found) == len(INSTANCES) - 1


@pytest.mark.parametrize("data", [None, {}, "x", [{}], [None]])
def test_what_is_no_list_of_machines_is_odd(data: object) -> None:
    with pytest.raises(translate.Odd):
        translate.machines(data)


def test_offers_by_kind_and_region() -> None:
    assert {
        identity: (one.card, one.count, str(one.per_hour), one.country, one.stock) for identity, one in OFFERS.items()
    } == {
        "us-west-3/gpu_1x_h100_pcie": ("h100-pcie", 1, "3.29", "US", None),
        "europe-central-1/gpu_1x_h100_pcie": ("h100-pcie", 1, "3.29", "DE", None),
        "us-east-9/gpu_8x_h100_sxm5": ("h100", 8, "31.92", "US", None),
        "europe-west-7/gpu_8x_example": ("", 8, "15.92", "", None),
        # Sold out everywhere: it is told of, and of no place.
        "/gpu_1x_gh200": ("gh200-96", 1, "2.29", "", 0),
        # As an older document has it: no count, no description of the card.
        "us-south-1/gpu_2x_a100": ("a100-40-pcie", 2, "2.58", "US", None),
    }


def test_an_offer_is_told_whole() -> None:
    one = OFFERS["us-west-3/gpu_1x_h100_pcie"]
    assert (one.provider, one.product, one.currency, one.region) == ("lambda", "H100 (80 GB PCIe)", "USD", "us-west-3")
    assert (one.vcpus, one.memory, one.disk, one.seen_at) == (26, 225 * GIB, 2816 * GIB, 1000.0)
    assert one.per_hour == Decimal("3.29")


@pytest.mark.parametrize(
    ("description", "card"),
    [
        ("A10 (24 GB PCIe)", "a10"),
        ("A100 (40 GB SXM4)", "a100-40"),
        ("A100 (80 GB SXM4)", "a100-80"),
        ("8x A100 (80 GB SXM4)", "a100-80"),
        ("NVIDIA A100 (40 GB PCIe)", "a100-40-pcie"),
        ("RTX A6000 (48 GB)", "rtx-a6000"),
        ("B200 (180 GB SXM6)", "b200"),
        ("GH200 (96 GB)", "gh200-96"),
        ("H100 (96 GB SXM5)", ""),
        ("Tesla V100 (16 GB)", ""),
        ("", ""),
    ],
)
def test_cards(description: str, card: str) -> None:
    assert translate.card(description) == card


@pytest.mark.parametrize(
    ("region", "description", "country"),
    [
        ("us-west-1", "California, USA", "US"),
        ("us-west-1", "", "US"),
        ("us-west-1", "Bavaria, Germany", ""),
        ("europe-north-1", "Oulu, Finland", ""),
        ("europe-north-1", "Germany", "DE"),
        ("", "", ""),
    ],
)
def test_countries(region: str, description: str, country: str) -> None:
    assert translate.country(region, description) == country


def _order(boot_script: str | None = None) -> Order:
    offer = OFFERS["us-west-3/gpu_1x_h100_pcie"]
    return Order(run_id="0123abcd-89ef4567", offer=offer, public_key=KEY, boot_script=boot_script)


def test_the_body_of_an_order() -> None:
    assert translate.launch_body(_order("#!/bin/sh\ntrue\n"), "lyc-0123abcd") == {
        "region_name": "us-west-3",
        "instance_type_name": "gpu_1x_h100_pcie",
        "ssh_key_names": ["lyc-0123abcd"],
        "name": "lyc-0123abcd-89ef4567",
        "tags": [{"key": "lyc-run", "value": "0123abcd-89ef4567"}],
        "user_data": "#!/bin/sh\ntrue\n",
    }


@pytest.mark.parametrize("script", [None, "#!/bin/sh\n"])
def test_a_body_is_as_published(script: str | None) -> None:
    Published("lambda").validate("InstanceLaunchRequest", translate.launch_body(_order(script), "lyc-0123abcd"))


@pytest.mark.parametrize("data", [None, {}, {"instance_ids": []}, {"instance_ids": "x"}])
def test_a_launch_that_names_no_machine_is_odd(data: object) -> None:
    with pytest.raises(translate.Odd):
        translate.launched(data)


OTHER = translate.Key("k2", "lyc-0123abcd", "ssh-ed25519 BBBB lyc")
SPARE = "lyc-0123abcd-key-" + translate.key_for(_order(), [OTHER])[0][-8:]


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], ("lyc-0123abcd", False)),
        ([translate.Key("k1", "mine", KEY)], ("lyc-0123abcd", False)),
        ([translate.Key("k1", "lyc-0123abcd", KEY.replace(" lyc", " another comment"))], ("lyc-0123abcd", True)),
        ([OTHER], (SPARE, False)),
        ([OTHER, translate.Key("k3", SPARE, KEY)], (SPARE, True)),
    ],
    ids=["none", "somebody's", "ours", "another's name", "ours beside it"],
)
def test_the_key_of_a_controller(there: list[translate.Key], found: tuple[str, bool]) -> None:
    assert translate.key_for(_order(), there) == found


def test_a_name_that_tells_a_key_and_holds_another_is_odd() -> None:
    with pytest.raises(translate.Odd):
        translate.key_for(_order(), [OTHER, translate.Key("k3", SPARE, OTHER.public_key)])


def test_leftovers_are_the_keys_of_this_controller() -> None:
    names = ["lyc-0123abcd", SPARE, "lyc-0123abcde", "lyc-99999999", "lyc", "mine", "lyc-0123abcd-keys"]
    found = translate.leftovers([translate.Key(name, name, KEY) for name in names], "0123abcd")
    assert [(one.kind, one.id, one.run_id) for one in found] == [("key", "lyc-0123abcd", None), ("key", SPARE, None)]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"code": "global/quota-exceeded", "message": "no"}}, "global/quota-exceeded"),
        ({"error": "no"}, ""),
        ("no", ""),
        (None, ""),
    ],
)
def test_the_code_of_a_refusal(body: object, code: str) -> None:
    assert translate.code(body) == code
