"""S3 as a source: the real boto3 against a real server."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lyc.errors import Failed, LycError, NotAuthorised, SpecError, Unreachable, UsageError
from lyc.inspection import inspect
from lyc.records.model import Listing, ModelRef, Snapshot, SourceKind
from lyc.records.secret import Secret
from lyc.sources.cache import ContentCache
from lyc.sources.s3 import S3Source

KEYS = {"AWS_ACCESS_KEY_ID": Secret("ACCESSKEYOFTESTS"), "AWS_SECRET_ACCESS_KEY": Secret("secret-of-tests-only")}


def ref(location: str = "weights/runs/best") -> ModelRef:
    return ModelRef(SourceKind.S3, location)


def source(s3: Any, credentials: Mapping[str, Secret] = KEYS) -> S3Source:
    return S3Source(credentials, endpoint=s3.url)


@pytest.fixture
def bucket(s3: Any, make_model: Any) -> Path:
    """A model in the bucket `weights` under `runs/best`."""
    return make_model(s3.folder / "weights" / "runs" / "best")


def refused(kind: type[LycError], error: str, s3: Any, location: str = "weights/runs/best", **keys: str) -> LycError:
    with pytest.raises(kind) as caught:
        source(s3, {name: Secret(value) for name, value in keys.items()} or KEYS).resolve(ref(location))
    assert caught.value.ref == error
    assert type(caught.value) is kind
    assert caught.value.hint
    assert "secret-of-tests" not in str(caught.value.document())
    return caught.value


def fetch(s3: Any, cache: ContentCache) -> tuple[Listing, Snapshot]:
    bucket = source(s3)
    listing = bucket.resolve(ref())
    return listing, cache.snapshot(bucket, listing, lambda done, total: None)


def same(folder: Path, snapshot: Path) -> bool:
    names = [path.name for path in snapshot.iterdir()]
    return bool(names) and all((snapshot / name).read_bytes() == (folder / name).read_bytes() for name in names)


def test_a_model_is_listed_inspected_and_fetched(s3: Any, bucket: Path, cache: ContentCache) -> None:
    (bucket / "old.bin").write_bytes(b"x")
    (bucket / "checkpoint-3").mkdir()
    (bucket / "checkpoint-3" / "config.json").write_text("{}")
    (bucket / "1_Pooling").mkdir()
    (bucket / "1_Pooling" / "config.json").write_text("{}")
    found = source(s3)
    listing = found.resolve(ref())
    assert [file.path for file in listing.files] == [
        "1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert listing.refused == ("old.bin",)
    assert inspect(listing, lambda f, start, length: found.read(listing, f, start=start, length=length)).architectures
    snapshot = cache.snapshot(found, listing, lambda done, total: None)
    assert (snapshot.path / "model.safetensors").read_bytes() == (bucket / "model.safetensors").read_bytes()
    assert (snapshot.path / "1_Pooling" / "config.json").read_text() == "{}"
    assert cache.have(listing) == snapshot
    asked = len(s3.gets)
    assert cache.snapshot(found, listing, lambda done, total: None) == snapshot
    assert len(s3.gets) == asked


def test_a_whole_bucket_is_a_model_too(s3: Any, make_model: Any) -> None:
    make_model(s3.folder / "whole")
    assert source(s3).resolve(ref("whole")).file("config.json")


def test_names_with_odd_characters(s3: Any, make_model: Any, cache: ContentCache) -> None:
    folder = make_model(s3.folder / "weights" / "läufe" / "a b+c%20d")
    found = source(s3)
    listing = found.resolve(ref("weights/läufe/a b+c%20d"))
    assert same(folder, cache.snapshot(found, listing, lambda done, total: None).path)


def test_the_revision_follows_the_objects(s3: Any, bucket: Path) -> None:
    before = source(s3).resolve(ref()).ref.revision
    assert source(s3).resolve(ref()).ref.revision == before
    (bucket / "config.json").write_text('{"architectures": ["Other"]}')
    assert source(s3).resolve(ref()).ref.revision != before


def test_ranges_are_read(s3: Any, bucket: Path) -> None:
    found = source(s3)
    listing = found.resolve(ref())
    weights, data = listing.file("model.safetensors"), (bucket / "model.safetensors").read_bytes()
    assert weights
    assert found.read(listing, weights, start=100, length=50) == data[100:150]
    assert found.read(listing, weights, start=len(data) - 5, length=50) == data[-5:]
    assert found.read(listing, weights, start=len(data)) == b""


def test_an_object_written_anew_is_an_error_and_no_mixture(s3: Any, bucket: Path, cache: ContentCache) -> None:
    found = source(s3)
    listing = found.resolve(ref())
    size = (bucket / "model.safetensors").stat().st_size
    (bucket / "model.safetensors").write_bytes(os.urandom(size))
    with pytest.raises(Failed) as caught:
        cache.snapshot(found, listing, lambda done, total: None)
    assert caught.value.ref == "source-changed"
    assert cache.have(listing) is None
    assert same(bucket, fetch(s3, cache)[1].path)


def test_an_object_removed_since_is_an_error(s3: Any, bucket: Path) -> None:
    found = source(s3)
    listing = found.resolve(ref())
    (bucket / "config.json").unlink()
    config = listing.file("config.json")
    assert config
    with pytest.raises(Failed) as caught:
        found.read(listing, config)
    assert caught.value.ref == "source-changed"


def test_a_broken_line_is_taken_up_where_it_broke(s3: Any, bucket: Path, cache: ContentCache) -> None:
    s3.cut_after = 163840
    assert same(bucket, fetch(s3, cache)[1].path)
    size = (bucket / "model.safetensors").stat().st_size
    assert size <= s3.sent <= size + 131072


def test_a_server_that_is_busy_for_a_moment_is_asked_again(s3: Any, bucket: Path, cache: ContentCache) -> None:
    found = source(s3)
    listing = found.resolve(ref())
    s3.failing = 4
    assert same(bucket, cache.snapshot(found, listing, lambda done, total: None).path)


def test_a_server_that_stays_busy(s3: Any, bucket: Path) -> None:
    s3.failing = 100
    refused(Unreachable, "s3-unreachable", s3)


def test_a_missing_bucket(s3: Any, bucket: Path) -> None:
    assert "nothing-here" in refused(SpecError, "no-such-bucket", s3, "nothing-here/x").what


def test_an_empty_prefix_names_what_is_beside(s3: Any, bucket: Path) -> None:
    error = refused(SpecError, "no-such-model", s3, "weights/runs")
    assert error.hint == "lyc deploy s3://weights/runs/best"
    refused(SpecError, "no-such-model", s3, "weights/runs/bes")


def test_a_bucket_that_denies(s3: Any, bucket: Path) -> None:
    s3.denied.add("weights")
    assert "AccessDenied" in refused(NotAuthorised, "s3-denied", s3).why


def test_a_wrong_secret_and_an_unknown_key(s3: Any, bucket: Path) -> None:
    refused(NotAuthorised, "s3-denied", s3, AWS_ACCESS_KEY_ID="ACCESSKEYOFTESTS", AWS_SECRET_ACCESS_KEY="wrong")
    refused(NotAuthorised, "s3-denied", s3, AWS_ACCESS_KEY_ID="NOBODYATALL", AWS_SECRET_ACCESS_KEY="wrong")


def test_half_of_the_credentials(s3: Any, bucket: Path) -> None:
    refused(NotAuthorised, "no-s3-credentials", s3, AWS_ACCESS_KEY_ID="ACCESSKEYOFTESTS")


def test_credentials_of_this_process_are_not_used(s3: Any, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in KEYS.items():
        monkeypatch.setenv(name, secret.reveal())
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    refused(NotAuthorised, "no-s3-credentials", s3, AWS_REGION="eu-central-1")
    assert source(s3).resolve(ref()).files


def test_a_profile_that_does_not_exist(s3: Any, bucket: Path) -> None:
    refused(NotAuthorised, "no-s3-profile", s3, AWS_PROFILE="nobody")


def test_a_profile_in_a_file_is_found(s3: Any, bucket: Path, tmp_path: Path) -> None:
    lines = ["[team]", *(f"{name.lower()} = {secret.reveal()}" for name, secret in KEYS.items())]
    (tmp_path / "credentials").write_text("\n".join(lines))
    named = {"AWS_SHARED_CREDENTIALS_FILE": Secret(str(tmp_path / "credentials")), "AWS_PROFILE": Secret("team")}
    assert source(s3, named).resolve(ref()).files


def test_no_network(s3: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        s3.url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert s3.url in refused(Unreachable, "s3-unreachable", s3).what


@pytest.mark.parametrize("endpoint", ["s3.example.eu", "ftp:/x", "http://a b"])
def test_an_endpoint_that_is_no_url(endpoint: str) -> None:
    with pytest.raises(UsageError) as caught:
        S3Source(KEYS, endpoint=endpoint).resolve(ref())
    assert caught.value.where == "--s3-endpoint"
