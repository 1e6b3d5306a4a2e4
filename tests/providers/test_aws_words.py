"""EC2's words and ours: pure, on facts of every kind of machine that moto knows."""

from __future__ import annotations

import gzip
import json
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from lyc.errors import Failed, NoFit, NotAuthorised, Unreachable, UsageError
from lyc.planning.catalogue.cards import CARDS
from lyc.providers.aws import CAPABILITIES, asked_regions, codes
from lyc.providers.aws.boot import LARGEST, user_data
from lyc.providers.aws.market import joined
from lyc.providers.aws.translate import (
    CPU_KINDS,
    launch,
    leftover,
    machine,
    newest,
    notice,
    offers,
    prices,
    sold,
    wanted,
)
from lyc.records.rental import MachineState, Offer, Order
from lyc.records.secret import Secret

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ lyc"
REGION = "eu-central-1"
RUN = "0a1b2c3d-00000001"


def kinds() -> dict[str, Any]:
    """Every kind of machine, as DescribeInstanceTypes told moto of it."""
    packed = files("moto").joinpath("ec2/resources/instance_types.json.gz").read_bytes()
    found: dict[str, Any] = json.loads(gzip.decompress(packed))
    return found


@pytest.fixture(scope="module")
def every() -> dict[str, Any]:
    return {name: {**kind, "InstanceType": name} for name, kind in kinds().items()}


def order(offer: str = f"{REGION}/g5.xlarge", **rest: Any) -> Order:
    return Order(RUN, Offer("aws", offer, "a10g", "", 1, Decimal(1), "USD"), KEY, **rest)


# -- offers


def test_only_whole_cards_beside_a_processor_with_engines(every: dict[str, Any]) -> None:
    families = {name.partition(".")[0] for name, kind in every.items() if sold(kind)}
    assert {"g4dn", "g5", "g6", "g6e", "g7e", "p4d", "p4de", "p5", "p5en", "p6-b200"} <= families
    assert not families & {"g6f", "gr6f", "g5g", "m5", "t3", "c7i"}  # slices of a card, ARM, no card


def test_cards_are_those_of_the_catalogue(every: dict[str, Any]) -> None:
    cards = {}
    for name in filter(lambda name: sold(every[name]), every):
        [offer] = offers(REGION, [every[name]], {name: Decimal(1)}, [], 1.0)
        cards[name] = (offer.card, offer.count)
    assert {card for card, _ in cards.values()} <= {"", "cpu", *CARDS}
    assert {name for name, (card, _) in cards.items() if card == "cpu"} == set(CPU_KINDS)
    assert cards["p4d.24xlarge"] == ("a100-40", 8)
    assert cards["p4de.24xlarge"] == ("a100-80", 8)
    assert cards["p5.4xlarge"] == ("h100", 1)
    assert cards["g6e.12xlarge"] == ("l40s", 4)
    assert cards["g7e.2xlarge"] == ("rtx-pro-6000", 1)
    assert cards["p3dn.24xlarge"] == ("", 8)  # the catalogue has no V100
    unknown = {name.partition(".")[0] for name, (card, _) in cards.items() if not card}
    assert unknown <= {"g7", "p3", "p3dn", "g4ad", "g3", "g3s", "p2"}


def test_what_has_no_price_is_not_offered(every: dict[str, Any]) -> None:
    row = {"InstanceType": "g5.xlarge", "AvailabilityZone": "eu-central-1a", "SpotPrice": "0.4",
           "Timestamp": datetime(2026, 11, 20, tzinfo=UTC)}  # fmt: skip
    dear = {**row, "SpotPrice": "0.9", "Timestamp": datetime(2026, 11, 19, tzinfo=UTC)}
    [spot] = offers(REGION, [every["g5.xlarge"]], {}, [dear, row, dear], 7.0)
    assert (spot.id, spot.per_hour, spot.spot, spot.seen_at) == (
        "eu-central-1/g5.xlarge/spot/eu-central-1a", Decimal("0.4"), True, 7.0
    )  # fmt: skip
    only = {**every["g5.xlarge"], "SupportedUsageClasses": ["capacity-block"]}
    assert offers(REGION, [only], {"g5.xlarge": Decimal(1)}, [row], 7.0) == []


