"""Homes of lyc for the tests; what is in them is taken down afterwards, and nothing may be left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lyc.records.model import ModelRef, SourceKind
from lyc.sources.cache import ContentCache
from lyc.sources.open import open_source
from lyc.testing.models import TinyModels
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


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    cache = tmp_path_factory.mktemp("tiny-cache")
    reference = ModelRef(SourceKind.SAMPLE, "tiny")
    source = open_source(reference, credentials={}, s3_endpoint=None, cache=cache, environ=os.environ)
    listing = source.resolve(reference)
    snapshot = ContentCache(cache).snapshot(source, listing, lambda done, total: None)
    base = tmp_path_factory.mktemp("tiny") / "base"
    shutil.copytree(snapshot.path, base)
    for path in base.iterdir():
        path.chmod(0o644)
    return TinyModels(base, tmp_path_factory.mktemp("variants"))
