"""The door to all sources, and the reader that inspection gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lyc.errors import SpecError
from lyc.inspection import inspect
from lyc.records.model import ModelRef, SourceKind
from lyc.records.secret import Secret
from lyc.sources import open_source
from lyc.sources.ahead import reader
from lyc.sources.cache import ContentCache
from lyc.sources.huggingface import HuggingFaceSource
from lyc.sources.local import LocalSource
from lyc.sources.s3 import S3Source
from lyc.sources.sample import SampleSource


@pytest.mark.parametrize(
    ("ref", "kind"),
    [
        (ModelRef(SourceKind.LOCAL, "/data/x"), LocalSource),
        (ModelRef(SourceKind.HF, "acme/x"), HuggingFaceSource),
        (ModelRef(SourceKind.S3, "bucket/x"), S3Source),
        (ModelRef(SourceKind.SAMPLE, "tiny"), SampleSource),
    ],
)
def test_every_kind_has_its_source(tmp_path: Path, ref: ModelRef, kind: type) -> None:
    found = open_source(ref, credentials={}, s3_endpoint=None, cache=tmp_path / "cache", environ={})
    assert type(found) is kind
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("kind", ["local", "sample"])
def test_no_vendors_library_is_loaded_in_vain(kind: str) -> None:
    code = (
        "import sys; from pathlib import Path; from lyc.records.model import ModelRef, SourceKind\n"
        "from lyc.sources import open_source\n"
        f"ref = ModelRef(SourceKind('{kind}'), 'tiny')\n"
        "open_source(ref, credentials={}, s3_endpoint=None, cache=Path('x'), environ={})\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'boto3', 'botocore', 'huggingface_hub'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_endpoint_of_the_command_wins_over_that_of_the_environment(
    s3: Any, make_model: Any, tmp_path: Path
) -> None:
    make_model(s3.folder / "weights" / "m")
    keys = {"AWS_ACCESS_KEY_ID": Secret("ACCESSKEYOFTESTS"), "AWS_SECRET_ACCESS_KEY": Secret("secret-of-tests-only")}
    ref = ModelRef(SourceKind.S3, "weights/m")
    nobody = "http://127.0.0.1:1"
    for flag, for_s3, for_all in ((s3.url, nobody, nobody), (None, s3.url, nobody), (None, "", s3.url)):
        credentials = keys | {"AWS_ENDPOINT_URL_S3": Secret(for_s3), "AWS_ENDPOINT_URL": Secret(for_all)}
        source = open_source(ref, credentials=credentials, s3_endpoint=flag, cache=tmp_path, environ={})
        assert source.resolve(ref).files


def test_headers_are_read_ahead_and_the_cache_spares_the_network(
    hub: Any, make_model: Any, cache: ContentCache, tmp_path: Path
) -> None:
    hub.add("acme/x", make_model(tmp_path / "model", shards=5))
    source = HuggingFaceSource(endpoint=hub.url)
    listing = source.resolve(ModelRef(SourceKind.HF, "acme/x"))
    facts = inspect(listing, reader(source, listing))
    heads = [span for _, path, span in hub.requests if path.startswith("/cdn/")]
    assert heads == ["bytes=0-65535"] * 5
    snapshot = cache.snapshot(source, listing, lambda done, total: None)
    asked = len(hub.requests)
    assert inspect(listing, reader(source, listing, cache.have(listing))) == facts
    assert inspect(listing, reader(source, listing, snapshot)) == facts
    assert len(hub.requests) == asked


def test_an_error_while_reading_ahead_is_the_sources(hub: Any, make_model: Any, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", shards=3)
    weights = folder / "model-00002-of-00003.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    hub.add("acme/x", folder)
    source = HuggingFaceSource(endpoint=hub.url)
    listing = source.resolve(ModelRef(SourceKind.HF, "acme/x"))
    with pytest.raises(SpecError) as caught:
        inspect(listing, reader(source, listing))
    assert caught.value.ref == "truncated-weights"
    assert caught.value.where == weights.name
