"""The command line itself: settings anywhere, usage errors in one form, exit codes, help, speed of the start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from lyc.cli.app import build
from lyc.cli.main import take_settings
from lyc.errors import UsageError
from lyc.spec.settings import SETTINGS
from tests.cli.conftest import LYC, Controller, Home


@pytest.mark.parametrize(
    ("line", "overrides", "rest"),
    [
        ("ls", {}, "ls"),
        ("--home /x ls --json", {"home": "/x"}, "ls --json"),
        ("ls --json --home /x", {"home": "/x"}, "ls --json"),
        ("ls --home=/x --plain --quiet", {"home": "/x", "plain": "1", "quiet": "1"}, "ls"),
        ("deploy m --gateway-port 0 --name n", {"gateway_port": "0"}, "deploy m --name n"),
        ("--home /x --home /y ls", {"home": "/y"}, "ls"),
        ("chat n -- --home /x", {}, "chat n -- --home /x"),
        ("ls --plain=1", {}, "ls --plain=1"),
        ("", {}, ""),
    ],
)
def test_settings_may_stand_anywhere(line: str, overrides: dict[str, str], rest: str) -> None:
    assert take_settings(line.split()) == (overrides, rest.split())


def test_a_setting_without_its_value() -> None:
    with pytest.raises(UsageError) as caught:
        take_settings(["ls", "--home"])
    assert (caught.value.ref, caught.value.where) == ("missing-value", "--home")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


VERBS = dict(commands(typer.main.get_command(build())))


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_no_option_of_a_verb_is_taken_away_as_a_setting(path: tuple[str, ...]) -> None:
    options = {option for parameter in VERBS[path].params for option in parameter.opts}
    assert options & {row.flag for row in SETTINGS} == set()


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_help_has_a_summary_and_examples(home: Home, path: tuple[str, ...]) -> None:
    code, out, err = home.run(*path, "--help")
    assert (code, err) == (0, "")
    assert re.match(r"Usage: lyc .*\n\n  [A-Z][^.]+\.\s", out)
    assert max(map(len, out.splitlines())) <= 84
    if not getattr(VERBS[path], "commands", None):
        assert f"lyc {' '.join(path)}" in out.partition("Examples:")[2]


def test_summaries_are_not_cut_in_the_list_of_verbs(home: Home) -> None:
    for words in ([], ["keys"], ["controller"]):
        assert "..." not in home.run(*words, "--help")[1].partition("Commands:")[2].partition("Settings")[0]


@pytest.mark.parametrize("words", [(), ("keys",), ("controller",)], ids=str)
def test_a_group_alone_shows_its_help(home: Home, words: tuple[str, ...]) -> None:
    assert home.run(*words) == home.run(*words, "--help")


def test_version(home: Home) -> None:
    assert home.run("--version") == (0, "lyc 0.1.0\n", "")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("depoy", "error[usage]: lyc: no such command 'depoy'. Did you mean 'deploy'?\n\nhint: lyc --help\n"),
        ("ls --jso", "error[no-such-option]: lyc ls has no option --jso\n\nhint: did you mean --json?\n"),
        ("ls extra", "error[usage]: lyc ls: got unexpected extra argument(s) (extra)\n\nhint: lyc ls --help\n"),
        ("status", "error[usage]: lyc status: missing argument 'NAME'\n\nhint: lyc status --help\n"),
        ("deploy", "error[no-model]: what shall be deployed?\n\nhint: lyc deploy MODEL, or lyc deploy -f lyc.toml\n"),
        ("deploy m --min x", "error[invalid-value]: the value of --min is not valid\n"
                             "  why: Input should be a valid integer, unable to parse string as an integer\n\n"
                             "hint: lyc deploy --help\n"),
        ("deploy m --timeout soon", "error[invalid-duration]: 'soon' is not a duration: write it like 90s, 15m, 1h30m "
                                    "or 7d\n  at: --timeout\n"),
        ("deploy m --engine-arg x", "error[invalid-pair]: --engine-arg takes NAME=VALUE\n  why: x has no '='\n"
                                    "  at: --engine-arg\n\nhint: --engine-arg x=VALUE\n"),
        ("deploy m --env NOT_SET_HERE", "error[unset-variable]: the variable NOT_SET_HERE is not set\n"
                                        "  why: --env NAME takes its value from your environment\n  at: --env\n\n"
                                        "hint: export NOT_SET_HERE=…, or --env NOT_SET_HERE=VALUE\n"),
        ("ls --gateway-port x", "error[invalid-setting]: 'x' cannot be the value of --gateway-port\n"
                                "  why: a port is a number from 0 to 65535\n  at: --gateway-port\n"),
        ("logs n --tail -1", "error[invalid-value]: --tail takes a number of lines, 0 or more\n  at: --tail\n"),
        ("completion csh", "error[invalid-value]: the value of SHELL is not valid\n"),
        ("ls --home", "error[missing-value]: --home takes a value\n  at: --home\n\nhint: --home DIR\n"),
    ],
)  # fmt: skip
def test_a_usage_error_is_one_error_and_exit_2(home: Home, line: str, text: str) -> None:
    code, out, err = home.run(*line.split())
    assert (code, out) == (2, "")
    assert err.startswith(text)
    assert err.count("error[") == 1


@pytest.mark.parametrize(
    ("line", "code", "ref"),
    [
        ("ls --jso --json", 2, "no-such-option"),
        ("deploy --json", 2, "no-model"),
        ("deploy m/n --name Foo --json", 3, "invalid-name"),
        ("deploy m/n --speculative magic --json", 3, "invalid-value"),
        ("deploy -f nowhere.toml --json", 3, "no-spec-file"),
        ("deploy ftp://x/y --json", 3, "invalid-model"),
        ("controller status --json", 6, "controller-not-running"),
    ],
)
def test_with_json_an_error_is_the_document(home: Home, line: str, code: int, ref: str) -> None:
    got, out, err = home.run(*line.split())
    document = json.loads(out)
    assert (got, document["version"], document["error"]["ref"], document["error"]["exit_code"]) == (code, 1, ref, code)
    assert "error[" not in err


def test_wrong_settings_are_an_error_of_usage_also_in_the_file(home: Home) -> None:
    (home.path / "config.toml").write_text("\nlog_levle = 'debug'\n")
    code, out, err = home.run("ls")
    assert (code, out) == (2, "")
    assert f"at: {home.path}/config.toml:2" in err
    assert "hint: did you mean log_level?" in err


def test_a_bug_is_told_as_one_and_never_as_a_traceback(home: Home, controller: Controller) -> None:
    controller.answers["GET", "/v1/deployments"] = (200, {"deployments": [{"name": "half a document"}]})
    code, out, err = home.run("ls")
    assert (code, out) == (70, "")
    assert err.startswith("error[unexpected]: lyc met something that it does not expect: KeyError\n")
    assert "/lyc/cli/ls.py:" in err
    assert "LYC_DEBUG=1" in err


def test_a_reader_that_goes_away_is_no_error(home: Home, controller: Controller) -> None:
    lines = ({"replica": "r", "at": float(n), "line": "x" * 500} for n in range(5000))
    controller.answers |= {
        ("GET", "/v1/deployments/a"): (200, {"name": "a", "replica_list": []}),
        ("GET", "/v1/deployments/a/logs"): lambda _: (200, lines),
    }
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" logs a | head -1', LYC],
        env=home.env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "x" * 500 + "\n", "")


HEAVY = {
    "boto3", "botocore", "fastapi", "httpx", "huggingface_hub", "psutil", "pydantic", "rich", "sqlalchemy", "uvicorn",
}  # fmt: skip


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["ls"], ["ls", "--json"], ["keys"]], ids=" ".join)
def test_a_quick_verb_imports_nothing_heavy(home: Home, controller: Controller, words: list[str]) -> None:
    controller.answers["GET", "/v1/deployments"] = (200, {"deployments": []})
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from lyc.cli.main import main; main()", *words],
        env=home.env, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    names = {name.partition(".")[0] for name in re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE)}
    assert "lyc" in names
    assert names & HEAVY == set()


def test_where_nothing_was_ever_deployed_reading_starts_no_controller(home: Home) -> None:
    (home.path / "lyc.db").unlink()
    assert home.run("ls") == (0, "", "no deployments\nhint: lyc deploy MODEL\n")
    assert json.loads(home.run("ls", "--json")[1]) == {"version": 1, "deployments": []}
    for line in ("status a", "logs a", "chat a hello", "down a --yes", "keys ls a", "keys create a", "keys revoke a k"):
        code, out, err = home.run(*line.split())
        assert (code, out) == (1, "")
        assert err == "error[no-such-deployment]: there is no deployment 'a'\n\nhint: lyc ls\n"
    assert list(home.path.iterdir()) == []
