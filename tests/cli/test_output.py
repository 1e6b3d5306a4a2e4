"""The one place that writes: errors, answers, tables, colours, questions."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping

import pytest

from lyc.cli.output import Output
from lyc.cli.snippets import card, curl, python
from lyc.errors import Failed, UsageError
from tests.cli.conftest import LYC, Home


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def make(*, terminal: bool = False, **options: bool) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    return Output(stdout=out, stderr=err, **options), out, err


FULL = Failed("no-config", "there is no config.json", why="the folder is empty", where="./m", hint="ls ./m\nor so",
              detail=("line 1", "line 2"))  # fmt: skip
TEXT = """\
error[no-config]: there is no config.json
  why: the folder is empty
  at: ./m
  │ line 1
  │ line 2

hint: ls ./m
      or so
"""


def test_an_error_for_a_person() -> None:
    output, out, err = make()
    output.error(FULL)
    assert (out.getvalue(), err.getvalue()) == ("", TEXT)
    output, _, err = make()
    output.error(Failed("short", "it broke"))
    assert err.getvalue() == "error[short]: it broke\n"


def test_an_error_for_a_program() -> None:
    output, out, err = make(as_json=True)
    output.error(FULL)
    assert json.loads(out.getvalue()) == {"version": 1, "error": FULL.document()}
    assert err.getvalue() == ""


def test_colours_only_on_a_terminal_and_only_if_wanted() -> None:
    for terminal, colour, painted in ((True, True, True), (True, False, False), (False, True, False)):
        output, out, err = make(terminal=terminal, colour=colour)
        output.error(FULL)
        output.answer({}, output.table(("A", "B"), [("1", "2")]))
        assert ("\033[" in err.getvalue(), "\033[" in out.getvalue()) == (painted, painted)


def test_quiet_keeps_warnings_errors_and_the_answer() -> None:
    output, out, err = make(quiet=True)
    output.say("talk")
    output.done("done")
    output.hint("hint")
    output.warn("careful")
    output.answer({"a": 1}, "the answer")
    assert (out.getvalue(), err.getvalue()) == ("the answer\n", "warning: careful\n")


def test_json_gives_one_document_and_keeps_the_talk_on_stderr() -> None:
    output, out, err = make(as_json=True)
    output.say("talk")
    output.answer({"name": "ü"}, "text")
    assert json.loads(out.getvalue()) == {"version": 1, "name": "ü"}
    assert "ü" in out.getvalue()
    assert err.getvalue() == "talk\n"


def test_a_table_is_aligned_and_not_cut_in_a_pipe() -> None:
    output, _, _ = make()
    rows = [("a", "x" * 100, "1"), ("bbb", "y", "22")]
    assert output.table(("N", "LONG", "C"), rows).splitlines() == [
        "N    LONG" + " " * 98 + "C",
        "a    " + "x" * 100 + "  1",
        "bbb  y" + " " * 101 + "22",
    ]


def test_numbers_stand_below_one_another() -> None:
    output, _, _ = make()
    rows = [("a", "1", "x"), ("b", "1,234", "y")]
    assert output.table(("NAME", "N", "C"), rows, numbers=("N",)).splitlines() == [
        "NAME      N  C",
        "a         1  x",
        "b     1,234  y",
    ]


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_a_table_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    output, _, _ = make(terminal=True, colour=False)
    lines = output.table(
        ("NAME", "MODEL", "URL"), [("support", "hf:acme/" + "x" * 60, "http://" + "y" * 60)]
    ).splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert "support" in lines[1]
    assert lines[1].count("…") == 2


def test_nobody_is_asked_where_nobody_can_answer() -> None:
    output, _, _ = make()
    with pytest.raises(UsageError) as caught:
        output.confirm("Really?")
    assert caught.value.ref == "needs-confirmation"
    assert "--yes" in caught.value.hint


def test_a_terminal_of_another_encoding_gets_a_question_mark_and_no_crash(home: Home) -> None:
    code, _, err = home.run("ls", PYTHONUTF8="0", PYTHONIOENCODING="ascii", PYTHONCOERCECLOCALE="0", LC_ALL="C",
                            LYC_LOG_LEVEL="ü")  # fmt: skip
    assert code == 2
    assert err.startswith("error[invalid-setting]: '")


def on_a_terminal(words: list[str], env: Mapping[str, str]) -> bytes:
    """What the command writes with stdin, stdout and stderr on one terminal."""
    main, terminal = pty.openpty()
    process = subprocess.Popen([LYC, *words], env=dict(env), stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    written = b""
    while True:
        try:
            chunk = os.read(main, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not chunk:
            break
        written += chunk
    process.wait(30)
    os.close(main)
    return written


@pytest.mark.skipif(sys.platform != "linux", reason="reads a terminal as Linux does")
@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
    ids=str,
)
def test_no_color_is_obeyed_on_a_real_terminal(home: Home, env: dict[str, str], coloured: bool) -> None:
    for words in (["status"], ["status", "--no-color"]):
        written = on_a_terminal(words, {**home.env, "TERM": "xterm-256color", **env})
        assert b"error[usage]" in written
        assert (b"\033[31m" in written) is (coloured and len(words) == 1)


@pytest.mark.parametrize("key", ["lyc_abc", None])
@pytest.mark.parametrize(
    ("kind", "path", "field"),
    [
        ("chat", "/chat/completions", "messages"),
        ("completion", "/completions", "prompt"),
        ("embedding", "/embeddings", "input"),
        ("models", "/models", None),
    ],
)
def test_the_snippets_are_a_shell_command_and_a_program(
    key: str | None, kind: str, path: str, field: str | None
) -> None:
    url, model = "http://127.0.0.1:1/x/v1", 'it\'s "quoted"'
    command = curl(url, key, model, kind=kind)
    shown = subprocess.run(
        ["sh", "-c", 'curl() { printf "%s\\n" "$@"; }\n' + command],
        env={"LYC_KEY": "from-env"}, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert shown[0] == url + path
    assert f"Authorization: Bearer {key or 'from-env'}" in shown
    if field is not None:
        body = json.loads(shown[-1])
        assert body.keys() == {"model", field}
        assert body["model"] == model
    compile(python(url, key, model, kind=kind), "snippet", "exec")


def test_the_card_shows_the_key_only_when_there_is_one() -> None:
    result = {"name": "n", "url": "http://h/v1", "served_name": "n"}
    assert "lyc_k" in card(result, "lyc_k")  # type: ignore[arg-type]
    without = card(result, None)  # type: ignore[arg-type]
    assert "$LYC_KEY" in without
    assert 'os.environ["LYC_KEY"]' in without


def test_a_narrow_terminal_loses_spare_columns_before_anything_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    output, _, _ = make(terminal=True, colour=False)
    columns, row = ("NAME", "MODEL", "URL", "AGE"), ("n" * 30, "m" * 20, "u" * 30, "1h00m")
    shown = {}
    for width in ("200", "80", "50"):
        monkeypatch.setenv("COLUMNS", width)
        shown[width] = output.table(columns, [row], spare=("URL", "AGE")).splitlines()[0].split()
    assert shown == {"200": ["NAME", "MODEL", "URL", "AGE"], "80": ["NAME", "MODEL", "AGE"], "50": ["NAME", "MODEL"]}
    monkeypatch.setenv("COLUMNS", "20")
    assert "n" * 30 in output.table(columns, [row], spare=("URL", "AGE")), "a name is typed again, so it is never cut"