def test_a_region_that_is_not_known_has_no_country(every: dict[str, Any]) -> None:
    [offer] = offers("eu-moon-1", [every["g5.xlarge"]], {"g5.xlarge": Decimal(1)}, [], 0.0)
    assert (offer.region, offer.country) == ("eu-moon-1", "")


def product(price: str, **told: str) -> dict[str, Any]:
    rate = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
    return {
        "product": {"attributes": {"instanceType": "g5.xlarge", **told}},
        "terms": {"OnDemand": {"T": {"priceDimensions": {"R": rate}}}},
    }


def test_prices_are_those_of_an_hour_on_demand() -> None:
    rows = [
        product("0.0000000000"),
        product("9.5", marketoption="CapacityBlock"),
        product("1.2580000000", marketoption="OnDemand"),
        product("1.1"),
        product("no number"),
        {"product": {"attributes": {"instanceType": "p5.48xlarge"}}, "terms": {"Reserved": {}}},
        {"product": {"attributes": {}}, "terms": {"OnDemand": {"T": {"priceDimensions": {"R": {
            "unit": "Quantity", "pricePerUnit": {"USD": "5"}}}}}}},
        {},
    ]  # fmt: skip
    assert prices(rows) == {"g5.xlarge": Decimal("1.2580000000")}


def test_names_are_joined_to_what_a_filter_takes() -> None:
    names = [f"g{number}.xlarge" for number in range(300)]
    texts = list(joined(names, 1024))
    assert max(map(len, texts)) <= 1024
    assert ",".join(texts).split(",") == names
    assert len(texts) == 4
    assert list(joined([], 10)) == []


@pytest.mark.parametrize(
    "wrong", ["", "g5.xlarge", "eu-central-1", "eu-central-1/", "/g5.xlarge", "eu-central-1/g5.xlarge/spot",
              "eu-central-1/g5.xlarge/spot/", "eu-central-1/g5.xlarge/x/y", "egralx.5g/1-lartnec-ue", "eu.x/g5.xlarge"],
)  # fmt: skip
def test_what_is_no_offer(wrong: str) -> None:
    with pytest.raises(UsageError) as gone:
        wanted(wrong)
    assert gone.value.ref == "offer-gone"


def test_an_offer_is_read_as_it_was_written() -> None:
    for identity in ("eu-central-1/g5.xlarge", "eu-north-1/p6-b200.48xlarge/spot/eu-north-1b"):
        assert wanted(identity).identity == identity


# -- machines


def told(word: str, why: str = "", **rest: Any) -> dict[str, Any]:
    return {"InstanceId": "i-1", "State": {"Name": word}, "StateReason": {"Code": why, "Message": f"{why}: told"},
            **rest}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "why", "state"),
    [
        ("pending", "pending", MachineState.CREATING),
        ("running", "", MachineState.RUNNING),
        ("stopping", "", MachineState.STOPPED),
        ("stopped", "Client.UserInitiatedShutdown", MachineState.STOPPED),
        ("shutting-down", "Client.UserInitiatedShutdown", MachineState.ENDING),
        ("shutting-down", "Client.InstanceInitiatedShutdown", MachineState.ENDING),
        ("shutting-down", "Server.SpotInstanceTermination", MachineState.ENDING),
        ("shutting-down", "Server.InternalError", MachineState.FAILED),
        ("shutting-down", "Server.InsufficientInstanceCapacity", MachineState.FAILED),
        ("shutting-down", "Client.VolumeLimitExceeded", MachineState.FAILED),
        ("terminated", "Server.InternalError", MachineState.GONE),
        ("hibernating", "", MachineState.UNKNOWN),
        ("", "", MachineState.UNKNOWN),
    ],
)
def test_states(word: str, why: str, state: MachineState) -> None:
    found = machine(REGION, told(word, why))
    assert (found.state, found.word, found.alive) == (state, word, state is not MachineState.GONE)
    assert bool(found.problem) == (state in (MachineState.FAILED, MachineState.GONE, MachineState.ENDING)
                                   or word in ("stopped", "stopping"))  # fmt: skip


