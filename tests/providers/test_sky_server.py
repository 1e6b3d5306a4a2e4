"""The provider against SkyPilot itself: its real API server, which rents from a real moto server.

Needs an environment of its own, for SkyPilot does not go with what lyc is tested with:

    uv venv SKY && uv pip install --python SKY/bin/python 'skypilot[aws]==0.14.1'
    LYC_TEST_SKYPILOT=SKY pytest tests/providers/test_sky_server.py

Nobody is behind the addresses of moto's machines, so none of them ever comes up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from lyc.errors import NoFit, UsageError
from lyc.providers.sky import translate
from lyc.providers.sky.api import SkyApi
from lyc.providers.sky.provider import Sky
from lyc.records.rental import MachineState, Offer, Order
from lyc.records.secret import Secret
from lyc.testing.clouds import moto
from lyc.testing.contract.rig import OWNER, PUBLIC_KEY
from tests.e2e.harness import wait_for

ENVIRONMENT = os.environ.get("LYC_TEST_SKYPILOT", "")
pytestmark = [
    pytest.mark.skipif(not ENVIRONMENT, reason="LYC_TEST_SKYPILOT names no environment with skypilot[aws]"),
    pytest.mark.timeout(300),
]
HOME_REGION, BARE_REGION = "us-east-1", "eu-central-1"
CARD = "\"{'Gpus': [{'Name': 'A10G', 'Manufacturer': 'NVIDIA', 'Count': 1, 'MemoryInfo': {'SizeInMiB': 24576}}]}\""
CATALOGUES = {
    "aws/vms.csv": (
        "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch",
        f"g5.xlarge,A10G,1.0,4.0,16.0,{CARD},1.006,0.4,{HOME_REGION},use1-az1,x86_64",
        f"g5.xlarge,A10G,1.0,4.0,16.0,{CARD},1.258,,{BARE_REGION},euc1-az2,x86_64",
        f"m6i.2xlarge,,,8.0,32.0,,0.384,0.15,{HOME_REGION},use1-az1,x86_64",
    ),
    "aws/images.csv": (
        "Tag,Region,OS,OSVersion,ImageId,CreationDate",
        *(
            f"skypilot:custom-gpu-ubuntu{kind},{region},ubuntu,22.04,ami-00000000,20260929"
            for kind in ("", "-cuda13")
            for region in (HOME_REGION, BARE_REGION)
        ),
    ),
    "aws/instance_quota_mapping.csv": (
        "InstanceType,SpotInstanceCode,OnDemandInstanceCode",
        "g5.xlarge,L-3819A6DF,L-DB2E81BA",
    ),
    "common/accelerators.csv": ("AcceleratorName,Clouds", "A10G,\"['AWS']\""),
    "common/metadata.csv": ("Name,GpuInfo",),
}
"""What it would fetch from the net."""


@dataclass
class Installation:
    """A server of SkyPilot, and the cloud that it rents from. ec2: boto3's client of its region."""

    address: str
    ec2: Any

    def alive(self, name: str) -> list[str]:
        """Instances in the cloud that are, by their name, this machine."""
        rows = self.ec2.describe_instances(Filters=[{"Name": "tag:skypilot-cluster-name", "Values": [f"{name}-*"]}])
        found = [one for reservation in rows["Reservations"] for one in reservation["Instances"]]
        return [one["InstanceId"] for one in found if one["State"]["Name"] not in ("terminated", "shutting-down")]


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("sky")
    for name, lines in CATALOGUES.items():
        path = home / ".sky/catalogs/v8" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*lines, ""]))
    with moto.start() as cloud:
        endpoint = f"http://127.0.0.1:{cloud.port}"
        keys = {"aws_access_key_id": "AKIATESTTESTTESTTEST", "aws_secret_access_key": "a-secret-of-a-test"}
        (home / ".aws").mkdir()
        rows = [f"{key} = {value}" for key, value in keys.items()]
        (home / ".aws/credentials").write_text("\n".join(["[default]", *rows, ""]))
        (home / ".aws/config").write_text(f"[default]\nregion = {HOME_REGION}\nendpoint_url = {endpoint}\n")

        def client(service: str) -> Any:
            return boto3.client(service, endpoint_url=endpoint, region_name=HOME_REGION, **keys)

        _prepare(client)
        with _serving(home, endpoint) as address:
            api = SkyApi(Secret(address), None)
            checked = httpx.post(f"{address}/check", json={"clouds": ["aws"]})
            api.outcome(checked.headers["x-skypilot-request-id"])
            api.http.close()
            yield Installation(address, client("ec2"))


def _prepare(client: Callable[[str], Any]) -> None:
    """What moto would not let SkyPilot make: a role with a policy of AWS's own, and a way out of the network."""
    iam, ec2 = client("iam"), client("ec2")
    trust = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}'  # noqa: E501
    iam.create_instance_profile(InstanceProfileName="skypilot-v1")
    iam.create_role(RoleName="skypilot-v1", AssumeRolePolicyDocument=trust)
    iam.add_role_to_instance_profile(InstanceProfileName="skypilot-v1", RoleName="skypilot-v1")
    network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=network)
    table = ec2.create_route_table(VpcId=network)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet["SubnetId"])


