"""RunPod: GPUs by the second, as pods.

A pod is a container, not a machine: root inside of one, no systemd, a disk that is wiped when it stops. lyc's shim
supervises there in the place of systemd; a kernel, a driver and Docker cannot be installed. To power off is to give the
pod back: see `start`, which also keeps the time limit, because RunPod does not: its GraphQL takes `terminateAfter` and
acts on it nowhere (runpod/runpodctl#330), no call extends it, and REST has no such field. So the limit is kept by the
pod, with the key that RunPod gives each pod for itself; one whose container never starts is only found by a sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lyc.providers.runpod.places import REGIONS
from lyc.records.rental import Capabilities, Credential
from lyc.records.secret import Secret

if TYPE_CHECKING:
    from lyc.ports import Provider, ProviderKind

KEY = "RUNPOD_API_KEY"

CAPABILITIES = Capabilities(
    name="runpod",
    title="RunPod",
    owner="Runpod, Inc.",
    jurisdiction="US",
    currency="USD",
    credentials=(Credential(KEY, "an API key that may read and write both REST and GraphQL"),),
    credentials_page="https://www.console.runpod.io/user/settings",
    regions=REGIONS,
    # Its own label is the name, which need not be unique; there are no tags and no idempotency key.
    time_limit=True,
    boot_script=True,
    spot=True,
    # A pod that powers off gives itself back (`start`); without a volume of its own nothing is left to pay for.
    container=True,
    granularity=1,
    pages=(
        "https://docs.runpod.io/api-reference/pods/POST/pods",
        "https://docs.runpod.io/sdks/graphql/manage-pods",
        "https://docs.runpod.io/pods/templates/environment-variables",
        "https://github.com/runpod/runpodctl/pull/330",
        "https://www.runpod.io/legal/terms-of-service",
    ),
)


class _Kind:
    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        from lyc.providers.runpod.provider import RunPod  # noqa: PLC0415 (httpx only where there is an account)

        return RunPod(credentials[KEY], endpoint=endpoint, clock=clock)


KIND: ProviderKind = _Kind()
