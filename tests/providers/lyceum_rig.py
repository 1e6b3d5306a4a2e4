"""Lyceum on its fake, as the contract suite wants it; and so that it can be given a provider that is broken."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from lyc.ports import Provider
from lyc.providers.lyceum import KIND
from lyc.providers.lyceum.provider import Lyceum
from lyc.records.rental import Offer
from lyc.records.secret import Secret
from lyc.testing.clouds.core import Call
from lyc.testing.clouds.lyceum import KEY, lyceum_app, lyceum_cloud
from lyc.testing.clouds.server import App, serve
from lyc.testing.provider_contract import Rig
from tests.providers.published import Published

EXPIRED = "lk_000expired000"
PUBLISHED = Published("lyceum")


def check(call: Call) -> Sequence[str]:
    try:
        PUBLISHED.check([call])
    except Exception as error:  # noqa: BLE001  (jsonschema's own, and the assertions)
        return [str(error)]
    return []


@contextlib.contextmanager
def lyceum_rig(make: Callable[..., Lyceum] = Lyceum, app: App | None = None) -> Iterator[Rig]:
    """make: what opens the provider, in place of its class."""
    app = app or lyceum_app(lyceum_cloud())
    cloud = app.cloud

    def litter(run_id: str) -> int:
        """A volume by its name, one that a dead machine still names, and one of nobody that is known."""
        cloud.put("volume", f"lyc-{run_id}", size_gb=100)
        dead = cloud.launch(f"lyc-{run_id}", "on-demand.h100.1x")
        left = cloud.put("volume", "vol-1", size_gb=10)
        dead.data["volumes"] = [{"volume_id": left.id}]
        cloud.end(dead.id)
        cloud.advance()
        cloud.put("volume", "vol-2", size_gb=20)
        return 2

    def litter_foreign() -> Sequence[str]:
        theirs = cloud.put_foreign("mail")
        own = cloud.put("volume", "datasets", machine=theirs.id, size_gb=500)
        return [own.id, cloud.put("volume", "lyc-models", size_gb=500).id]

    with serve(app) as base:

        def connect(*, expired: bool = False, timeout: float | None = None) -> Provider:
            spans = {} if timeout is None else {"timeout": timeout, "create_timeout": timeout}
            key = Secret(EXPIRED if expired else KEY)
            return make(key, clock=time.time, endpoint=base, pause=lambda _seconds: None, **spans)

        not_sold = Offer("lyceum", "on-demand.b300.1x", "b300", "b300", 1, Decimal(1), "USD")
        yield Rig(
            KIND, connect, cloud, app.faults, [KEY, EXPIRED], litter=litter, litter_foreign=litter_foreign,
            unsold=not_sold, missing="9918b72c1dce41a6875abaf5d5ab64e9", check=check,
        )  # fmt: skip
