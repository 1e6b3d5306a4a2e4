"""Lyceum, on a fake with the oddities that were seen of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lyc.testing.provider_contract import ProviderContract, Rig
from tests.providers.lyceum_rig import lyceum_rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    with lyceum_rig() as rig:
        yield rig


class TestLyceum(ProviderContract):
    @pytest.fixture
    def rig(self, rig: Rig) -> Rig:
        return rig
