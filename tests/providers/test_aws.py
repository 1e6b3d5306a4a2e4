"""EC2 by its own client against a real moto server, behind the layer that adds what moto lacks."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

pytest.register_assert_rewrite("lyc.testing.contract", "lyc.testing.provider_contract")

from lyc.errors import Failed, LycError, NoFit, NotAuthorised, Unreachable, UsageError  # noqa: E402
from lyc.providers.aws import KIND  # noqa: E402
from lyc.providers.aws.api import Aws  # noqa: E402
from lyc.providers.aws.provider import Ec2  # noqa: E402
from lyc.records.rental import Leftover, MachineState, Offer  # noqa: E402
from lyc.records.secret import Secret  # noqa: E402
from lyc.testing.clouds import aws, moto  # noqa: E402
from lyc.testing.clouds import aws_words as words  # noqa: E402
from lyc.testing.clouds.aws_cloud import KEY_ID, REGIONS, SECRET_KEY, TOKEN, AwsCloud  # noqa: E402
from lyc.testing.clouds.core import FakeMachine  # noqa: E402
from lyc.testing.clouds.faults import Fault  # noqa: E402
from lyc.testing.clouds.server import serve  # noqa: E402
from lyc.testing.contract.rig import OWNER, Rig  # noqa: E402
from lyc.testing.provider_contract import ProviderContract  # noqa: E402

EXPIRED = "ASIAEXPIREDOFTESTS00"
G5, SPOT = "eu-central-1/g5.xlarge", "eu-central-1/g5.xlarge/spot/eu-central-1b"
KINDS = ("volume", "address", "key", "group")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class AwsRig(Rig):
    """User data is in base64, and what is sent with it lies within."""

    def sent(self, text: str) -> bool:
        return super().sent(text) or any(text in machine.payload["UserData"] for machine in self.cloud.ever)


@dataclass
class Account:
    """What the tests below look at. open: the provider with credentials of a test's own."""

    rig: AwsRig
    cloud: AwsCloud
    clock: Clock
    layer: aws.Layer
    endpoint: str

    @property
    def provider(self) -> Ec2:
        found = self.rig.provider
        assert isinstance(found, Ec2)
        return found

    def open(self, regions: frozenset[str] = frozenset(), **credentials: str) -> Ec2:
        known = {name: Secret(value) for name, value in credentials.items()}
        return Ec2(Aws(known, endpoint=self.endpoint, pause=lambda _: None), regions=regions, clock=self.clock)

    def offer(self, identity: str) -> Offer:
        return next(offer for offer in self.provider.offers() if offer.id == identity)

    def told(self, action: str, **params: str) -> Xml.Element:
        """What moto itself says in Frankfurt."""
        answer = self.cloud.ask("eu-central-1", action, **params)
        assert answer.status == 200, answer.body
        return Xml.fromstring(answer.body)

    def attribute(self, instance: str, name: str) -> str:
        """One attribute of an instance, as moto has it."""
        root = self.told("DescribeInstanceAttribute", InstanceId=instance.rpartition("/")[2], Attribute=name)
        return root.findtext(f"{words.tag(name)}/{words.tag('value')}") or ""


@pytest.fixture(scope="module")
def server() -> Iterator[moto.Moto]:
    with moto.start() as running:
        yield running


@contextmanager
def standing(server: moto.Moto, regions: tuple[str, ...] = REGIONS) -> Iterator[Account]:
    clock = Clock()
    cloud = AwsCloud(server, clock=clock)
    app, layer = aws.app(cloud, regions=regions, page=150)
    with serve(app) as endpoint:

        def connect(*, expired: bool = False, timeout: float | None = None) -> Ec2:
            key = EXPIRED if expired else KEY_ID
            credentials = {
                "AWS_ACCESS_KEY_ID": Secret(key),
                "AWS_SECRET_ACCESS_KEY": Secret(SECRET_KEY),
                "AWS_SESSION_TOKEN": Secret(TOKEN),
            }
            account = Aws(credentials, endpoint=endpoint, timeout=timeout or 30.0, pause=lambda _: None)
            return Ec2(account, clock=clock)

        unsold = Offer("aws", "eu-central-1/p4d.24xlarge", "a100-40", "", 8, Decimal(1), "USD")
        rig = AwsRig(
            KIND, connect, cloud, app.faults, secrets=(SECRET_KEY, TOKEN, KEY_ID, EXPIRED), unsold=unsold,
            litter=lambda run_id: len([cloud.put(kind, f"lyc-{run_id}") for kind in KINDS]),
            litter_foreign=lambda: [cloud.put(kind, "theirs").id for kind in KINDS],
            missing="eu-central-1/i-0123456789abcdef0", limit_of=limit_of,
        )  # fmt: skip
        try:
            yield Account(rig, cloud, clock, layer, endpoint)
        finally:
            rig.provider.close()


