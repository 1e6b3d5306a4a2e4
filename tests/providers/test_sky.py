"""SkyPilot's provider against a server that answers as SkyPilot's does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from lyc.ports import Provider
from lyc.providers.sky import KIND
from lyc.providers.sky.provider import Sky
from lyc.records.secret import Secret
from lyc.testing.clouds import sky
from lyc.testing.clouds.core import FakeMachine
from lyc.testing.clouds.server import serve
from lyc.testing.contract.rig import Rig
from lyc.testing.provider_contract import ProviderContract

GOOD, EXPIRED = "sky_good_0123456789abcdef", "sky_expired_fedcba9876543210"


def limit_of(machine: FakeMachine) -> float | None:
    """Its agent ends it by what its task says."""
    autostop = json.loads(machine.payload["task"])["resources"].get("autostop")
    if autostop is None or not autostop["down"] or autostop["wait_for"] != "none":
        return None
    return float(autostop["idle_minutes"] * 60)


@pytest.fixture
def rig() -> Iterator[Rig]:
    cloud = sky.Clusters(sky.CAPACITY)
    app = sky.app(cloud, GOOD)
    with serve(app) as base:

        def connect(*, expired: bool = False, timeout: float | None = None) -> Provider:
            token = Secret(EXPIRED if expired else GOOD)
            spans = {} if timeout is None else {"timeout": timeout, "create_timeout": timeout}
            return Sky(Secret(base), token, clock=time.time, pause=lambda _seconds: None, **spans)

        yield Rig(KIND, connect, cloud, app.faults, [GOOD, EXPIRED], missing="lyc-0a1b2c3d-deadbeef", limit_of=limit_of)


class TestContract(ProviderContract):
    @pytest.fixture
    def rig(self, rig: Rig) -> Rig:
        return rig
