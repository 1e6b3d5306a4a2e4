"""The verbs about renting as a person types them: the real command, a real controller, a fake cloud over HTTP."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import sqlite3
import stat
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.lyceum import KEY, lyceum_app, lyceum_cloud
from lyc.testing.clouds.server import App, serve
from tests.cli.conftest import LYC

SECONDS = 60
TINY = "sample:tiny"


@dataclass
class Shop:
    """A home, and the cloud that it rents from."""

    path: Path
    env: dict[str, str]
    app: App

    def run(self, *words: str, input: str = "", **env: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [LYC, *words], env=self.env | env, input=input, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        told = done.stdout + done.stderr
        assert "Traceback" not in told, told
        assert KEY not in told
        return done.returncode, done.stdout, done.stderr

    def json(self, *words: str, **env: str) -> dict[str, Any]:
        code, out, err = self.run(*words, "--json", **env)
        assert code == 0, err
        return dict(json.loads(out))

    def error(self, *words: str, input: str = "", **env: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = self.run(*words, "--json", input=input, **env)
        return code, dict(json.loads(out)["error"])

    def owner(self) -> str:
        with sqlite3.connect(self.path / "lyc.db") as db:
            return str(db.execute("SELECT value FROM meta WHERE name = 'owner'").fetchone()[0])[:8]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    base = tmp_path_factory.mktemp("shop")
    path = base / "home"
    path.mkdir(mode=0o700)
    app = lyceum_app(lyceum_cloud(cpu=True))
    with serve(app) as endpoint:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        env = kept | {
            "HOME": str(base), "LYC_HOME": str(path), "LYC_CACHE": str(base / "cache"), "LYC_GATEWAY_PORT": "0",
            "COLUMNS": "100", "PYTHONUTF8": "1", "LYC_LYCEUM_ENDPOINT": endpoint, "HF_ENDPOINT": "http://127.0.0.1:9",
        }  # fmt: skip
        made = Shop(path, env, app)
        yield made
        made.run("controller", "stop")


@pytest.fixture
def open_shop(shop: Shop) -> Shop:
    """With a login."""
    if not (shop.path / "providers" / "lyceum.json").exists():
        code, _, err = shop.run("providers", "login", "lyceum", input=f"{KEY}\n\n")
        assert code == 0, err
    return shop


# -- before there is an account


def test_nothing_is_configured(shop: Shop) -> None:
    code, error = shop.error("gpus", "--available")
    assert (code, error["ref"]) == (5, "no-provider")
    assert "lyc providers login" in error["hint"]
    code, error = shop.error("deploy", TINY, "--gpu", "h100", "--yes")
    assert (code, error["ref"]) == (5, "no-provider")
    assert shop.json("ls")["deployments"] == []


def test_a_key_that_is_not_taken_is_not_kept(shop: Shop) -> None:
    code, error = shop.error("providers", "login", "lyceum", input="lk_of_yesterday\n\n")
    assert (code, error["kind"]) == (4, "NotAuthorised")
    assert not list(shop.path.glob("providers/*"))


@pytest.mark.parametrize("verb", ["check", "login", "logout"])
def test_a_provider_that_there_is_not(shop: Shop, verb: str) -> None:
    code, error = shop.error("providers", verb, "lyceun")
    assert (code, error["ref"]) == (2, "unknown-provider")
    assert "lyceum" in error["hint"]


def test_a_check_without_a_credential_says_where_to_get_one(shop: Shop) -> None:
    code, error = shop.error("providers", "check", "verda")
    assert (code, error["ref"]) == (4, "no-provider-credential")
    assert "https://" in error["hint"]
    assert "lyc providers login verda" in error["hint"]


# -- with one


def test_a_login_from_the_standard_input(open_shop: Shop) -> None:
    file = open_shop.path / "providers" / "lyceum.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = {one["name"]: one["source"] for one in open_shop.json("providers", "ls")["providers"]}
    assert listed["lyceum"] == str(file)
    assert set(listed) == {"aws", "lambda", "lyceum", "runpod", "scaleway", "sky", "verda"}
    found = open_shop.json("providers", "check", "lyceum")
    assert (found["account"], found["machines"], found["error"]) == ("acme", [], None)


def test_a_check_of_a_key_that_has_expired_since(open_shop: Shop) -> None:
    open_shop.app.faults.add(Fault("*", "status", code=401, times=5))
    code, error = open_shop.error("providers", "check", "lyceum")
    open_shop.app.faults.clear()
    assert (code, error["kind"]) == (4, "NotAuthorised")


def test_a_key_of_the_environment_does_for_one_call(shop: Shop) -> None:
    shop.run("providers", "logout", "lyceum")
    assert shop.json("gpus", "h100", "--available", LYCEUM_API_KEY=KEY)["offers"]


def test_what_is_available(open_shop: Shop) -> None:
    offers = open_shop.json("gpus", "h100", "--available")["offers"]
    assert {one["card"] for one in offers} == {"h100"}
    code, out, err = open_shop.run("gpus", "h100", "--available", "--residency", "eu")
    assert (code, out) == (0, "")
    assert "none of lyceum has h100 of which it is known that it stands in eu" in err
    _, out, _ = open_shop.run("gpus", "cpu", "--available")
    assert "0.07 USD" in out
    code, error = open_shop.error("gpus", "h900", "--available")
    assert (code, error["ref"]) == (2, "unknown-gpu")


def test_a_provider_that_breaks_is_left_out_and_told(open_shop: Shop) -> None:
    open_shop.run("controller", "stop")  # what was asked a moment ago is remembered
    open_shop.app.faults.add(Fault("offers", "status", code=500, times=20))
    code, error = open_shop.error("gpus", "--available")
    open_shop.app.faults.clear()
    assert (code, error["kind"]) == (6, "Unreachable")


@pytest.mark.parametrize(
    ("line", "code", "ref", "where"),
    [
        ("--ttl x", 3, "invalid-value", "--ttl"),
        ("--ttl 0s", 3, "invalid-value", "--ttl"),
        ("--ready-timeout 0", 3, "invalid-value", "--ready-timeout"),
        ("--disk much", 3, "invalid-value", "--disk"),
        ("--max-price 3", 3, "invalid-value", "--max-price"),
        ("--residency atlantis", 3, "invalid-value", "--residency"),
        ("--sovereign --residency us", 2, "contradictory-rules", "--sovereign"),
        ("--provider nope", 2, "unknown-provider", "--provider"),
        ("--host local --provider lyceum", 2, "nothing-to-rent", "--host"),
        ("--gpu h900", 2, "unknown-gpu", "--gpu"),
    ],
)
def test_wishes_that_cannot_be(open_shop: Shop, line: str, code: int, ref: str, where: str) -> None:
    got, error = open_shop.error("deploy", TINY, "--yes", *line.split())
    assert (got, error["ref"], error["where"]) == (code, ref, where)
    assert open_shop.app.cloud.ever == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--gpu h100 --max-price 1EUR", "above --max-price"),
        ("--gpu h100 --residency eu", "does not say in which country"),
        ("--gpu h100 --sovereign", "it must be the EEA (--sovereign)"),
        ("--gpu mi300x", "was not asked for, only mi300x"),
    ],
)
def test_nothing_on_offer_will_do_and_every_reason_is_told(open_shop: Shop, line: str, why: str) -> None:
    here = {"LYC_COUNTRY": "DE"}
    open_shop.run("controller", "stop")
    code, error = open_shop.error("deploy", TINY, "--yes", *line.split(), **here)
    assert (code, error["kind"]) == (5, "NoFit"), error
    assert why in " ".join([error["what"], *error["detail"]])
    assert open_shop.app.cloud.ever == []
    assert open_shop.json("ls")["deployments"] == []


def test_what_nobody_knows_goes_and_what_is_another_s_stays(open_shop: Shop) -> None:
    cloud = open_shop.app.cloud
    open_shop.json("gc")
    theirs = [cloud.put_foreign("mail"), cloud.put_foreign("lyc-0123abcd-00000001")]
    (orphan,) = cloud.put_many(open_shop.owner(), 1)
    (found,) = open_shop.json("gc", "--dry-run")["providers"]
    assert [one["machine"] for one in found["ended"]] == [orphan.id]
    assert orphan.ended_at is None
    code, out, err = open_shop.run("gc")
    assert code == 0
    assert orphan.id in out
    assert "1 asked to go; 0 machines are in use" in err
    assert orphan.ended_at is not None
    assert [one.ended_at for one in theirs] == [None, None]
    assert "1 provider looked at, nothing to give back" in open_shop.run("gc")[2]


def test_a_provider_that_cannot_be_asked_is_an_error_of_gc(open_shop: Shop) -> None:
    open_shop.app.faults.add(Fault("list", "status", code=500, times=20))
    code, out, _ = open_shop.run("gc", "--json")
    (found,) = json.loads(out)["providers"]
    assert (code, found["error"]["kind"]) == (6, "Unreachable")
    code, _, err = open_shop.run("gc")
    open_shop.app.faults.clear()
    assert code == 6
    assert "error[" in err


def test_a_budget(open_shop: Shop) -> None:
    assert open_shop.json("budget")["budget"] is None
    found = open_shop.json("budget", "50EUR/day", "--stop", "batch,idle,keep:main")
    assert (found["budget"]["amount"], found["budget"]["period"], found["level"]) == ("50", "day", "ok")
    code, out, _ = open_shop.run("budget")
    assert code == 0
    assert "stops first batch, idle, keep:main" in out
    for words, wrong in ((("5x",), (2, "AMOUNT")), (("50EUR/day", "--stop", "sometimes!"), (3, "--stop"))):
        code, error = open_shop.error("budget", *words)
        assert (code, error["where"]) == wrong
    assert open_shop.error("budget", "5EUR/day", "--off")[1]["ref"] == "contradictory-budget"
    assert open_shop.json("budget", "--off")["budget"] is None


def on_a_terminal(shop: Shop, words: list[str], *answers: tuple[str, str]) -> tuple[int, str]:
    """Exit code and all that is seen. answers: (what is waited for, what is typed then)."""
    main, terminal = pty.openpty()
    env = shop.env | {"TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [LYC, *words], env=env, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  (so that Ctrl-C means what it means)
    )  # fmt: skip
    os.close(terminal)
    seen, since, left, deadline = "", 0, list(answers), time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if left and left[0][0] in seen[since:]:
            since = len(seen)
            os.write(main, left.pop(0)[1].encode())
        if not select.select([main], [], [], 0.1)[0]:
            continue
        try:
            chunk = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        seen += chunk.decode()
    os.close(main)
    assert not left, seen
    return process.wait(SECONDS), seen


def test_a_person_is_shown_a_table_and_asked(open_shop: Shop) -> None:
    words = ["deploy", TINY, "--gpu", "l40s", "--spot"]
    code, seen = on_a_terminal(open_shop, words, ("which one?", "99\n"), ("none of them\r\nwhich one?", "q\n"))
    assert code == 130
    assert "'99' is none of them" in seen
    rows = [line.split() for line in seen.splitlines() if " lyceum " in line]
    assert [(row[0], row[3]) for row in rows][:1] == [("1", "unknown")]
    assert "1.19 USD" in seen
    assert "error[nothing-taken]" in seen
    code, seen = on_a_terminal(open_shop, words, ("which one?", "\x03"))
    assert code == 130
    assert "\nerror[nothing-taken]" in seen
    assert open_shop.app.cloud.ever == [one for one in open_shop.app.cloud.ever if one.ended_at]


def test_a_logout_forgets(open_shop: Shop) -> None:
    assert open_shop.json("providers", "logout", "lyceum")["removed"] is True
    assert open_shop.json("providers", "logout", "lyceum")["removed"] is False
    assert not list(open_shop.path.glob("providers/lyceum*"))
