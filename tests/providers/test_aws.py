"""EC2 by its own client against a real moto server, behind the layer that adds what moto lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("lyc.testing.contract", "lyc.testing.provider_contract")

from lyc.providers.aws import KIND  # noqa: E402
from lyc.providers.aws.api import Aws  # noqa: E402
from lyc.providers.aws.provider import Ec2  # noqa: E402
from lyc.records.rental import Offer  # noqa: E402
from lyc.records.secret import Secret  # noqa: E402
from lyc.testing.clouds import aws, moto  # noqa: E402
from lyc.testing.clouds.aws_cloud import KEY_ID, SECRET_KEY, TOKEN, AwsCloud  # noqa: E402
from lyc.testing.clouds.core import FakeMachine  # noqa: E402
from lyc.testing.clouds.server import serve  # noqa: E402
from lyc.testing.contract.rig import Rig  # noqa: E402
from lyc.testing.provider_contract import ProviderContract  # noqa: E402

EXPIRED = "ASIAEXPIREDOFTESTS00"


class AwsRig(Rig):
    """User data is in base64, and what is sent with it lies within."""

    def sent(self, text: str) -> bool:
        return super().sent(text) or any(text in machine.payload["UserData"] for machine in self.cloud.ever)


@pytest.fixture(scope="module")
def server() -> Iterator[moto.Moto]:
    with moto.start() as running:
        yield running


@pytest.fixture
def cloud(server: moto.Moto) -> AwsCloud:
    return AwsCloud(server)


def litter(cloud: AwsCloud, name: str) -> int:
    for kind in ("volume", "address", "key", "group"):
        cloud.put(kind, name)
    return 4


def limit_of(machine: FakeMachine) -> float | None:
    found = re.search(r"shutdown -P \+(\d+)", machine.payload["UserData"])
    return int(found[1]) * 60.0 if found else None


class TestAws(ProviderContract):
    """The suite of all providers."""

    @pytest.fixture
    def rig(self, cloud: AwsCloud) -> Iterator[AwsRig]:
        app, _ = aws.app(cloud, page=100)
        with serve(app) as endpoint:

            def connect(*, expired: bool = False, timeout: float | None = None) -> Ec2:
                key = EXPIRED if expired else KEY_ID
                credentials = {
                    "AWS_ACCESS_KEY_ID": Secret(key),
                    "AWS_SECRET_ACCESS_KEY": Secret(SECRET_KEY),
                    "AWS_SESSION_TOKEN": Secret(TOKEN),
                }
                account = Aws(credentials, endpoint=endpoint, timeout=timeout or 30.0, pause=lambda _: None)
                return Ec2(account, clock=cloud.clock)

            unsold = Offer("aws", "eu-central-1/p4d.24xlarge", "a100-40", "", 8, 1, "USD")  # type: ignore[arg-type]
            yield AwsRig(
                KIND, connect, cloud, app.faults, secrets=(SECRET_KEY, TOKEN, KEY_ID, EXPIRED), unsold=unsold,
                litter=lambda run_id: litter(cloud, f"lyc-{run_id}"), missing="eu-central-1/i-0123456789abcdef0",
                litter_foreign=lambda: [cloud.put(kind, "theirs").id for kind in ("volume", "address", "key", "group")],
                limit_of=limit_of,
            )  # fmt: skip
