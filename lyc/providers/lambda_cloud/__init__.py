"""Lambda's On-Demand Cloud: whole machines with Ubuntu and Lambda Stack.

Nothing but `terminate` ends the bill: there is no stop, and a machine that powers itself off is paid for on. It takes
one launch in 12 seconds and one other request a second (its document, version 1.10.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lyc.records.rental import Capabilities, Credential, Region
from lyc.records.secret import Secret

if TYPE_CHECKING:
    from lyc.ports import Provider, ProviderKind

KEY = "LAMBDA_API_KEY"
ENDPOINT = "https://cloud.lambda.ai"

CAPABILITIES = Capabilities(
    name="lambda",
    title="Lambda",
    owner="Lambda, Inc.",
    jurisdiction="US",
    currency="USD",
    credentials=(Credential(KEY, "a Cloud API key"),),
    credentials_page="https://cloud.lambda.ai/api-keys/cloud-api",
    # What it calls them itself; a region that is not here is placed by what the API says of it.
    regions={
        "asia-northeast-1": Region("JP", "Osaka, Japan"),
        "asia-northeast-2": Region("JP", "Tokyo, Japan"),
        "asia-south-1": Region("IN", "India"),
        "australia-southeast-1": Region("AU", "Australia"),
        "europe-central-1": Region("DE", "Germany"),
        "europe-south-1": Region("IT", "Italy"),
        "me-west-1": Region("IL", "Israel"),
        "us-east-1": Region("US", "Virginia, USA"),
        "us-midwest-1": Region("US", "Illinois, USA"),
        "us-south-1": Region("US", "Texas, USA"),
        "us-west-1": Region("US", "California, USA"),
        "us-west-2": Region("US", "Arizona, USA"),
        "us-west-3": Region("US", "Utah, USA"),
    },
    tags=True,
    boot_script=True,
    # How finely it bills is not in its API's document: an hour is the careful assumption.
    user="ubuntu",
    pages=(
        "https://docs-api.lambda.ai/api/cloud",
        "https://docs.lambda.ai/public-cloud/on-demand/creating-managing-instances/",
        "https://lambda.ai/legal/terms-of-service",
    ),
)


class _Kind:
    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        from lyc.providers.lambda_cloud.provider import Lambda  # noqa: PLC0415 (httpx only where there is an account)

        return Lambda(credentials[KEY], endpoint=endpoint or ENDPOINT, clock=clock)


KIND: ProviderKind = _Kind()
