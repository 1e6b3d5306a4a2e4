"""The table of settings: precedence, paths, errors, and the folder for sockets."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lyc.errors import UsageError
from lyc.spec.settings import CREDENTIALS, LONGEST_SOCKET_PATH, SETTINGS, Settings, load, resolve

HOME = {"HOME": "/home/ada"}


def settings(environ: dict[str, str] | None = None, **options: object) -> Settings:
    return resolve(HOME | (environ or {}), uid=1000, cwd=Path("/here"), **options)  # type: ignore[arg-type]


def test_defaults() -> None:
    found = settings()
    assert found.home == Path("/home/ada/.lyc")
    assert found.cache == Path("/home/ada/.cache/lyc")
    assert found.engines == Path("/home/ada/.cache/lyc/engines")
    assert (found.gateway_host, found.gateway_port, found.gateway_port_explicit) == ("127.0.0.1", 8484, False)
    assert (found.controller, found.log_level) == ("local", "info")
    assert (found.no_color, found.plain, found.quiet) == (False, False, False)
    assert set(found.origins.values()) == {"default"}
    assert found.environment() == {}


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default() -> None:
    file = "gateway_port = 1\nlog_level = 'debug'\ncache = 'weights'"
    found = settings({"LYC_GATEWAY_PORT": "2"}, user_file=file)
    assert (found.gateway_port, found.log_level) == (2, "debug")
    assert found.cache == Path("/home/ada/.lyc/weights"), "a path in the file is relative to the home"
    assert found.origins["gateway_port"] == "LYC_GATEWAY_PORT"
    assert found.origins["log_level"] == "config.toml"
    found = settings({"LYC_GATEWAY_PORT": "2"}, user_file=file, overrides={"gateway_port": "3"})
    assert found.gateway_port == 3
    assert found.gateway_port_explicit
    assert found.origins["gateway_port"] == "--gateway-port"


def test_paths_are_absolute_and_an_empty_variable_is_not_set() -> None:
    found = settings({"LYC_HOME": "../state", "LYC_CACHE": "~/w", "LYC_ENGINES": ""})
    assert found.home == Path("/state")
    assert found.cache == Path("/home/ada/w")
    assert found.engines == Path("/home/ada/w/engines")


def test_the_cache_follows_xdg_and_ignores_a_relative_one() -> None:
    assert settings({"XDG_CACHE_HOME": "/x"}).cache == Path("/x/lyc")
    assert settings({"XDG_CACHE_HOME": "x"}).cache == Path("/home/ada/.cache/lyc")


def test_the_environment_makes_another_process_agree() -> None:
    told = settings({"LYC_HOME": "/h", "NO_COLOR": "1"}, user_file="gateway_port = 0\nlog_level = 'error'")
    assert told.environment() == {"LYC_HOME": "/h", "LYC_GATEWAY_PORT": "0", "LYC_LOG_LEVEL": "error"}
    again = settings(told.environment())
    assert (again.home, again.gateway_port, again.log_level) == (told.home, told.gateway_port, told.log_level)


@pytest.mark.parametrize(
    ("environ", "ref", "where"),
    [
        ({"LYC_GATEWAY_PORT": "http"}, "invalid-setting", "LYC_GATEWAY_PORT"),
        ({"LYC_GATEWAY_PORT": "65536"}, "invalid-setting", "LYC_GATEWAY_PORT"),
        ({"LYC_GATEWAY_PORT": "-1"}, "invalid-setting", "LYC_GATEWAY_PORT"),
        ({"LYC_GATEWAY_PORT": "٣"}, "invalid-setting", "LYC_GATEWAY_PORT"),
        ({"LYC_GATEWAY_HOST": "localhost"}, "invalid-setting", "LYC_GATEWAY_HOST"),
        ({"LYC_LOG_LEVEL": "loud"}, "invalid-setting", "LYC_LOG_LEVEL"),
        ({"LYC_CONTROLLER": "ssh://ops@example.eu"}, "invalid-setting", "LYC_CONTROLLER"),
        ({"LYC_PLAIN": "maybe"}, "invalid-setting", "LYC_PLAIN"),
        ({"LYC_HOME": "  "}, "invalid-setting", "LYC_HOME"),
        ({"LYC_HOME": "a\0b"}, "invalid-setting", "LYC_HOME"),
        ({"HOME": ""}, "no-home", ""),
        ({"HOME": "relative"}, "no-home", ""),
    ],
)
def test_a_wrong_value_names_where_it_came_from(environ: dict[str, str], ref: str, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings(environ)
    assert (caught.value.ref, caught.value.where) == (ref, where)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "ref", "line", "hint"),
    [
        ("# a\n\ngateway_prot = 1", "unknown-setting", 3, "did you mean gateway_port?"),
        ("cache = 'x'\nport = 1", "unknown-setting", 2, ""),
        ("[gateway]\nport = 1", "unknown-setting", 1, ""),
        ("plain = true\ncache = [1]", "invalid-setting", 2, ""),
        ("home = '/x'", "unknown-setting", 1, ""),
    ],
)
def test_a_wrong_file_is_shown_with_its_line(text: str, ref: str, line: int, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings(user_file=text)
    assert caught.value.ref == ref
    assert caught.value.where == f"/home/ada/.lyc/config.toml:{line}"
    assert hint in caught.value.hint


def test_a_file_that_is_not_toml() -> None:
    with pytest.raises(UsageError, match="not TOML") as caught:
        settings(user_file="a = \nb")
    assert caught.value.ref == "invalid-toml"


def test_any_value_of_no_color_means_on() -> None:
    assert settings({"NO_COLOR": "0"}).no_color
    assert not settings({"NO_COLOR": ""}).no_color
    assert not settings(user_file="no_color = false").no_color
    assert settings(user_file="no_color = true").no_color


def test_load_reads_the_file_of_the_home(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "LYC_HOME": str(tmp_path / "home")}
    assert load(environ).gateway_port == 8484
    (tmp_path / "home").mkdir()
    (tmp_path / "home/config.toml").write_text("gateway_port = 9000\n")
    assert load(environ).gateway_port == 9000
    (tmp_path / "home/config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError) as caught:
        load(environ)
    assert caught.value.ref == "unreadable-settings"


def test_sockets_stay_within_what_the_kernel_takes() -> None:
    short = settings()
    assert short.controller_socket == Path("/home/ada/.lyc/run/controller.sock")
    long = settings({"LYC_HOME": "/" + "d" * 90})
    assert re.fullmatch(r"/tmp/lyc-1000-[0-9a-f]{12}/controller\.sock", str(long.controller_socket))
    other = settings({"LYC_HOME": "/" + "e" * 90})
    assert long.run_dir != other.run_dir
    for home in ("/h", "/" + "d" * 58, "/" + "d" * 59, "/" + "ä" * 50):
        for name in ("controller", "a" * 63 + "-12-abcdef", "a" * 63 + "-13-abcdef", "é" * 20):
            path = settings({"LYC_HOME": home}).socket(name)
            assert len(os.fsencode(path)) <= LONGEST_SOCKET_PATH, path
    assert short.socket("a" * 63 + "-12-abcdef") != short.socket("a" * 63 + "-13-abcdef")


def test_the_table_is_consistent() -> None:
    assert {row.name for row in SETTINGS} <= set(Settings.__dataclass_fields__)
    for column in ("name", "env"):
        values = [getattr(row, column) for row in (*SETTINGS, *CREDENTIALS)]
        assert len(values) == len(set(values)), column
    assert all(row.flag is None for row in (*SETTINGS, *CREDENTIALS) if row.secret), "a secret has no flag"
    assert all(row.help.endswith(".") for row in (*SETTINGS, *CREDENTIALS))
