"""`lyc deploy`: what is sent, shown, proven; how a wait ends."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

from tests.cli.conftest import Controller, Endpoint, Home, prepared


def test_a_first_deploy_proves_itself_and_shows_the_key(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    code, out, err = home.run("deploy", "acme/a", HF_TOKEN="hf_t")
    assert code == 0
    assert re.fullmatch(
        r"resolve            0\.1s\nfetch            skipped  cached\nwarning: context was cut\n"
        r"✓ answered a chat request in \d\.\ds\n✓ a is ready: release 1, 2\.5s\n"
        r"hint: the key is shown this once; lyc keys create makes another\n", err
    )  # fmt: skip
    assert out.startswith(f"URL    {endpoint.url}\nkey    lyc_secret\nmodel  a\n\ncurl {endpoint.url}/chat/completions")
    body = controller.made("PUT", "/v1/deployments/a")[0]["body"]
    assert (body["spec"]["model"], body["name_given"]) == ("hf:acme/a", False)
    assert body["credentials"] == {"HF_TOKEN": "hf_t"}
    assert controller.made("POST", "/v1/deployments/a/keys")[0]["body"]["label"] == "default"
    assert controller.made("DELETE", "/v1/deployments/a/keys/key-1") == []
    ((path, bearer, asked),) = endpoint.requests
    assert (path, bearer, asked["model"]) == ("/a/v1/chat/completions", "Bearer lyc_secret", "a")


def test_deploy_as_a_document(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    document = json.loads(home.run("deploy", "acme/a", "--json")[1])
    seconds = document["proof"].pop("seconds")
    assert 0 <= seconds < 5
    assert document == {
        "version": 1, "name": "a", "state": "ready", "url": endpoint.url, "key": "lyc_secret", "model": "hf:acme/a@1",
        "release": 1, "host": "local", "rented": None, "changed": True, "served_name": "a", "seconds": 2.5,
        "proof": {"kind": "chat", "answer": "Hello"},
    }  # fmt: skip


def test_a_second_deploy_says_that_nothing_changed(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint, changed=False, first=False)
    code, out, err = home.run("deploy", "acme/a", "--quiet", "--json")
    document = json.loads(out)
    assert (code, document["changed"], document["key"], err) == (0, False, None, "warning: context was cut\n")
    (key,) = controller.made("POST", "/v1/deployments/a/keys")
    assert key["body"]["label"] == "lyc-deploy-check"
    assert key["body"]["ttl_seconds"] <= 600
    assert len(controller.made("DELETE", "/v1/deployments/a/keys/key-1")) == 1, "its own key is taken back"
    code, out, err = home.run("deploy", "acme/a")
    assert "✓ a is as wished already: nothing was changed (release 1)\n" in err
    assert "hint: for a key: export LYC_KEY=$(lyc keys create a)\n" in err
    assert "lyc_secret" not in out + err


def test_a_model_without_a_chat_template_is_proven_by_a_completion(
    home: Home, controller: Controller, endpoint: Endpoint
) -> None:
    prepared(controller, endpoint)
    endpoint.mode = "no-template"
    code, out, err = home.run("deploy", "acme/a")
    assert code == 0
    assert "✓ answered a completion request" in err
    assert f"curl {endpoint.url}/completions" in out
    assert "client.completions.create" in out


def test_the_proof_waits_for_the_gateway_to_know(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    endpoint.mode = "settling"
    assert home.run("deploy", "acme/a")[0] == 0
    assert len(endpoint.requests) == 3


def test_a_dead_endpoint_is_never_called_ready(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    endpoint.mode = "dead"
    code, out, err = home.run("deploy", "acme/a")
    assert (code, out) == (1, "")
    assert "error[endpoint-not-proven]: a is deployed, but a request through the gateway failed" in err
    assert "why: EngineDeadError" in err
    assert "is ready" not in err
    assert len(controller.made("DELETE", "/v1/deployments/a/keys/key-1")) == 1, "a key that nobody saw is taken back"


def test_no_wait(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    code, out, err = home.run("deploy", "acme/a", "--no-wait")
    assert (code, out) == (8, "")
    assert err == (
        "the deploy of a goes on in the background\n"
        "hint: lyc status a     what it does now\n"
        "      lyc logs a -f    what the engine says\n"
        "      lyc down a       stop it\n"
    )
    code, out, _ = home.run("deploy", "acme/a", "--no-wait", "--json")
    document = json.loads(out)
    assert (code, document["name"], document["state"], document["key"]) == (8, "a", "pending", None)


def held(controller: Controller) -> threading.Event:
    """A deploy that does not end."""
    release = threading.Event()

    def stream() -> Iterator[Any]:
        yield {"seq": 1, "at": 0, "kind": "phase", "data": {"phase": "fetch", "status": "done", "seconds": 0.1}}
        while not release.wait(0.1):
            yield b"\n"

    controller.answers["GET", "/v1/operations/op/events"] = lambda _: (200, stream())
    return release


def test_the_wait_runs_out(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    release = held(controller)
    code, out, _ = home.run("deploy", "acme/a", "--timeout", "1s", "--json")
    release.set()
    error = json.loads(out)["error"]
    assert (code, error["ref"], error["kind"]) == (8, "still-pending", "Pending")
    assert "lyc status a" in error["hint"]


def test_ctrl_c_says_that_it_goes_on(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    release = held(controller)
    process = home.start("deploy", "acme/a")
    assert process.stderr is not None
    assert process.stderr.readline() == "fetch              0.1s\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    release.set()
    assert (process.returncode, out) == (130, "")
    assert err.startswith(
        "error[interrupted]: you stopped watching\n  why: the deploy of a goes on in the background\n"
    )
    assert "lyc down a       stop it" in err


def test_deploy_from_a_file(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    (home.path / "lyc.toml").write_text('model = "acme/a"\nname = "a"\n[env]\nTOKEN = { from = "TOKEN" }\n')
    code, _, err = home.run("deploy", "-f", ".", "--gpu", "cpu", TOKEN="s3cret")
    assert code == 0, err
    body = controller.made("PUT", "/v1/deployments/a")[0]["body"]
    assert (body["spec"]["env"], body["spec"]["gpu"], body["name_given"]) == ({"TOKEN": "s3cret"}, "cpu", True)
    assert "s3cret" not in err
    (home.path / "lyc.toml").write_text('model = "acme/a"\ngpuu = "cpu"\n')
    assert home.run("deploy", "-f", "lyc.toml") == (
        3, "", f"error[unknown-key]: there is no key 'gpuu'\n  at: {home.path}/lyc.toml:2\n\nhint: did you mean gpu?\n"
    )  # fmt: skip
