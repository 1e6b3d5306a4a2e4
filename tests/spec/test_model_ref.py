"""What a user may write as MODEL, and what it means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import SpecError
from lyc.records.model import ModelRef, SourceKind
from lyc.spec.model_ref import SAMPLES, default_name, parse_model

CWD, HOME = Path("/somewhere"), Path("/users/ada")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def parse(text: str, *folders: str) -> ModelRef:
    return parse_model(text, cwd=CWD, is_dir=lambda path: str(path) in folders, home=HOME)


@pytest.mark.parametrize(
    ("text", "kind", "location", "revision"),
    [
        ("acme/support-8b", SourceKind.HF, "acme/support-8b", None),
        ("hf:acme/support-8b", SourceKind.HF, "acme/support-8b", None),
        ("hf:acme/support-8b@v1.2", SourceKind.HF, "acme/support-8b", "v1.2"),
        ("acme/support-8b@refs/pr/3", SourceKind.HF, "acme/support-8b", "refs/pr/3"),
        (" acme/Support_8B.v2 ", SourceKind.HF, "acme/Support_8B.v2", None),
        ("s3://weights", SourceKind.S3, "weights", None),
        ("s3://weights/", SourceKind.S3, "weights", None),
        ("s3://weights/a/b c/", SourceKind.S3, "weights/a/b c", None),
        ("sample:tiny", SourceKind.SAMPLE, "tiny", None),
        ("/abs/model", SourceKind.LOCAL, "/abs/model", None),
        ("/abs/./x/../model/", SourceKind.LOCAL, "/abs/model", None),
        ("./model", SourceKind.LOCAL, "/somewhere/model", None),
        ("../model", SourceKind.LOCAL, "/model", None),
        (".", SourceKind.LOCAL, "/somewhere", None),
        ("~/model", SourceKind.LOCAL, "/users/ada/model", None),
        ("~", SourceKind.LOCAL, "/users/ada", None),
        ("./org/name@rev", SourceKind.LOCAL, "/somewhere/org/name@rev", None),
    ],
)
def test_every_form(text: str, kind: SourceKind, location: str, revision: str | None) -> None:
    assert parse(text) == ModelRef(kind, location, revision)


def test_a_folder_wins_over_a_name_on_the_hub_and_hf_means_the_hub() -> None:
    assert parse("acme/support", "/somewhere/acme/support").kind is SourceKind.LOCAL
    assert parse("hf:acme/support", "/somewhere/acme/support").kind is SourceKind.HF
    assert parse("support", "/somewhere/support") == ModelRef(SourceKind.LOCAL, "/somewhere/support")
    assert parse("a/b/c", "/somewhere/a/b/c").location == "/somewhere/a/b/c"


@pytest.mark.parametrize(
    ("text", "ref", "hint"),
    [
        ("", "no-model", "org/name"),
        ("   ", "no-model", "s3://"),
        ("support", "invalid-model", "./my-model"),
        ("a/b/c", "invalid-model", "org/name"),
        ("hf:support", "invalid-model", "org/name"),
        ("hf:a/b/c", "invalid-model", "org/name"),
        ("hf:", "invalid-model", "org/name"),
        ("acme/", "invalid-model", "org/name"),
        ("acme/-x", "invalid-model", "org/name"),
        ("acme/a--b", "invalid-model", "org/name"),
        ("acme/x y", "invalid-model", "org/name"),
        ("acme\\x", "invalid-model", "org/name"),
        ("acme/" + "x" * 97, "invalid-model", "org/name"),
        ("acme/x@", "invalid-model", "@revision"),
        ("acme/x@a..b", "invalid-model", "@revision"),
        ("acme/x@-f", "invalid-model", "@revision"),
        ("acme/x\x00y", "invalid-model", "org/name"),
        ("s3://", "invalid-model", "s3://bucket/prefix"),
        ("s3:///x", "invalid-model", "s3://bucket/prefix"),
        ("s3://a b/x", "invalid-model", "s3://bucket/prefix"),
        ("s3://bucket/../x", "invalid-model", "s3://bucket/prefix"),
        ("s3:bucket/x", "invalid-model", "s3://bucket/prefix"),
        ("~ada/x", "invalid-model", "./my-model"),
        ("http://models.example/x", "invalid-model", "org/name"),
        ("https://huggingface.co/acme/support-8b", "invalid-model", "hf:acme/support-8b"),
        ("https://huggingface.co/acme/support-8b/tree/v2", "invalid-model", "hf:acme/support-8b@v2"),
        ("hf://acme/support-8b", "invalid-model", "hf:acme/support-8b"),
        ("file:///data/x", "invalid-model", "/data/x"),
        ("http://[", "invalid-model", "org/name"),
        ("sample:", "unknown-sample", "sample:smollm2-135m"),
        ("sample:huge", "unknown-sample", "sample:smollm2-135m"),
    ],
)
def test_anything_else_is_one_error_with_the_right_form(text: str, ref: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert caught.value.ref == ref
    assert hint in caught.value.hint
    assert caught.value.what


def test_a_name_too_long_for_a_folder_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        parse_model("x" * 5000, cwd=tmp_path)
    with pytest.raises(SpecError):
        parse_model(f"acme/{'x' * 300}", cwd=tmp_path)


def test_the_error_names_the_samples() -> None:
    with pytest.raises(SpecError) as caught:
        parse("sample:huge")
    assert all(name in caught.value.why for name in SAMPLES)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(SpecError) as caught:
        parse("https://ada:hunter2@models.example/x?token=hunter2")
    assert "hunter2" not in str(caught.value.document())


@given(st.text(max_size=200))
def test_any_text_is_a_reference_or_a_spec_error(text: str) -> None:
    try:
        ref = parse(text)
    except SpecError:
        return
    assert LABEL.fullmatch(default_name(ref))
    assert ref.kind is not SourceKind.LOCAL or ref.location.startswith("/")


@given(st.from_regex(r"(hf:|s3://)?[A-Za-z0-9@._/-]{1,60}", fullmatch=True))
def test_a_reference_reads_back_what_it_shows(text: str) -> None:
    try:
        ref = parse(text)
    except SpecError:
        return
    assert parse(str(ref)) == ref


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        (ModelRef(SourceKind.HF, "acme/Support_8B.v2"), "support-8b-v2"),
        (ModelRef(SourceKind.S3, "bucket"), "bucket"),
        (ModelRef(SourceKind.S3, "bucket/runs/Best One"), "best-one"),
        (ModelRef(SourceKind.LOCAL, "/data/" + "x" * 80), "x" * 63),
        (ModelRef(SourceKind.LOCAL, "/"), "model"),
        (ModelRef(SourceKind.LOCAL, "/data/…"), "model"),
        (ModelRef(SourceKind.LOCAL, f"/c/models--acme--support/snapshots/{'a1' * 20}"), "support"),
    ],
)
def test_default_names_are_dns_labels(ref: ModelRef, name: str) -> None:
    assert default_name(ref) == name
    assert LABEL.fullmatch(name)
