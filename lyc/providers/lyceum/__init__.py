"""Lyceum Cloud: virtual machines with NVIDIA GPUs, by the second.

No tags, time limit, boot script, idempotency key, choice of region or paging: the display name is the only handle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lyc.ports import Provider
from lyc.records.rental import Capabilities, Credential
from lyc.records.secret import Secret

ENDPOINT = "https://api.lyceum.technology/api/v2/external"

CAPABILITIES = Capabilities(
    name="lyceum",
    title="Lyceum",
    # The party to its terms. Who owns that company is on none of its pages, so the jurisdiction stays unknown.
    owner="Lyceum Technology Germany GmbH",
    jurisdiction="",
    currency="USD",
    credentials=(
        Credential("LYCEUM_API_KEY", "an API key, lk_…"),
        Credential(
            "LYCEUM_ORG", "slug of the organisation, where the key is not bound to one", secret=False, required=False
        ),
    ),
    credentials_page="https://dashboard.lyceum.technology/api-keys",
    # It names no region; where its machines stand is said only of its volumes, as a code (FIN-01) without a legend.
    regions={},
    spot=True,
    granularity=1,
    # A create may take 150 s to answer, and twice that where storage is attached.
    settle=300.0,
    # Seen on its machines; one of its pages says root.
    user="lyceum",
    pages=(
        "https://docs.lyceum.technology/api-reference/introduction",
        "https://docs.lyceum.technology/docs/vms/api",
        "https://docs.lyceum.technology/api-reference/vm-management/get-vm-status",
        "https://lyceum.technology/terms-conditions",
    ),
)


class _Kind:
    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        from lyc.providers.lyceum.provider import Lyceum  # noqa: PLC0415  (httpx takes 0.4 s to import)

        return Lyceum(
            credentials["LYCEUM_API_KEY"],
            organisation=credentials["LYCEUM_ORG"].reveal() if "LYCEUM_ORG" in credentials else None,
            endpoint=endpoint or ENDPOINT,
            clock=clock,
        )


KIND = _Kind()