def limit_of(machine: FakeMachine) -> float | None:
    found = re.search(r"shutdown -P \+(\d+)", machine.payload["UserData"])
    return int(found[1]) * 60.0 if found else None


class TestAws(ProviderContract):
    """The suite of all providers."""

    @pytest.fixture
    def rig(self, server: moto.Moto) -> Iterator[AwsRig]:
        # One region, for speed: what is said by several is tried below.
        with standing(server, REGIONS[:1]) as account:
            yield account.rig


@pytest.fixture
def account(server: moto.Moto) -> Iterator[Account]:
    with standing(server) as found:
        yield found


def refused(code: str, status: int = 400) -> Fault:
    return Fault("create", "status", code=status, body=words.refusal(code, "as AWS words it"))


# -- what is sold


def test_offers_tell_the_card_the_price_and_the_place(account: Account) -> None:
    found = {offer.id: offer for offer in account.provider.offers()}
    assert sorted(found) == sorted(account.cloud.capacity)
    assert found[G5] == Offer(
        "aws", G5, "a10g", "NVIDIA A10G (g5.xlarge)", 1, Decimal("1.2580000000"), "USD", "eu-central-1", "DE",
        vcpus=4, memory=16 << 30, seen_at=account.clock.now,
    )  # fmt: skip
    p5 = found["eu-north-1/p5.48xlarge"]
    assert (p5.card, p5.count, p5.country, p5.per_hour) == ("h100", 8, "SE", Decimal("63.296"))
    bare = found["eu-north-1/m7i.4xlarge"]
    assert (bare.card, bare.count, bare.product, bare.vcpus, bare.memory) == ("cpu", 0, "m7i.4xlarge", 16, 64 << 30)
    # The newest of the prices of a spot machine, of its own zone.
    assert (found[SPOT].spot, found[SPOT].per_hour, found[SPOT].country) == (True, Decimal("0.5123"), "DE")
    assert not found[G5].spot


def test_a_region_that_sells_none_is_no_error(account: Account) -> None:
    account.layer.regions = ("eu-central-1", "eu-west-3")
    assert {offer.region for offer in account.provider.offers()} == {"eu-central-1"}


def test_only_the_regions_that_were_asked_for(account: Account) -> None:
    keys = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    assert {offer.region for offer in account.open(frozenset({"eu-north-1"}), **keys).offers()} == {"eu-north-1"}
    with pytest.raises(UsageError) as wrong:
        account.open(frozenset({"eu-north-1", "eu-south-2"}), **keys).list_owned(OWNER)
    assert (wrong.value.ref, "eu-south-2" in wrong.value.what) == ("unknown-region", True)


def test_one_region_that_denies_denies_the_listing(account: Account) -> None:
    """Or a machine there would be taken for gone."""
    account.rig.faults.add(Fault("list", "status", skip=1, code=403))
    with pytest.raises(NotAuthorised) as denied:
        account.provider.list_owned(OWNER)
    assert denied.value.ref == "provider-denied"
    assert "describe_instances eu-" in denied.value.where


# -- what is launched


