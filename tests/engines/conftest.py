"""The engine and the models that the tests of this folder use, made when first asked for and kept on the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lyc.engines.versions import pinned
from lyc.hosts.environment import UvInstaller
from lyc.spec.settings import load
from lyc.testing.models import TinyModels, tiny_models


@pytest.fixture(scope="session")
def engine_bin() -> Path:
    """`bin` of the CPU engine that `LYC_ENGINES` holds; installed if it is not there."""
    return UvInstaller(load(os.environ).engines, os.environ).install(pinned(on_cpu=True), print)


@pytest.fixture(scope="session")
def tiny() -> TinyModels:
    return tiny_models(load(os.environ).cache, os.environ)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A replica's private folder; its path is short, because a socket in it may not be longer than 107 bytes."""
    with TemporaryDirectory(prefix="lyc-") as path:
        yield Path(path)
