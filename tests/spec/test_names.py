"""Names of deployments are DNS labels."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import SpecError
from lyc.spec.names import LONGEST, check_name, propose_name

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@pytest.mark.parametrize("name", ["a", "0", "support-8b", "a--b", "x" * LONGEST])
def test_a_label_passes(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("x" * 64, "64 characters"),
        ("Support", "'S'"),
        ("a_b", "'_'"),
        ("a.b", "'.'"),
        ("a b\n", "'\\n' ' '"),
        ("../etc", "'.' '/'"),
        ("-a", "dash"),
        ("a-", "dash"),
        ("é", "'é'"),
        ("a\n", "'\\n'"),
    ],
)
def test_anything_else_is_refused_with_the_reason_and_a_proposal(name: str, why: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_name(name, where="--name")
    error = caught.value
    assert (error.ref, error.where, error.exit_code) == ("invalid-name", "--name", 3)
    assert why in error.why
    assert check_name(error.hint.rpartition(" ")[2])


@given(st.text(max_size=200))
def test_a_proposal_is_always_a_label(text: str) -> None:
    assert LABEL.fullmatch(propose_name(text))


@given(st.text(max_size=80))
def test_what_passes_is_a_label(text: str) -> None:
    try:
        check_name(text)
    except SpecError:
        assert not LABEL.fullmatch(text)
    else:
        assert LABEL.fullmatch(text)
