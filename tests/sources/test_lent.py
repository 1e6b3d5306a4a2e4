"""What a source lends another machine so that it fetches by itself: for so long, and no secret shown."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lyc.records.model import FetchRequest, Listing, ModelRef, SourceFile, SourceKind
from lyc.records.secret import Secret
from lyc.sources.elsewhere import reachable_elsewhere
from lyc.sources.huggingface import HuggingFaceSource
from lyc.sources.local import LocalSource
from lyc.sources.s3 import S3Source
from lyc.sources.sample import SampleSource

NAME = "acme/support"
TOKEN = "hf_" + "thisisasecret" * 2
KEYS = {"AWS_ACCESS_KEY_ID": Secret("ACCESSKEYOFTESTS"), "AWS_SECRET_ACCESS_KEY": Secret("secret-of-tests-only")}
anywhere: Callable[[str], bool] = lambda _: True  # noqa: E731 (a value)


def got(lent: FetchRequest, **more: str) -> bytes:
    """As any program fetches it."""
    headers = {name: value.reveal() for name, value in lent.headers.items()}
    with urllib.request.urlopen(urllib.request.Request(lent.url.reveal(), headers=headers | more)) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize(
    ("url", "elsewhere"),
    [
        ("https://huggingface.co", True), ("http://10.0.0.5:9000", True), ("http://minio:9000", True),
        ("http://[2001:db8::1]/x", True), ("https://localhost.example.eu", True), ("http://localhost:9000", False),
        ("http://LOCALHOST.", False), ("http://127.0.0.1:9000", False), ("http://127.8.8.8", False),
        ("http://[::1]:9000", False), ("http://hub.localhost/x", False), ("http://0.0.0.0:9000", False),
    ],
)  # fmt: skip
def test_what_is_another_server_elsewhere(url: str, elsewhere: bool) -> None:
    assert reachable_elsewhere(url) is elsewhere


def test_what_is_on_this_machine_alone_is_not_lent(hub: Any, s3: Any, make_model: Any, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    make_model(s3.folder / "weights" / "m")
    hub.add(NAME, folder)
    sample = SampleSource(root=tmp_path / "cache", environ={})
    for source, ref in (
        (LocalSource(), ModelRef(SourceKind.LOCAL, str(folder))),
        (sample, ModelRef(SourceKind.SAMPLE, "tiny")),
        (HuggingFaceSource(endpoint=hub.url), ModelRef(SourceKind.HF, NAME)),
        (S3Source(KEYS, endpoint=s3.url), ModelRef(SourceKind.S3, "weights/m")),
    ):
        listing = source.resolve(ref)
        before = len(hub.requests)
        assert source.fetch_requests(listing, seconds=60) is None
        assert len(hub.requests) == before


@pytest.mark.parametrize("token", [None, TOKEN])
def test_from_a_hub_at_the_commit(hub: Any, make_model: Any, tmp_path: Path, token: str | None) -> None:
    folder = make_model(tmp_path / "model")
    commit = hub.add(NAME, folder, gated=token is not None)
    hub.tokens[TOKEN] = {NAME}
    source = HuggingFaceSource(endpoint=hub.url, token=Secret(token) if token else None, elsewhere=anywhere)
    listing = source.resolve(ModelRef(SourceKind.HF, NAME))
    make_model(tmp_path / "newer", seed=1)
    hub.add(NAME, tmp_path / "newer")
    lent = source.fetch_requests(listing, seconds=60)
    assert lent is not None
    assert [each.path for each in lent] == [file.path for file in listing.files]
    for each in lent:
        assert each.url.reveal() == f"{hub.url}/{NAME}/resolve/{commit}/{each.path}"
        assert [name for name, _ in each.headers.items()] == (["Authorization"] if token else [])
        assert TOKEN not in repr(each)
        file = listing.file(each.path)
        assert file is not None
        assert each.git_blob == (None if file.digest else file.etag)
        if file.digest is None:  # urllib would hand the token on to the CDN
            assert got(each) == (folder / each.path).read_bytes()


def listed(source: S3Source) -> Listing:
    return source.resolve(ModelRef(SourceKind.S3, "weights/m"))


def test_from_s3_by_signed_urls(s3: Any, make_model: Any) -> None:
    folder = make_model(s3.folder / "weights" / "m")
    (folder / "vocab ü+&=#?.txt").write_text("odd")
    source = S3Source(KEYS, endpoint=s3.url, elsewhere=anywhere)
    lent = source.fetch_requests(listed(source), seconds=60.5)
    assert lent is not None
    assert {each.path for each in lent} == {path.name for path in folder.iterdir()}
    for each in lent:
        assert got(each) == (folder / each.path).read_bytes()
        assert got(each, Range="bytes=1-2") == (folder / each.path).read_bytes()[1:3]
        query = parse_qs(urlsplit(each.url.reveal()).query)
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert query["X-Amz-Expires"] == ["61"]
        assert "secret-of-tests-only" not in each.url.reveal()
        assert "X-Amz" not in repr(each)


def test_a_signed_url_is_for_this_state_of_the_object(s3: Any, make_model: Any) -> None:
    """By the entity tag that is signed with it: no other header will do, and the server of the tests does not look."""
    make_model(s3.folder / "weights" / "m")
    source = S3Source(KEYS, endpoint=s3.url, elsewhere=anywhere)
    listing = listed(source)
    lent = source.fetch_requests(listing, seconds=60)
    assert lent is not None
    for each, file in zip(lent, listing.files, strict=True):
        assert each.headers["If-Match"].reveal() == f'"{file.etag}"'
        assert parse_qs(urlsplit(each.url.reveal()).query)["X-Amz-SignedHeaders"] == ["host;if-match"]
        with pytest.raises(urllib.error.HTTPError):
            got(FetchRequest(each.path, each.url, {"If-Match": Secret('"another"')}))


def test_aws_itself_is_lent_without_a_word_to_it() -> None:
    source = S3Source(KEYS | {"AWS_SESSION_TOKEN": Secret("session"), "AWS_REGION": Secret("eu-central-1")})
    listing = Listing(ModelRef(SourceKind.S3, "weights/m"), (SourceFile("config.json", 2, None, "tag"),))
    lent = source.fetch_requests(listing, seconds=1e9)
    assert lent is not None
    parts = urlsplit(lent[0].url.reveal())
    assert (parts.scheme, parts.path) == ("https", "/m/config.json")
    assert parts.hostname == "weights.s3.eu-central-1.amazonaws.com"
    query = parse_qs(parts.query)
    assert query["X-Amz-Expires"] == [str(7 * 86400)]
    assert query["X-Amz-Security-Token"] == ["session"]
