"""Lines of keys in TOML: by cases, and by writing random documents and finding every key where it was written."""

from __future__ import annotations

import contextlib
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.spec.positions import KeyPath, locate, nearest

CASES: list[tuple[str, dict[KeyPath, int]]] = [
    ("", {}),
    ("# only a comment\n", {}),
    ("a = 1\nb = 2", {("a",): 1, ("b",): 2}),
    ("a = 1\r\n\r\nb = 2\r\n", {("a",): 1, ("b",): 3}),
    ("a.b.c = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1}),
    ("[a]\nb = 1\n[c.d]\ne = 2", {("a",): 1, ("a", "b"): 2, ("c", "d"): 3, ("c", "d", "e"): 4}),
    ('"a.b" = 1\n\'c d\' = 2\n"\\u00e9" = 3', {("a.b",): 1, ("c d",): 2, ("é",): 3}),
    ("a = '''\nx = 1\n'''\nb = 2", {("a",): 1, ("b",): 4}),
    ('a = """\n[x]\n\\""" y """\nb = 2', {("a",): 1, ("b",): 4}),
    ('a = """x""""\nb = 1', {("a",): 1, ("b",): 2}),
    ("a = ''''x'''''\nb = 1", {("a",): 1, ("b",): 2}),
    ('a = "x # y \\" z"\nb = 1 # a = 3\nc = 2', {("a",): 1, ("b",): 2, ("c",): 3}),
    ("a = [ # c\n 1,\n [2, 3],\n]\nb = 1",
     {("a",): 1, ("a", 0): 2, ("a", 1): 3, ("a", 1, 0): 3, ("a", 1, 1): 3, ("b",): 5}),
    ("a = { b = 1, c.d = [\n2] }\ne = 3",
     {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1, ("a", "c", "d", 0): 2, ("e",): 3}),
    ("[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3",
     {("a",): 1, ("a", 0): 1, ("a", 0, "b"): 2,
      ("a", 1): 3, ("a", 1, "b"): 4, ("a", 1, "c"): 5, ("a", 1, "c", "d"): 6}),
    ("a = 1979-05-27 07:32:00Z\nb = 1e3\nc = +inf\nd = 0xff", {("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4}),
    ("[ a . b ]\nc\t=\t1", {("a", "b"): 1, ("a", "b", "c"): 2}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_cases(text: str, expected: dict[KeyPath, int]) -> None:
    tomllib.loads(text)  # the case itself is valid
    assert locate(text) == expected


def paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, child in children for found in ((*path, key), *paths(child, (*path, key)))]


keys = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.sampled_from(['"a.b"', "'# c'", '"é\\n"']))
strings = st.sampled_from(
    ['"x"', "'x'", '"a # b"', '"""\nq = 1\n[z]\n"""', "'''\n#\n'''", '"\\""', "'\"'", '""', "''", '"""a\\\n  b"""']
)
scalars = st.one_of(strings, st.sampled_from(["1", "1.5", "true", "1979-05-27", "1979-05-27 07:32:00", "inf", "0x1f"]))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[ # c\n" + ",\n ".join(items) + "\n]"),
        st.lists(st.tuples(st.sampled_from("abcde"), inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{ " + ", ".join(f"{key} = {value}" for key, value in pairs) + " }"
        ),
    ),
    max_leaves=6,
)
tables = st.lists(st.tuples(keys, values, st.sampled_from(["", "\n", " # a = 1", "\n# [x]"])), max_size=4)


@given(tables, st.lists(st.tuples(keys, st.booleans(), tables), max_size=4))
def test_every_key_of_a_document_is_found_where_it_was_written(
    top: list[tuple[str, str, str]], sections: list[tuple[str, bool, list[tuple[str, str, str]]]]
) -> None:
    lines: list[str] = []
    expected: list[tuple[str, int]] = []
    for key, value, after in top:
        expected.append((key, len("\n".join([*lines, ""]).splitlines()) + 1))
        lines += f"{key} = {value}{after}".split("\n")
    for key, many, pairs in sections:
        lines.append(f"[[{key}]]" if many else f"[{key}]")
        for inner, value, after in pairs:
            lines += f"{inner} = {value}{after}".split("\n")
    text = "\n".join(lines)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # a key twice: not TOML
    found = locate(text)
    assert set(found) == set(paths(document))
    written = text.split("\n")
    for path, line in found.items():
        name = path[-1]
        if isinstance(name, str) and name.isidentifier():
            assert name in written[line - 1], (path, line)
    for key, line in expected:
        name = next(iter(tomllib.loads(f"{key} = 0")))
        assert found[(name,)] == line


@given(st.text(max_size=60))
def test_it_ends_on_any_text(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        locate_or_not(text)
    else:
        assert set(locate(text)) == set(paths(tomllib.loads(text)))


def locate_or_not(text: str) -> None:
    """On what is no TOML the answer is worth nothing, but it comes."""
    with contextlib.suppress(tomllib.TOMLDecodeError):
        locate(text)


@pytest.mark.parametrize(
    ("word", "expected"), [("modle", "model"), ("max-model-len", "max_model_len"), ("GPU", "gpu"), ("zzz", None)]
)
def test_the_nearest_word(word: str, expected: str | None) -> None:
    assert nearest(word, ["model", "gpu", "max_model_len", "name"]) == expected
