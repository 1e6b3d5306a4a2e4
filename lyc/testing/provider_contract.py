"""The suite that every provider of machines passes: what `lyc.ports.Provider` says, tried over real sockets.

    class TestAcme(ProviderContract):
        @pytest.fixture
        def rig(self) -> Iterator[Rig]:
            cloud = Cloud(…); app = acme_app(cloud)
            with serve(app) as base:
                yield Rig(KIND, connect, cloud, app.faults, secrets=…)

Needs pytest. Call `pytest.register_assert_rewrite("lyc.testing.contract")` first to see values that differ.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from lyc.testing.contract.doubt import Doubt
from lyc.testing.contract.life import Life
from lyc.testing.contract.ownership import Ownership
from lyc.testing.contract.rig import OTHER, OWNER, Connect, Rig
from lyc.testing.contract.trouble import Trouble

__all__ = ["OTHER", "OWNER", "Connect", "ProviderContract", "Rig"]


class ProviderContract(Life, Doubt, Trouble, Ownership):
    """Subclass it and give it a fixture `rig`, with a fresh cloud for each test."""

    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        """The provider on its fake."""
        raise NotImplementedError("a test of a provider overrides this fixture")

    @pytest.fixture(autouse=True)
    def _watched(self, rig: Rig, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """Each test ends with `Rig.verdict`."""
        caplog.set_level(logging.DEBUG)
        yield
        rig.verdict(caplog.text)
        rig.provider.close()
