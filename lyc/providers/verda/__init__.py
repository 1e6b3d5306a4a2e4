"""Verda (until 2025 DataCrunch): whole virtual machines in Finland and Iceland, by OAuth2 and JSON.

What is not obvious, from its API's own description (OpenAPI, 2026-09) and its SDKs (Python 1.25, Go 2026-08):

* A machine and its volumes are two bills. A delete that names no volumes takes the OS volume (to the trash) and
  detaches the others, which go on costing; so lyc's names the OS volume, and has it removed for good. The OS volume
  bears the machine's name, so that it is found when only it is left.
* `POST /instances`, `/ssh-keys` and `/scripts` answer with the id, as JSON or as bare text.
* No capacity is 503 with code `service_unavailable` at once, or a machine that ends in status `no_capacity`.
* There is no key for idempotency and no limit of time. Lists are whole but that of scripts, which has pages of ten.
* A machine that is shut down costs what it cost before. A spot machine is taken back without a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lyc.records.rental import Capabilities, Credential, Region
from lyc.records.secret import Secret

if TYPE_CHECKING:
    from lyc.ports import Provider, ProviderKind

__all__ = ["CAPABILITIES", "KIND"]

CLIENT_ID, CLIENT_SECRET = "VERDA_CLIENT_ID", "VERDA_CLIENT_SECRET"

CAPABILITIES = Capabilities(
    name="verda",
    title="Verda",
    owner="Verda Cloud Oy",
    jurisdiction="FI",
    # What its price list is in unless the account's balance is in another: see `VerdaProvider.offers`.
    currency="USD",
    credentials=(
        Credential(CLIENT_ID, "client id of the cloud API credentials", secret=False),
        Credential(CLIENT_SECRET, "client secret of the cloud API credentials"),
    ),
    credentials_page="https://console.verda.com",
    regions={
        "FIN-01": Region("FI", "Finland 1"),
        "FIN-02": Region("FI", "Finland 2"),
        "FIN-03": Region("FI", "Finland 3"),
        "ICE-01": Region("IS", "Iceland 1"),
    },
    tags=True,
    boot_script=True,
    spot=True,
    granularity=600,
    pages=(
        "https://api.verda.com/v1/docs",
        "https://docs.verda.com/welcome-to-verda/pricing-and-billing",
        "https://github.com/verda-cloud/sdk-python",
        "https://github.com/verda-cloud/verdacloud-sdk-go",
        "https://verda.com/privacy-policy",
    ),
)


class _Kind:
    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        from lyc.providers.verda.provider import VerdaProvider  # noqa: PLC0415  (httpx, only when there is an account)

        return VerdaProvider(credentials[CLIENT_ID], credentials[CLIENT_SECRET], endpoint=endpoint, clock=clock)


KIND: ProviderKind = _Kind()
