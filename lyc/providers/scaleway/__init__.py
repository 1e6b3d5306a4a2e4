"""Scaleway: Instances with GPUs in Paris, Amsterdam and Warsaw.

What is not obvious, from its API's documents, its SDKs (Python 2.12) and its own Terraform provider:

* A server is created stopped, and powered on by a second call. It is then that a zone may turn out to be sold out, and
  what was created until then has to be deleted again. A crash between the two leaves a stopped server, which is listed.
* `terminate` wants a server that runs; one that is stopped is deleted; one that is starting is neither.
* The disk of a server with GPUs is a volume of Block Storage, which outlives it, and costs. It bears the machine's name
  and tags, and is removed as a leftover once it is detached.
* Keys are those of the project, and those in tags `AUTHORIZED_KEY=…`. lyc uses a tag: no key is made, none is left.
* Powering off from within means standby, which is billed in full.
* Errors are told apart by `type` in the body, not by their status: `out_of_stock`, `quotas_exceeded` (403), …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lyc.records.rental import Capabilities, Credential, Region
from lyc.records.secret import Secret

if TYPE_CHECKING:
    from lyc.ports import Provider, ProviderKind

__all__ = ["CAPABILITIES", "KIND"]

SECRET_KEY, PROJECT = "SCW_SECRET_KEY", "SCW_DEFAULT_PROJECT_ID"

CAPABILITIES = Capabilities(
    name="scaleway",
    title="Scaleway",
    owner="Scaleway SAS, of iliad SA",
    jurisdiction="FR",
    currency="EUR",
    credentials=(
        Credential(SECRET_KEY, "secret key of an API key that may use Instances and Block Storage"),
        Credential(PROJECT, "id of the project in which machines are created", secret=False),
    ),
    credentials_page="https://console.scaleway.com/iam/api-keys",
    regions={
        "fr-par-1": Region("FR", "Paris 1"),
        "fr-par-2": Region("FR", "Paris 2"),
        "fr-par-3": Region("FR", "Paris 3"),
        "nl-ams-1": Region("NL", "Amsterdam 1"),
        "nl-ams-2": Region("NL", "Amsterdam 2"),
        "nl-ams-3": Region("NL", "Amsterdam 3"),
        "pl-waw-1": Region("PL", "Warsaw 1"),
        "pl-waw-2": Region("PL", "Warsaw 2"),
    },
    tags=True,
    boot_script=True,
    granularity=60,
    pages=(
        "https://www.scaleway.com/en/developers/api/instances/",
        "https://www.scaleway.com/en/developers/api/block/",
        "https://www.scaleway.com/en/docs/instances/faq/",
        "https://www.scaleway.com/en/docs/instances/reference-content/add-instance-specific-ssh-keys-using-tags/",
        "https://www.iliad.fr/en/",
    ),
)


class _Kind:
    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        from lyc.providers.scaleway.provider import ScalewayProvider  # noqa: PLC0415  (httpx, once there is an account)

        return ScalewayProvider(credentials[SECRET_KEY], credentials[PROJECT].reveal(), endpoint=endpoint, clock=clock)


KIND: ProviderKind = _Kind()
