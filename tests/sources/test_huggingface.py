"""A hub as a source, asked by the real huggingface_hub over real HTTP."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from lyc.errors import Failed, LycError, NotAuthorised, SpecError, Unreachable, UsageError
from lyc.inspection import inspect
from lyc.records.model import Listing, ModelRef, SourceKind
from lyc.records.secret import Secret
from lyc.sources.cache import ContentCache
from lyc.sources.huggingface import HuggingFaceSource

NAME = "acme/support"
TOKEN = "hf_aSecretToken"


def ref(revision: str | None = None, name: str = NAME) -> ModelRef:
    return ModelRef(SourceKind.HF, name, revision)


def source(hub: Any, token: str | None = None) -> HuggingFaceSource:
    return HuggingFaceSource(token=Secret(token) if token else None, endpoint=hub.url)


def refused(
    kind: type[LycError], error: str, hub: Any, token: str | None = None, revision: str | None = None
) -> LycError:
    with pytest.raises(kind) as caught:
        source(hub, token).resolve(ref(revision))
    assert caught.value.ref == error
    assert type(caught.value) is kind
    assert caught.value.hint
    assert TOKEN not in str(caught.value.document())
    return caught.value


def same(folder: Path, snapshot: Path) -> bool:
    names = [path.name for path in snapshot.iterdir()]
    return bool(names) and all((snapshot / name).read_bytes() == (folder / name).read_bytes() for name in names)


def test_the_revision_is_pinned_to_the_commit(hub: Any, model: Path) -> None:
    old = hub.add(NAME, model)
    (model / "config.json").write_text("{}")
    new = hub.add(NAME, model)
    hub.repos[NAME].refs["refs/pr/1"] = old
    assert source(hub).resolve(ref()).ref.revision == new
    assert source(hub).resolve(ref(old)).ref.revision == old
    assert source(hub).resolve(ref("refs/pr/1")).ref.revision == old


def test_the_listing_costs_one_request_and_knows_the_digests_of_the_weights(hub: Any, model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"x")
    (model / "README.md").write_text("x")
    hub.add(NAME, model)
    listing = source(hub).resolve(ref())
    assert len(hub.requests) == 1
    assert [file.path for file in listing.files] == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert listing.refused == ("pytorch_model.bin",)
    weights = listing.file("model.safetensors")
    assert weights
    assert weights.digest
    assert weights.size == (model / "model.safetensors").stat().st_size


def test_a_model_is_fetched_verified_and_inspected(hub: Any, model: Path, cache: ContentCache) -> None:
    hub.add(NAME, model)
    hugging = source(hub)
    listing = hugging.resolve(ref())
    assert inspect(listing, lambda f, start, length: hugging.read(listing, f, start=start, length=length)).architectures
    snapshot = cache.snapshot(hugging, listing, lambda done, total: None)
    assert same(model, snapshot.path)
    assert cache.have(listing) == snapshot
    before = len(hub.requests)
    assert cache.snapshot(hugging, listing, lambda done, total: None) == snapshot
    assert len(hub.requests) == before


def test_the_same_weights_from_hub_and_folder_are_one_snapshot(hub: Any, model: Path, cache: ContentCache) -> None:
    from lyc.sources.local import LocalSource

    hub.add(NAME, model)
    hugging, local = source(hub), LocalSource()
    first = cache.snapshot(hugging, hugging.resolve(ref()), lambda done, total: None)
    listing = local.resolve(ModelRef(SourceKind.LOCAL, str(model)))
    assert cache.have(listing) is not None
    assert cache.snapshot(local, listing, lambda done, total: None).digest == first.digest


def test_a_new_commit_fetches_only_what_changed(hub: Any, model: Path, cache: ContentCache) -> None:
    hub.add(NAME, model)
    hugging = source(hub)
    cache.snapshot(hugging, hugging.resolve(ref()), lambda done, total: None)
    (model / "config.json").write_text('{"architectures": ["Other"]}')
    hub.add(NAME, model)
    snapshot = cache.snapshot(hugging, hugging.resolve(ref()), lambda done, total: None)
    assert same(model, snapshot.path)
    assert hub.fetched("model.safetensors") == 1
    assert hub.fetched("config.json") == 2


def test_ranges_are_read(hub: Any, model: Path) -> None:
    hub.add(NAME, model)
    hugging = source(hub)
    listing = hugging.resolve(ref())
    data = (model / "model.safetensors").read_bytes()
    weights = listing.file("model.safetensors")
    assert weights
    for ranges in (True, False):
        hub.ranges = ranges
        assert hugging.read(listing, weights, start=100, length=50) == data[100:150]
        assert hugging.read(listing, weights, start=len(data) - 5, length=50) == data[-5:]
        assert hugging.read(listing, weights, start=len(data)) == b""
        into = io.BytesIO()
        hugging.download(listing, weights, into, start=250_000, progress=lambda done, total: None)
        assert into.getvalue() == data[250_000:]


def test_a_mirror_that_lists_names_only_is_asked_for_sizes(hub: Any, model: Path, cache: ContentCache) -> None:
    hub.add(NAME, model)
    hub.sizes = False
    hugging = source(hub)
    listing = hugging.resolve(ref())
    assert listing.size == sum((model / file.path).stat().st_size for file in listing.files)
    assert same(model, cache.snapshot(hugging, listing, lambda done, total: None).path)


def test_the_token_opens_a_private_model_and_stays_with_the_hub(hub: Any, model: Path, cache: ContentCache) -> None:
    hub.add(NAME, model, private=True)
    hub.tokens[TOKEN] = {NAME}
    hugging = source(hub, f" {TOKEN}\n")
    assert same(model, cache.snapshot(hugging, hugging.resolve(ref()), lambda done, total: None).path)
    assert any(path.startswith("/cdn/") for _, path, _ in hub.requests)
    assert hub.leaks == []


def test_a_token_of_this_process_is_not_used(hub: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(NAME, model, private=True)
    hub.tokens[TOKEN] = {NAME}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    refused(SpecError, "no-such-model", hub)


def test_a_missing_model(hub: Any) -> None:
    assert "private" in refused(SpecError, "no-such-model", hub).why
    hub.tokens[TOKEN] = set()
    assert "HF_TOKEN" in refused(SpecError, "no-such-model", hub, TOKEN).why


def test_a_missing_revision(hub: Any, model: Path) -> None:
    hub.add(NAME, model)
    assert "v9" in refused(SpecError, "no-such-revision", hub, revision="v9").what


def test_a_gated_model_says_what_to_do(hub: Any, model: Path) -> None:
    hub.add(NAME, model, gated=True)
    hint = refused(NotAuthorised, "gated-model", hub).hint
    assert f"{hub.url}/{NAME}" in hint
    assert "accept" in hint
    assert "export HF_TOKEN=" in hint
    hub.tokens[TOKEN] = set()
    refused(NotAuthorised, "gated-model", hub, TOKEN)
    hub.tokens[TOKEN] = {NAME}
    assert source(hub, TOKEN).resolve(ref()).files


def test_a_wrong_token(hub: Any, model: Path) -> None:
    hub.add(NAME, model)
    refused(NotAuthorised, "bad-token", hub, "hf_unknown")


@pytest.mark.parametrize("token", ["hf_a b", "hf_ü", "hf_a\nb"])
def test_a_token_that_no_header_can_carry(hub: Any, token: str) -> None:
    refused(NotAuthorised, "bad-token", hub, token)


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub.example", ":8000"])
def test_an_endpoint_that_is_no_url(endpoint: str) -> None:
    with pytest.raises(UsageError) as caught:
        HuggingFaceSource(endpoint=endpoint)
    assert caught.value.where == "HF_ENDPOINT"


def test_no_network(hub: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hub.url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert hub.url in refused(Unreachable, "hub-unreachable", hub).what


def test_a_busy_hub_and_one_that_is_none(hub: Any, model: Path) -> None:
    hub.add(NAME, model)
    hub.failing = 1
    refused(Unreachable, "hub-unreachable", hub)
    hub.html = True
    refused(Unreachable, "hub-unreachable", hub)


def test_a_file_that_vanished_from_the_hub(hub: Any, model: Path) -> None:
    commit = hub.add(NAME, model)
    hugging = source(hub)
    listing = hugging.resolve(ref())
    del hub.repos[NAME].commits[commit]["config.json"]
    config = listing.file("config.json")
    assert config
    with pytest.raises(Failed) as caught:
        hugging.read(listing, config)
    assert caught.value.ref == "source-changed"


def fetch_all(hub: Any, cache: ContentCache) -> tuple[Listing, Path]:
    hugging = source(hub)
    listing = hugging.resolve(ref())
    return listing, cache.snapshot(hugging, listing, lambda done, total: None).path


def test_a_broken_line_costs_no_byte_twice(hub: Any, model: Path, cache: ContentCache) -> None:
    hub.add(NAME, model)
    hub.cut_after = 65536
    _, path = fetch_all(hub, cache)
    assert same(model, path)
    assert hub.sent == (model / "model.safetensors").stat().st_size


def test_a_hub_that_fails_for_a_moment_is_asked_again(hub: Any, model: Path, cache: ContentCache) -> None:
    hub.add(NAME, model)
    hugging = source(hub)
    listing = hugging.resolve(ref())
    hub.failing = 3
    assert same(model, cache.snapshot(hugging, listing, lambda done, total: None).path)


def test_damaged_bytes_are_never_served(hub: Any, model: Path, cache: ContentCache) -> None:
    hub.add(NAME, model)
    hub.damage = True
    with pytest.raises(Failed) as caught:
        fetch_all(hub, cache)
    assert caught.value.ref == "checksum-mismatch"
    assert not list((cache.root / "blobs" / "sha256").iterdir())
    hub.damage = False
    assert same(model, fetch_all(hub, cache)[1])


def test_a_small_damaged_file_is_found_by_its_git_blob_id(hub: Any, model: Path) -> None:
    hub.add(NAME, model)
    hugging = source(hub)
    listing = hugging.resolve(ref())
    hub.damage = True
    config = listing.file("config.json")
    assert config
    with pytest.raises(Failed) as caught:
        hugging.read(listing, config)
    assert caught.value.ref == "checksum-mismatch"
    assert json.loads((model / "config.json").read_text())