def test_a_machine_of_somebody_else_has_no_run_id() -> None:
    for tags in (None, [], [{"Key": "lyc-run", "Value": "mine"}], [{"Key": "Name", "Value": f"lyc-{RUN}"}]):
        assert machine(REGION, told("running", Tags=tags)).run_id is None
    ours = machine(REGION, told("running", Tags=[{"Key": "lyc-run", "Value": RUN}], PublicIpAddress="192.0.2.7"))
    assert (ours.run_id, ours.id, ours.address, ours.port) == (RUN, "eu-central-1/i-1", "192.0.2.7", 22)


def test_an_answer_without_an_id_is_odd() -> None:
    with pytest.raises(Failed) as odd, codes.understood("ec2 describe_instances eu-central-1"):
        machine(REGION, {"State": {"Name": "running"}})
    assert odd.value.ref == "provider-odd-answer"


def test_notice_of_a_spot_machine() -> None:
    at = datetime(2026, 11, 22, 8, tzinfo=UTC)
    marked = {"Status": {"Code": "marked-for-termination", "UpdateTime": at}}
    assert notice([{"Status": {"Code": "fulfilled", "UpdateTime": at}}, {}]) is None
    assert notice([{}, marked]) == at.timestamp() + 120


def test_leftovers_are_what_carries_a_run_id() -> None:
    row = {"ResourceId": "vol-1", "ResourceType": "volume", "Key": "lyc-run", "Value": RUN}
    found = leftover(REGION, row)
    assert found is not None
    assert (found.kind, found.id, found.run_id, found.billed) == ("volume", "eu-central-1/vol-1", RUN, True)
    assert leftover(REGION, {**row, "ResourceId": "i-1"}) is None
    assert leftover(REGION, {**row, "Value": "mine"}) is None


# -- what is asked for


def test_the_same_order_is_the_same_request() -> None:
    image = {"ImageId": "ami-1", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [{"Ebs": {"VolumeSize": 75}}]}
    wished = order(boot_script="#!/bin/sh\n", time_limit=90.0, disk=10 << 30)
    first, second = (launch(wished, wanted(wished.offer.id), image, "sg-1") for _ in range(2))
    assert first == second
    assert (first["ClientToken"], first["MaxCount"]) == (RUN, 1)
    [disk] = first["BlockDeviceMappings"]
    assert (disk["DeviceName"], disk["Ebs"]["VolumeSize"]) == ("/dev/xvda", 75)  # never less than the image has
    bare = launch(order(), wanted(order().offer.id), {"ImageId": "ami-1"}, "sg-1")
    assert "VolumeSize" not in bare["BlockDeviceMappings"][0]["Ebs"]
    assert len(RUN) <= 64  # what a ClientToken may have


def test_the_newest_image() -> None:
    days = ["2026-09-30T10:00:00.000Z", "2026-10-06T09:00:00.000Z", "2026-10-01T23:00:00.000Z"]
    rows = [{"ImageId": f"ami-{at}", "CreationDate": day} for at, day in enumerate(days)]
    assert (newest(rows) or {})["ImageId"] == "ami-1"
    assert newest([]) is None


def test_user_data_is_what_cloud_init_reads() -> None:
    head, _, body = user_data(f" {KEY}\n", "#!/bin/sh\necho 'ünï'\n", 61.0).partition("\n")
    told = json.loads(body)
    assert head == "#cloud-config"
    assert told["ssh_authorized_keys"] == [KEY]
    assert [row["path"] for row in told["write_files"]] == ["/var/lib/lyc-time-limit", "/var/lib/lyc-boot"]
    assert told["write_files"][1]["content"] == "#!/bin/sh\necho 'ünï'\n"
    assert told["runcmd"] == [["/bin/sh", "/var/lib/lyc-time-limit"], ["/var/lib/lyc-boot"]]
    assert "shutdown -P +2\n" in told["write_files"][0]["content"]
    plain = json.loads(user_data(KEY, None, None).partition("\n")[2])
    assert (plain["write_files"], plain["runcmd"]) == ([], [])