def _answers(address: str, server: subprocess.Popen[bytes], log: Path) -> bool:
    """Raises AssertionError with the end of its log where it has ended instead."""
    assert server.poll() is None, f"SkyPilot's server does not start: {log.read_text()[-3000:]}"
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{address}/api/health").status_code == 200
    return False


@contextlib.contextmanager
def _serving(home: Path, cloud: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, log = f"http://127.0.0.1:{port}", home / "server.log"
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [Path(ENVIRONMENT).absolute() / "bin/python", "-m", "sky.server.server", "--port", str(port)],
            stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, cwd=home, start_new_session=True,
            env={"PATH": f"{Path(ENVIRONMENT).absolute()}/bin:{os.environ['PATH']}", "HOME": str(home),
                 "AWS_ENDPOINT_URL": cloud, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
                 "SKYPILOT_API_SERVER_ENDPOINT": address},
        )  # fmt: skip
    try:
        wait_for(partial(_answers, address, server, log), 120, "SkyPilot's server")
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # its own group: it starts workers
        server.wait(20)


@pytest.fixture
def provider(sky: Installation) -> Iterator[Sky]:
    """Nothing of it is left for the next test."""
    made = Sky(Secret(sky.address), None, clouds="aws", clock=time.time)
    yield made
    for machine in made.list_owned(OWNER):
        made.terminate(machine.id)
    wait_for(lambda: not made.list_owned(OWNER), 90, "that nothing is left")
    made.close()


def order(provider: Sky, number: int, *, region: str = HOME_REGION, spot: bool = False) -> Order:
    offer = next(one for one in provider.offers() if one.region == f"aws/{region}" and one.spot is spot)
    return Order(f"{OWNER}-{number:08x}", offer, PUBLIC_KEY, boot_script="#!/bin/sh\ntrue\n", time_limit=3600.0)


def test_what_it_sells(provider: Sky) -> None:
    assert provider.account() == "SkyPilot 0.14.1 with aws"
    found = {one.id: (one.card, str(one.per_hour), one.country, one.jurisdiction) for one in provider.offers()}
    assert found == {
        f"aws/{HOME_REGION}/g5.xlarge/A10G:1": ("a10g", "1.006", "US", "US"),
        f"aws/{HOME_REGION}/g5.xlarge/A10G:1/spot": ("a10g", "0.4", "US", "US"),
        f"aws/{BARE_REGION}/g5.xlarge/A10G:1": ("a10g", "1.258", "DE", "US"),
    }


def test_a_machine_is_created_once_and_ended(sky: Installation, provider: Sky) -> None:
    """It takes our task as it is; the second launch waits for the first, and both end with the machine."""
    wish = order(provider, 1)
    made = provider.create(wish)
    assert (made.id, made.state, made.run_id) == (wish.name, MachineState.CREATING, wish.run_id)
    assert [one.id for one in provider.list_owned(OWNER)] == [wish.name]
    stands = wait_for(lambda: sky.alive(wish.name), 90, "an instance")
    again = provider.create(wish)
    assert (again.id, again.state, again.region) == (wish.name, MachineState.CREATING, f"aws/{HOME_REGION}")
    assert sky.alive(wish.name) == stands
    assert len(stands) == 1
    assert list(provider.list_owned("99999999")) == []
    provider.terminate(wish.name)
    provider.terminate(wish.name)
    wait_for(lambda: provider.get(wish.name) is None, 90, "its end")
    assert sky.alive(wish.name) == []
    assert list(provider.list_owned(OWNER)) == []
    provider.terminate(wish.name)
    assert provider.get(wish.name) is None


def test_one_that_waits_for_its_turn_is_ended_too(sky: Installation, provider: Sky) -> None:
    """Its end follows at once, when there is a launch and nothing else yet."""
    wish = order(provider, 2, spot=True)
    api = SkyApi(Secret(sky.address), None)
    api.launch(wish.name, translate.task(wish))
    assert [one.id for one in provider.list_owned(OWNER)] == [wish.name]
    provider.terminate(wish.name)
    wait_for(lambda: provider.get(wish.name) is None, 90, "its end")
    assert (list(provider.list_owned(OWNER)), sky.alive(wish.name)) == ([], [])
    api.http.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda offer: replace(offer, id=offer.id.replace("g5.xlarge", "g9.xlarge")),
        lambda offer: replace(offer, id=offer.id.replace(HOME_REGION, "mars-1")),
        lambda offer: replace(offer, id=offer.id.replace("A10G:1", "A10G:8")),
    ],
    ids=["type", "region", "cards"],
)
def test_what_is_not_sold(provider: Sky, change: Callable[[Offer], Offer]) -> None:
    wish = order(provider, 3)
    with pytest.raises(UsageError) as caught:
        provider.create(replace(wish, offer=change(wish.offer)))
    assert caught.value.ref == "offer-gone"
    assert list(provider.list_owned(OWNER)) == []


def test_what_is_refused_names_the_place(sky: Installation, provider: Sky) -> None:
    """Nothing is prepared in this region, so the cloud refuses: for SkyPilot as if it were sold out."""
    wish = order(provider, 4, region=BARE_REGION)
    with pytest.raises(NoFit) as caught:
        provider.create(wish)
    assert caught.value.ref == "no-capacity"
    assert f"AWS ({BARE_REGION})" in (caught.value.why or "")
    assert "\x1b" not in str(caught.value)
    assert (list(provider.list_owned(OWNER)), sky.alive(wish.name)) == ([], [])
