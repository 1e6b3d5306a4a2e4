"""SkyPilot as an engine for the clouds that lyc has no client for: its API server rents there, with its credentials.

Nothing of SkyPilot is imported: lyc speaks HTTP to the server, of version 0.14 (https://docs.skypilot.co). What that
lists is what its own database knows. Where the database is lost, a machine is in no list any more, and only its own
lease, or its time limit, ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lyc.providers.sky.places import PAGES, REGIONS
from lyc.records.rental import Capabilities, Credential
from lyc.records.secret import Secret

if TYPE_CHECKING:
    from lyc.ports import Provider, ProviderKind

SERVER = "SKYPILOT_API_SERVER_ENDPOINT"
TOKEN = "SKYPILOT_SERVICE_ACCOUNT_TOKEN"  # noqa: S105 (the name of a variable)
CHOSEN = "LYC_SKY_CLOUDS"

CAPABILITIES = Capabilities(
    name="sky",
    title="SkyPilot",
    # Each offer says whose the machine is: SkyPilot is the user's own server.
    owner="the cloud's",
    jurisdiction="",
    currency="USD",
    credentials=(
        # An address may hold a password.
        Credential(SERVER, "address of your SkyPilot API server: http://127.0.0.1:46580 after `sky api start`"),
        Credential(TOKEN, "a service account token, where the server asks for one", required=False),
        Credential(CHOSEN, "clouds to use, by commas; else all that lyc has no client for", False, False),
    ),
    credentials_page="https://docs.skypilot.co/en/latest/reference/api-server/api-server.html",
    regions=REGIONS,
    # A cluster's name is unique: a second launch of it waits for the first, and finds its machine.
    idempotent=True,
    # Not tags: only some of the clouds take SkyPilot's labels; all carry the name.
    time_limit=True,  # autodown, by SkyPilot's agent on the machine
    boot_script=True,
    spot=True,
    # How finely they bill is each cloud's own: an hour is the careful assumption.
    user="lyc-login",  # see `setup`
    pages=(
        "https://docs.skypilot.co/en/latest/reference/api-server/api-server.html",
        "https://docs.skypilot.co/en/latest/reference/yaml-spec.html",
        "https://docs.skypilot.co/en/latest/reference/auto-stop.html",
        *PAGES,
    ),
)


class _Kind:
    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        from lyc.providers.sky.provider import Sky  # noqa: PLC0415 (httpx only where there is an account)

        chosen = credentials.get(CHOSEN)
        return Sky(
            Secret(endpoint) if endpoint else credentials[SERVER],
            credentials.get(TOKEN),
            clouds=None if chosen is None else chosen.reveal(),
            clock=clock,
        )


KIND: ProviderKind = _Kind()