def test_the_time_limit_outlives_a_restart(tmp_path: Path) -> None:
    """The script by a real shell: what it writes is a timer for a time of the day, not a span that a boot forgets."""
    body = json.loads(user_data(KEY, None, 4321.0).partition("\n")[2])["write_files"][0]["content"]
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("shutdown", "systemctl"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/calls\n')
        (programs / name).chmod(0o755)
    script = body.replace("/etc/systemd/system/", f"{tmp_path}/")
    subprocess.run(["/bin/sh", "-eu"], input=script, text=True, check=True, env={"PATH": f"{programs}:/usr/bin:/bin"})
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "shutdown -P +73"
    assert calls[-1] == "systemctl enable --now lyc-time-limit.timer"
    timer = (tmp_path / "lyc-time-limit.timer").read_text()
    [when] = [line for line in timer.splitlines() if line.startswith("OnCalendar=")]
    at = datetime.strptime(when, "OnCalendar=%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert 72 * 60 < (at - datetime.now(UTC)).total_seconds() <= 73 * 60
    assert "Persistent=true" in timer
    assert "ExecStart=/usr/bin/systemctl poweroff" in (tmp_path / "lyc-time-limit.service").read_text()


def test_a_script_that_is_too_long_is_refused_before_anything_is_made() -> None:
    with pytest.raises(Failed) as told:
        user_data(KEY, "x" * LARGEST, None)
    assert told.value.ref == "provider-refused"
    assert f"of {LARGEST} bytes" in told.value.why


# -- what it calls its refusals


@pytest.mark.parametrize(
    ("group", "kind", "ref"),
    [
        (codes.DENIED, NotAuthorised, "provider-denied"),
        (codes.BUSY, Unreachable, "provider-busy"),
        (codes.SOLD_OUT, NoFit, "no-capacity"),
        (codes.QUOTA, NoFit, "quota-exceeded"),
        (codes.OFFER_GONE, UsageError, "offer-gone"),
        (codes.IN_USE, Unreachable, "provider-busy"),
        (codes.NO_NETWORK, Failed, "provider-refused"),
    ],
)
def test_every_code_means_one_thing(group: frozenset[str], kind: type, ref: str) -> None:
    others = [codes.DENIED, codes.BUSY, codes.SOLD_OUT, codes.QUOTA, codes.OFFER_GONE, codes.IN_USE, codes.NO_NETWORK]
    assert sum(bool(group & other) for other in others) == 1
    for code in group:
        for status in (400, 500, 503):
            error = codes.meant(code, status, "told", "ec2 run_instances eu-central-1")
            assert (type(error), error.ref) == (kind, ref)


@pytest.mark.parametrize(
    ("status", "ref"),
    [(401, "provider-denied"), (403, "provider-denied"), (429, "provider-busy"), (500, "provider-unreachable"),
     (404, "provider-refused"), (302, "provider-odd-answer"), (0, "provider-odd-answer")],
)  # fmt: skip
def test_a_code_that_nobody_knows_goes_by_its_status(status: int, ref: str) -> None:
    assert codes.meant("Strange", status, "told", "ec2 x eu-central-1").ref == ref


def test_a_message_is_short_and_on_one_line() -> None:
    error = codes.meant("Strange", 400, "a\nb " * 1000, "ec2 x eu-central-1")
    assert "\n" not in error.why
    assert len(error.why) < 400


# -- what it says of itself


def test_all_of_europe_that_amazon_has() -> None:
    countries = {name: region.country for name, region in CAPABILITIES.regions.items()}
    assert countries == {
        "eu-central-1": "DE", "eu-central-2": "CH", "eu-north-1": "SE", "eu-south-1": "IT", "eu-south-2": "ES",
        "eu-west-1": "IE", "eu-west-2": "GB", "eu-west-3": "FR",
    }  # fmt: skip
    assert CAPABILITIES.jurisdiction == "US"


def test_regions_that_were_asked_for() -> None:
    assert asked_regions({}) == frozenset()
    assert asked_regions({"LYC_AWS_REGIONS": Secret(" eu-west-1, eu-north-1,,")}) == {"eu-west-1", "eu-north-1"}
