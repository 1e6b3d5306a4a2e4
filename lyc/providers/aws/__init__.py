"""AWS EC2: machines with GPUs in Amazon's European regions. `boot` (user data), `codes` (its errors in our words)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lyc.records.rental import Capabilities, Credential, Region
from lyc.records.secret import Secret

if TYPE_CHECKING:
    from lyc.ports import Provider

__all__ = ["KIND"]

_EC2 = "https://docs.aws.amazon.com/AWSEC2/latest"

CAPABILITIES = Capabilities(
    name="aws",
    title="AWS EC2",
    owner="Amazon.com, Inc.",
    jurisdiction="US",
    currency="USD",
    credentials=(
        # None is required: without a key the profile, single sign-on or role of this machine is used.
        Credential("AWS_ACCESS_KEY_ID", "id of an access key", secret=False, required=False),
        Credential("AWS_SECRET_ACCESS_KEY", "the key that belongs to it", required=False),
        Credential("AWS_SESSION_TOKEN", "for a key that ends by itself", required=False),
        Credential("AWS_PROFILE", "a profile of ~/.aws in place of a key", secret=False, required=False),
        Credential("LYC_AWS_REGIONS", "regions to use, by commas; else all of Europe", secret=False, required=False),
    ),
    credentials_page="https://console.aws.amazon.com/iam/home#/security_credentials",
    # https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
    regions={
        "eu-central-1": Region("DE", "Frankfurt"),
        "eu-central-2": Region("CH", "Zurich"),
        "eu-north-1": Region("SE", "Stockholm"),
        "eu-south-1": Region("IT", "Milan"),
        "eu-south-2": Region("ES", "Spain"),
        "eu-west-1": Region("IE", "Ireland"),
        "eu-west-2": Region("GB", "London"),
        "eu-west-3": Region("FR", "Paris"),
    },
    idempotent=True,
    tags=True,
    # The machine's own system switches it off, and AWS ends what switches itself off. It holds once the machine has
    # booted and runs: EC2 has no limit of its own.
    time_limit=True,
    boot_script=True,
    spot=True,
    granularity=1,
    minimum=60,
    # A machine may be missing from the list for "a few minutes" after it was created.
    settle=300.0,
    user="ubuntu",
    pages=(
        f"{_EC2}/APIReference/API_RunInstances.html",
        "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html",
        "https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html",
        f"{_EC2}/UserGuide/Using_ChangingInstanceInitiatedShutdownBehavior.html",
        f"{_EC2}/APIReference/errors-overview.html",
        f"{_EC2}/UserGuide/spot-request-status.html",
        "https://aws.amazon.com/ec2/pricing/",
        "https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html",
    ),
)


class _Kind:
    """Implements `lyc.ports.ProviderKind`."""

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        from lyc.providers.aws.api import Aws  # noqa: PLC0415  (boto3 takes half a second to import)
        from lyc.providers.aws.provider import Ec2  # noqa: PLC0415

        return Ec2(Aws(credentials, endpoint=endpoint), regions=asked_regions(credentials), clock=clock)


def asked_regions(credentials: Mapping[str, Secret]) -> frozenset[str]:
    """The regions that the user limits lyc to; empty = all that are switched on."""
    asked = credentials.get("LYC_AWS_REGIONS")
    return frozenset(part.strip() for part in asked.reveal().split(",") if part.strip()) if asked else frozenset()


KIND = _Kind()