def test_a_machine_ends_by_itself_carries_its_run_id_and_lets_in_ssh_alone(account: Account) -> None:
    order = replace(
        account.rig.order(account.offer(G5)), boot_script="#!/bin/sh\ntrue\n", time_limit=3600.0, disk=9**12
    )
    made = account.provider.create(order)
    assert account.attribute(made.id, "instanceInitiatedShutdownBehavior") == "terminate"
    data = base64.b64decode(account.attribute(made.id, "userData")).decode()
    assert data.startswith("#cloud-config\n")
    assert data.index(order.public_key) < data.index("shutdown -P +60") < data.index("lyc-boot")
    root = account.told("DescribeInstances")
    told = root.find(f".//{words.tag('instancesSet')}/{words.tag('item')}")
    assert told is not None
    assert words.text(told, "imageId") == "ami-00000001"  # the newest of three
    assert told.findtext(f"{words.tag('metadataOptions')}/{words.tag('httpTokens')}") == "required"
    assert tags_of(told) == {"Name": order.name, "lyc-run": order.run_id}
    [disk] = [item for _, item in words.items(account.told("DescribeVolumes"), "volumeSet")]
    assert tags_of(disk) == {"Name": order.name, "lyc-run": order.run_id}
    assert (words.text(disk, "size"), words.text(disk, "encrypted")) == (str(-(-(9**12) // 2**30)), "true")
    [group] = [
        item
        for _, item in words.items(account.told("DescribeSecurityGroups"), "securityGroupInfo")
        if tags_of(item).get("lyc-run") == order.run_id
    ]
    [rule] = [item for _, item in words.items(group, "ipPermissions") if item.find(words.tag("ipProtocol")) is not None]
    assert [words.text(rule, key) for key in ("ipProtocol", "fromPort", "toPort")] == ["tcp", "22", "22"]
    assert told.findtext(f".//{words.tag('groupSet')}/{words.tag('item')}/{words.tag('groupId')}") == words.text(
        group, "groupId"
    )
    account.provider.terminate(made.id)
    assert list(words.items(account.told("DescribeVolumes"), "volumeSet")) == []


def tags_of(item: Xml.Element) -> dict[str, str]:
    return {words.text(pair, "key"): words.text(pair, "value") for _, pair in words.items(item, "tagSet")}


def test_a_spot_machine_is_asked_for_once_in_its_zone(account: Account) -> None:
    order = account.rig.order(account.offer(SPOT))
    made = account.provider.create(order)
    sent = account.cloud.machines[made.id].payload
    assert sent["Placement.AvailabilityZone"] == "eu-central-1b"
    assert sent["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
    assert sent["InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior"] == "terminate"
    assert "spot-instances-request" in sent.values()
    root = account.told("DescribeInstances")
    assert root.findtext(f".//{words.tag('instanceLifecycle')}") == "spot"
    with pytest.raises(NoFit):
        account.provider.create(account.rig.order(order.offer))


def test_a_newer_image_between_two_tries_is_no_second_machine(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 says IdempotentParameterMismatch; the machine is found by its token."""
    order = account.rig.order(account.offer(G5))
    account.rig.faults.add(Fault("create", "lose"))
    with pytest.raises(Unreachable):
        account.provider.create(order)
    again = account.provider.create(replace(order, boot_script="#!/bin/sh\n# another\n"))
    assert (again.run_id, len(account.cloud.ever)) == (order.run_id, 1)
    account.provider.terminate(again.id)
    for changed in (order, replace(order, boot_script="#!/bin/sh\n# a third\n")):
        with pytest.raises(Failed) as ended:
            account.provider.create(changed)
        assert (ended.value.ref, ended.value.why[:10]) == ("provider-refused", "Idempotent")
    assert len(account.cloud.ever) == 1


def test_a_spot_machine_tells_when_it_will_be_taken_back(account: Account) -> None:
    made = account.provider.create(account.rig.order(account.offer(SPOT)))
    before = account.provider.get(made.id)
    account.cloud.machines[made.id].data["marked_at"] = "2026-11-22T08:00:00.000Z"
    after = account.provider.get(made.id)
    assert before is not None
    assert after is not None
    marked = datetime(2026, 11, 22, 8, tzinfo=UTC).timestamp()
    assert (before.notice_at, after.notice_at) == (None, marked + 120.0)


@pytest.mark.parametrize(
    ("code", "status", "kind", "ref"),
    [
        ("InsufficientInstanceCapacity", 500, NoFit, "no-capacity"),
        ("InsufficientHostCapacity", 500, NoFit, "no-capacity"),
        ("SpotMaxPriceTooLow", 400, NoFit, "no-capacity"),
        ("MaxSpotInstanceCountExceeded", 400, NoFit, "quota-exceeded"),
        ("VcpuLimitExceeded", 400, NoFit, "quota-exceeded"),
        ("Unsupported", 400, UsageError, "offer-gone"),
        ("UnauthorizedOperation", 403, NotAuthorised, "provider-denied"),
        ("AuthFailure", 401, NotAuthorised, "provider-denied"),
        ("ExpiredToken", 400, NotAuthorised, "provider-denied"),
        ("InvalidParameterValue", 400, Failed, "provider-refused"),
    ],
)
def test_a_refusal_is_known_by_its_code_and_leaves_nothing(
    account: Account, code: str, status: int, kind: type[LycError], ref: str
) -> None:
    order = account.rig.order()
    account.rig.faults.add(refused(code, status))
    with pytest.raises(kind) as told:
        account.provider.create(order)
    assert told.value.ref == ref
    assert code in told.value.why
    assert (account.cloud.ever, account.cloud.things) == ([], {})


def test_a_request_that_is_one_too_many_is_made_again(account: Account) -> None:
    account.rig.faults.add(replace(refused("RequestLimitExceeded", 503), times=2))
    assert account.provider.create(account.rig.order()).alive
    assert len(account.cloud.calls_of("create")) == 3


def test_no_default_network(account: Account) -> None:
    network = account.told("DescribeVpcs").findtext(f".//{words.tag('vpcId')}") or ""
    for _, item in words.items(account.told("DescribeSubnets"), "subnetSet"):
        account.told("DeleteSubnet", SubnetId=words.text(item, "subnetId"))
    account.told("DeleteVpc", VpcId=network)
    with pytest.raises(Failed) as told:
        account.provider.create(account.rig.order(account.offer(G5)))
    assert told.value.ref == "provider-refused"
    assert told.value.hint == "aws ec2 create-default-vpc --region eu-central-1"
    assert (account.cloud.ever, account.cloud.things) == ([], {})


# -- what EC2 says too late


def test_a_machine_that_is_not_shown_yet_is_not_gone(account: Account) -> None:
    """ "You might get InvalidInstanceID.NotFound. This does not mean that the instance does not exist.\""""
    made = account.provider.create(account.rig.order())
    unknown = words.refusal("InvalidInstanceID.NotFound", "The instance ID does not exist")
    blind = [Fault(op, "status", times=3, code=400, body=unknown) for op in ("get", "terminate")]
    account.rig.faults.add(*blind)
    seen = account.provider.get(made.id)
    assert seen is not None
    assert (seen.state, seen.run_id) == (MachineState.CREATING, made.run_id)
    with pytest.raises(Unreachable) as busy:
        account.provider.terminate(made.id)
    assert busy.value.ref == "provider-busy"
    account.clock.now += KIND.capabilities.settle + 1
    assert account.provider.get(made.id) is None
    account.provider.terminate(made.id)
    assert account.rig.faults.left == 2
    assert account.cloud.alive()


def test_a_machine_that_the_list_leaves_out_is_asked_for(account: Account) -> None:
    made = account.provider.create(account.rig.order())
    # What EC2 has not spread yet cannot be found by it.
    account.told("DeleteTags", **{"ResourceId.1": made.id.rpartition("/")[2], "Tag.1.Key": "lyc-run"})
    assert [one.id for one in account.provider.list_owned(OWNER)] == [made.id]


def test_what_a_machine_still_has_is_removed_later(account: Account) -> None:
    account.cloud.linger = 3
    made = account.provider.create(account.rig.order())
    group = next(one for one in account.provider.leftovers(OWNER) if one.kind == "group")
    assert (group.run_id, group.billed) == (made.run_id, False)
    account.provider.terminate(made.id)
    with pytest.raises(Unreachable) as busy:
        account.provider.remove(group)
    assert busy.value.ref == "provider-busy"
    account.rig.until_gone(made.id)
    account.provider.remove(group)
    assert account.cloud.things == {}


def test_disks_and_addresses_cost(account: Account) -> None:
    account.rig.litter(f"{OWNER}-0000beef")
    found: list[Leftover] = list(account.provider.leftovers(OWNER))
    assert {one.kind: one.billed for one in found} == {"volume": True, "address": True, "key": False, "group": False}


# -- signing in


def test_the_account_is_that_of_the_key(account: Account) -> None:
    assert account.provider.account().startswith("arn:aws:sts::123456789012:")


@pytest.mark.parametrize("known", [{"AWS_ACCESS_KEY_ID": KEY_ID}, {"AWS_PROFILE": "nobody-has-this"}])
def test_half_a_credential_is_none(account: Account, known: dict[str, str]) -> None:
    with pytest.raises(NotAuthorised) as denied:
        account.open(**known).account()
    assert denied.value.ref == "provider-denied"
    assert "AWS_PROFILE" in denied.value.hint


def test_a_profile_in_place_of_a_key(
    account: Account, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path_factory.mktemp("aws") / "credentials"
    file.write_text(f"[work]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET_KEY}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    # The environment of this process may be days old, and is not looked at.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", EXPIRED)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert account.open(AWS_PROFILE="work").account()


def test_an_expired_request_is_denied(account: Account) -> None:
    account.layer.expired = True
    with pytest.raises(NotAuthorised) as denied:
        account.provider.offers()
    assert (denied.value.ref, denied.value.why) == ("provider-denied", "it answers RequestExpired")


def test_a_proxy_that_breaks_down_is_no_answer(account: Account) -> None:
    account.rig.faults.add(Fault("list", "status", times=1000, code=502, body=b"Bad Gateway"))
    with pytest.raises(Unreachable) as told:
        account.provider.list_owned(OWNER)
    assert (told.value.ref, told.value.why) == ("provider-unreachable", "it answers 502")


def test_nobody_listens() -> None:
    waits: list[float] = []
    keys = {"AWS_ACCESS_KEY_ID": Secret(KEY_ID), "AWS_SECRET_ACCESS_KEY": Secret(SECRET_KEY)}
    account = Aws(keys, endpoint="http://127.0.0.1:9", pause=waits.append)
    with pytest.raises(Unreachable) as told:
        Ec2(account, clock=Clock()).list_owned(OWNER)
    assert (told.value.ref, waits) == ("provider-unreachable", [0.5, 1.0, 2.0])


def test_knowing_of_it_is_cheap() -> None:
    """An entry point is loaded for `lyc providers`, account or not."""
    code = "import sys, lyc.providers.aws; print([name for name in sys.modules if name.startswith(('boto', 'httpx'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_opening_it_touches_no_network(server: moto.Moto) -> None:
    keys = {"AWS_ACCESS_KEY_ID": Secret(KEY_ID), "AWS_SECRET_ACCESS_KEY": Secret(SECRET_KEY)}
    opened = KIND.open(keys, endpoint="http://127.0.0.1:9", clock=Clock())
    assert opened.capabilities is KIND.capabilities
    opened.close()


# -- the layer


def test_a_machine_has_the_address_of_a_host_that_answers(server: moto.Moto) -> None:
    hosts: dict[str, str] = {}
    ended: list[str] = []
    cloud = AwsCloud(server, boot=aws.reachable(hosts), halt=lambda machine: ended.append(machine.name))
    app, _ = aws.app(cloud)
    keys = {"AWS_ACCESS_KEY_ID": Secret(KEY_ID), "AWS_SECRET_ACCESS_KEY": Secret(SECRET_KEY)}
    with serve(app) as endpoint:
        rig = Rig(
            KIND, lambda **_: KIND.open(keys, endpoint=endpoint, clock=cloud.clock), cloud, app.faults, secrets=()
        )
        order = rig.order()
        made = rig.provider.create(order)
        first = rig.provider.get(made.id)
        assert first is not None
        assert (first.state, first.address) == (MachineState.CREATING, None)
        hosts[order.name] = "10.77.0.11"
        found = rig.until(made.id, MachineState.RUNNING)
        assert (found.address, found.port, KIND.capabilities.user) == ("10.77.0.11", 22, "ubuntu")
        rig.provider.terminate(made.id)
        assert ended == [order.name]
        rig.provider.close()


# -- what it may do


def test_the_page_names_what_an_account_must_allow(account: Account) -> None:
    """Every action that a life of a machine takes, and none that nothing takes."""
    page = (Path(__file__).parents[2] / "docs" / "aws.md").read_text(encoding="utf-8")
    policy = json.loads(re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    made = account.provider.create(account.rig.order(account.offer(SPOT)))
    account.rig.faults.add(Fault("create", "lose"))
    lost = account.rig.order(account.offer(G5))
    for _ in range(2):
        with suppress(Unreachable):
            account.provider.create(lost)
    account.provider.get(made.id)
    account.provider.account()
    account.rig.litter(f"{OWNER}-0000beef")
    for machine in account.provider.list_owned(OWNER):
        account.provider.terminate(machine.id)
    for leftover in account.provider.leftovers(OWNER):
        account.provider.remove(leftover)
    done = {aws.action_of(call.body, call.headers) for call in account.cloud.calls}
    services = {"GetProducts": "pricing:GetProducts"}
    # Tags at launch need CreateTags, and everybody may ask who they are.
    needed = {services.get(action, f"ec2:{action}") for action in done - {"GetCallerIdentity"}} | {"ec2:CreateTags"}
    assert needed == allowed
