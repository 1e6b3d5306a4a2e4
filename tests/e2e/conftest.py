"""Homes of lyc for the tests; what is in them is taken down afterwards, and nothing may be left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Lyc, make


@pytest.fixture(scope="session")
def weights_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def lyc(tmp_path: Path, weights_cache: Path) -> Iterator[Lyc]:
    """A fresh home."""
    made = make(tmp_path / "home", weights_cache)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path) -> Iterator[Lyc]:
    """A home for all tests of a module."""
    made = make(tmp_path_factory.mktemp("shared") / "home", weights_cache)
    yield made
    made.close()
