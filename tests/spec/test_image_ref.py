"""Which references of images are taken, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import SpecError
from lyc.spec.image_ref import check_image

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "text",
    ["vllm/vllm-openai:v0.32.0", "engine:1", f"engine@{DIGEST}", f"a/b:1@{DIGEST}", "localhost:5000/engine:dev",
     "Registry.Example.EU:5000/team/my_engine.gpu:2026-01", "[2001:db8::1]:5000/a:1", "ghcr.io/a--b/c__d:x"],
)  # fmt: skip
def test_references(text: str) -> None:
    assert check_image(text) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vllm/vllm-openai", "latest"),
        ("localhost:5000/engine", "latest"),
        ("Engine:1", "small letters"),
        ("docker://a/b:1", "scheme"),
        ("a/b@sha256:123", "64 hexadecimal"),
        (f"a/b@sha512:{'0' * 128}", "64 hexadecimal"),
        ("a b:1", "NAME:TAG"),
        ("-v=/:/host", "NAME:TAG"),
        ("a:-1", "NAME:TAG"),
        ("a:1;reboot", "NAME:TAG"),
        ("", "NAME:TAG"),
        ("a/" * 400 + "b:1", "NAME:TAG"),
    ],
)
def test_what_is_none(text: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_image(text)
    error = caught.value
    assert (error.ref, error.where, error.exit_code) == ("invalid-image", "--image", 3)
    assert says in error.why
    assert error.hint


@given(st.text(max_size=60))
def test_nothing_that_a_command_line_takes_for_an_option(text: str) -> None:
    try:
        check_image(text)
    except SpecError:
        return
    assert not text.startswith("-")
    assert not set(text) & set(" \t\n\0'\"`$;&|<>(){}\\,=")
