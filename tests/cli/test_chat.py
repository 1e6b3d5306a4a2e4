"""`lyc chat`, against a real HTTP server that streams as an engine does."""

from __future__ import annotations

import json
import signal

from tests.cli.conftest import Controller, Endpoint, Home, deployment, prepared, wait_for


def test_chat(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    assert home.run("chat", "a", "hi", "--system", "be brief", "--max-tokens", "5", "--temperature", "0") == (
        0, "Hello\n", ""
    )  # fmt: skip
    asked = endpoint.requests[-1][2]
    assert asked["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert (asked["max_tokens"], asked["temperature"], asked["stream"]) == (5, 0.0, True)
    assert controller.made("POST", "/v1/deployments/a/keys")[-1]["body"]["label"] == "lyc-chat"
    assert len(controller.made("DELETE", "/v1/deployments/a/keys/key-1")) == 1
    assert home.run("chat", "a", input="from a pipe\n") == (0, "Hello\n", "")
    assert endpoint.requests[-1][2]["messages"] == [{"role": "user", "content": "from a pipe"}]
    document = json.loads(home.run("chat", "a", "hi", "--json")[1])
    assert (document["model"], document["answer"]) == ("a", "Hello")


def test_chat_without_a_template_or_a_question(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    endpoint.mode = "no-template"
    code, out, _ = home.run("chat", "a", "Once")
    assert (code, out) == (0, "Hello\n")
    assert home.run("chat", "a", input="")[0] == 2
    controller.answers["GET", "/v1/deployments/a"] = (
        200,
        deployment(state="starting", replicas={"ready": 0, "desired": 1}),
    )
    code, out, err = home.run("chat", "a", "hi")
    assert (code, out) == (6, "")
    assert err == "error[no-replica]: a is starting: no replica is ready\n\nhint: lyc status a\n"


def test_ctrl_c_stops_an_answer_and_takes_the_key_back(home: Home, controller: Controller, endpoint: Endpoint) -> None:
    prepared(controller, endpoint)
    endpoint.mode = "slow"
    process = home.start("chat", "a", "hi")
    assert process.stdout is not None
    assert process.stdout.read(5) == "Hello"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "error[interrupted]: the answer was stopped\n")
    wait_for(endpoint.hung_up.is_set)
    assert len(controller.made("DELETE", "/v1/deployments/a/keys/key-1")) == 1
